"""What the embedded database does with a client's commands.

It does what the package does, with three differences: a write is on disk
before it is answered, frequent commands take a fast path, and reads do not
wait for writes.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bson
from bson.raw_bson import RawBSONDocument
from neosqlite._sqlite import sqlite3
from nx_27017.handler import NeoSQLiteHandler

from utilities.embedded import integrity
from utilities.embedded.fast_reads import find_plainly, group_plainly
from utilities.embedded.fast_writes import insert_plainly, update_plainly
from utilities.embedded.json_text import keep_json_as_text
from utilities.embedded.kept_counts import forget_empty, keep
from utilities.embedded.readers import Readers
from utilities.embedded.space import GIVE_SPACE_BACK, give_back
from utilities.embedded.sparse_indexes import make_sparse

# Where documents change by the hundred.
_WRITTEN_FAST = frozenset({"jobs", "streams", "answer_flights"})
_DROPS = frozenset({"drop", "dropDatabase", "renameCollection"})
_WRITES = frozenset({"insert", "update", "delete", "findAndModify"})

Message = dict[str, Any]
Answer = tuple[int, dict[str, Any]]


# The package has no type information.
class DurableHandler(NeoSQLiteHandler):  # type: ignore[misc]
    """Makes a write command one transaction that is on disk when answered.

    By default, the package commits each document of a command by itself,
    synced only for clients that ask for `j: true`. One commit a command is
    several times faster, all or nothing, and pays for syncing every time.
    """

    def __init__(self, data_dir: str) -> None:
        self._readers: dict[str, Readers] = {}
        self._remembered: set[str] = set()
        # Of these, the counts of jobs are kept.
        self._kept: set[str] = set()
        keep_json_as_text()
        super().__init__(data_dir=data_dir)

    def handle_insert(self, msg: Message) -> Answer:
        """Run an insert command."""
        with self._transaction(msg):
            answer: Answer | None = self._by_fast_path(msg)
            if answer is None:
                answer = super().handle_insert(msg)
        return answer

    def handle_command(self, msg: Message) -> Answer:
        """Run any other command."""
        body = _body(msg)
        name = next(iter(body), None)
        if name == GIVE_SPACE_BACK:
            return msg["request_id"], self._give_space_back(body["$db"])
        if name in _DROPS:
            self._kept.clear()
        with self._transaction(msg):
            answer: Answer | None = self._by_fast_path(msg)
            if answer is None:
                answer = super().handle_command(msg)
        return answer

    def _give_space_back(self, database: str) -> Message:
        connection = self.get_database(database).db
        with self._lock_for(database):
            forget_empty(connection)
        left = give_back(
            connection,
            lambda: self._lock_for(database),
            self._readers[database].empty_journal,
        )
        return {"ok": 1, "left": left}

    def _by_fast_path(self, msg: Message) -> Answer | None:
        body = _body(msg)
        run = {
            "insert": self._insert_plainly,
            "update": self._update_plainly,
            "find": self._find_plainly,
            "aggregate": self._group_plainly,
            "createIndexes": self._make_sparse,
        }.get(next(iter(body), ""))
        # "autocommit" marks a client's own transaction, as below.
        if run is None or "autocommit" in body:
            return None
        return run(msg, body)

    def _update_plainly(self, msg: Message, body: Message) -> Answer | None:
        collection = self._written_collection(body, "update")
        if collection is None:
            return None
        matched = update_plainly(collection, _listed(msg, "updates"))
        if matched is None:
            return None
        answer = {"ok": 1, "n": matched, "nModified": matched}
        return msg["request_id"], answer

    def _insert_plainly(self, msg: Message, body: Message) -> Answer | None:
        collection = self._written_collection(body, "insert")
        if collection is None:
            return None
        inserted = insert_plainly(collection, _listed(msg, "documents"))
        if inserted is None:
            return None
        return msg["request_id"], {"ok": 1, "n": inserted}

    def _find_plainly(self, msg: Message, body: Message) -> Answer | None:
        return self._read(
            msg, body, lambda collection: find_plainly(collection, body)
        )

    def _group_plainly(self, msg: Message, body: Message) -> Answer | None:
        stages = body["pipeline"]
        return self._read(
            msg, body, lambda collection: group_plainly(collection, stages)
        )

    def _make_sparse(self, _msg: Message, body: Message) -> None:
        """Make the sparse ones of some indexes; the package does the rest."""
        database, name = self.get_database(body["$db"]), body["createIndexes"]
        if name in database.list_collection_names():
            with self._lock_for(body["$db"]):
                make_sparse(database.db, name, body.get("indexes", []))

    def _written_collection(self, body: Message, command: str) -> Any | None:  # noqa: ANN401 - the package has no types
        name = body[command]
        if name not in _WRITTEN_FAST:
            return None
        database = self.get_database(body["$db"])
        is_there = name in database.list_collection_names()
        return database[name] if is_there else None

    def _read(
        self,
        msg: Message,
        body: Message,
        read: Callable[[Any], list[Message] | None],
    ) -> Answer | None:
        name, database_name = next(iter(body.values())), body["$db"]
        self.get_database(database_name)  # opens it, if need be
        readers = self._readers.get(database_name)
        if readers is None or not isinstance(name, str) or "." in name:
            return None
        # What fails here is the package's business: it knows how to tell.
        with contextlib.suppress(sqlite3.Error), readers.one() as reader:
            collection = reader.collection(name)
            found = None if collection is None else read(collection)
            if found is not None:
                return self._first_answer(msg, body, name, found)
        return None

    def _first_answer(
        self, msg: Message, body: Message, name: str, found: list[Message]
    ) -> Answer:
        # The package would go through each document again, to convert it.
        documents = [RawBSONDocument(bson.encode(each)) for each in found]
        namespace = f"{body['$db']}.{name}"
        first, cursor_id = self._split_first_batch(
            documents,
            self._first_batch_size(body),
            namespace,
            body["$db"],
            owner=msg.get("_conn_id"),
        )
        cursor = {"id": cursor_id, "ns": namespace, "firstBatch": first}
        return msg["request_id"], {"ok": 1, "cursor": cursor}

    @contextlib.contextmanager
    def _transaction(self, msg: Message) -> Iterator[None]:
        database = _written_database(msg)
        if database is None:
            yield
            return
        # One connection serves all clients, so no other client may use it
        # before the commit. The lock is reentrant.
        with self._lock_for(database):
            connection = self.get_database(database).db
            with _committing(connection):
                yield
                is_kept = database in self._kept or keep(connection)
            if is_kept:
                self._kept.add(database)
            self._remember(database)

    def _remember(self, database: str) -> None:
        readers = self._readers.get(database)
        if readers is not None and database not in self._remembered:
            integrity.remember(readers.path)
            self._remembered.add(database)

    def _open_db_conn(self, db_name: str) -> Any:  # noqa: ANN401 - as above
        connection = super()._open_db_conn(db_name)
        connection.db.execute("PRAGMA synchronous = FULL")
        # What is removed is not left in the file.
        connection.db.execute("PRAGMA secure_delete = ON")
        if db_name not in self._readers:
            ((_, _, path),) = connection.db.execute("PRAGMA database_list")
            self._readers[db_name] = Readers(Path(path))
        return connection

    def close_all(self) -> None:
        """Close everything; the writers last, who tidy the files up."""
        while self._readers:
            self._readers.popitem()[1].close()
        super().close_all()

    def _drop_file_db(self, db_name: str) -> None:
        if db_name in self._readers:
            readers = self._readers.pop(db_name)
            readers.close()
            self._remembered.discard(db_name)
            integrity.forget(readers.path)
        super()._drop_file_db(db_name)

    def _apply_write_concern(self, *_: object) -> None:
        """Do nothing: one client's `w: 0` would unsync everybody's writes.

        SQLite also refuses the change inside a transaction.
        """


def _body(msg: Message) -> Message:
    return next((doc for kind, doc in msg["sections"] if kind == "body"), {})


def _listed(msg: Message, name: str) -> list[Message]:
    """Find a write command's list, in its body or behind it."""
    lists = (doc.get(name) for _, doc in msg["sections"])
    return next(filter(None, lists), [])


def _written_database(msg: Message) -> str | None:
    body = _body(msg)
    # "autocommit" marks a client's own transaction, which the client ends.
    if next(iter(body), None) not in _WRITES or "autocommit" in body:
        return None
    return str(body.get("$db", "test"))


@contextlib.contextmanager
def _committing(connection: sqlite3.Connection) -> Iterator[None]:
    if connection.in_transaction:
        yield
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        # Not connection.commit(): that is silent when a full disk has
        # already rolled the transaction back.
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
