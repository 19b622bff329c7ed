"""A store without a server: documents in this process's memory.

It stands in for a database in tests, and answers like one: the same
results, the same errors, values as BSON keeps them. Nothing is kept when
the process ends.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast

import bson
from bson import ObjectId
from bson.raw_bson import RawBSONDocument
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import (
    BulkWriteError,
    DocumentTooLarge,
    DuplicateKeyError,
    OperationFailure,
    WriteError,
)
from pymongo.operations import UpdateMany, UpdateOne
from pymongo.results import (
    BulkWriteResult,
    DeleteResult,
    InsertManyResult,
    InsertOneResult,
    UpdateResult,
)

from utilities.clock import Clock, now_ms
from utilities.cosmos_connector import ClientManager, Document, Documents
from utilities.store import changing
from utilities.store.grouping import aggregated
from utilities.store.in_memory_cursor import InMemoryCursor
from utilities.store.matching import matches, order_key, values_at

_DUPLICATE_KEY, _NO_SUCH_INDEX, _NO_SUCH_COMMAND = 11000, 27, 59
_TOO_LARGE = 17419
# As MongoDB has it.
_MOST_BYTES = 16 * 1024 * 1024

Where = Mapping[str, Any]
_Update = Callable[[], int]


class InMemoryClientManager(ClientManager):
    """Hands out one database in memory, in every event loop and thread."""

    def __init__(self) -> None:
        super().__init__("mongodb://in-memory", "memory")
        self._database = InMemoryDatabase()

    def database(self) -> AsyncDatabase[Document]:
        """Return the database, which has what ours use of the driver's."""
        return cast("AsyncDatabase[Document]", self._database)

    async def hello(self) -> Document:
        """Tell the time, as a server does."""
        return await self._database.command("hello")

    async def close(self) -> None:
        """Do nothing: the documents stay."""


class InMemoryDocuments(Documents):
    """Documents of a collection of their own, or of a given database."""

    def __init__(
        self,
        name: str = "documents",
        clock: Clock = now_ms,
        clients: InMemoryClientManager | None = None,
    ) -> None:
        super().__init__(clients or InMemoryClientManager(), name, clock)


class InMemoryDatabase:
    """Collections by name; each is there as soon as it is asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._collections: dict[str, InMemoryCollection] = {}

    def __getitem__(self, name: str) -> "InMemoryCollection":
        with self._lock:
            return self._collections.setdefault(name, InMemoryCollection())

    async def command(self, name: str) -> Document:
        """Answer `ping` and `hello`.

        Raises:
            OperationFailure: it is another command.
        """
        if name not in {"ping", "hello"}:
            raise OperationFailure("no such command", _NO_SUCH_COMMAND)
        return {"ok": 1.0, "localTime": datetime.now(UTC)}


class InMemoryCollection:
    """What our code uses of the driver's asynchronous collection.

    Every operation on one document is atomic, also among threads.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        # By their `_id`s' keys, in the order of insertion.
        self._documents: dict[Any, bytes] = {}
        self._unique: dict[str, tuple[str, ...]] = {"_id_": ("_id",)}
        self._indexes: dict[str, Document] = {}

    async def create_index(
        self,
        keys: Sequence[tuple[str, int]],
        *,
        unique: bool = False,
        sparse: bool = False,  # noqa: ARG002 - the driver's signature
    ) -> str:
        """Note an index; only a unique one makes a difference."""
        name = _index_name(keys)
        with self._lock:
            self._indexes[name] = {"key": list(keys), "unique": unique}
            if unique:
                self._unique[name] = tuple(field for field, _ in keys)
        return name

    async def index_information(self) -> dict[str, Document]:
        """Return the indexes by name."""
        return dict(self._indexes)

    async def drop_index(self, index: str | Sequence[tuple[str, int]]) -> None:
        """Forget an index, by its name or by its keys.

        Raises:
            OperationFailure: there is none.
        """
        name = index if isinstance(index, str) else _index_name(index)
        if self._indexes.pop(name, None) is None:
            raise OperationFailure("index not found", _NO_SUCH_INDEX)
        self._unique.pop(name, None)

    async def drop(self) -> None:
        """Forget everything."""
        with self._lock:
            self._documents.clear()
            self._indexes.clear()
            self._unique = {"_id_": ("_id",)}

    def find(
        self,
        where: Where | None = None,
        projection: Sequence[str] | Mapping[str, int] | None = None,
    ) -> InMemoryCursor:
        """Return a cursor; a projection names whole fields."""
        fields = {"_id", *projection} if projection else None
        return InMemoryCursor(lambda: self._found(where or {}), fields)

    async def find_one(
        self,
        where: Where | None = None,
        projection: Sequence[str] | Mapping[str, int] | None = None,
        sort: Sequence[tuple[str, int]] | None = None,
    ) -> Document | None:
        """Return the first match, or None."""
        cursor = self.find(where, projection).sort(sort or ()).limit(1)
        return next(iter(await cursor.to_list()), None)

    async def count_documents(self, where: Where) -> int:
        """Return how many match."""
        return len(await self.find(where).to_list())

    async def aggregate(
        self, pipeline: Sequence[Mapping[str, Any]]
    ) -> InMemoryCursor:
        """Run a pipeline."""
        return InMemoryCursor(lambda: aggregated(self._found({}), pipeline))

    async def insert_one(self, document: Document) -> InsertOneResult:
        """Insert a document; it is given an `_id` if it has none."""
        await asyncio.sleep(0)
        self._insert(document)
        return InsertOneResult(document["_id"], acknowledged=True)

    async def insert_many(
        self, documents: Sequence[Document], *, ordered: bool = True
    ) -> InsertManyResult:
        """Insert documents.

        Raises:
            BulkWriteError: some were refused.
        """
        await asyncio.sleep(0)
        self._each(
            [partial(self._insert, _plain(each)) for each in documents],
            ordered=ordered,
        )
        ids = [document["_id"] for document in documents]
        return InsertManyResult(ids, acknowledged=True)

    async def find_one_and_update(
        self, where: Where, update: Where, *, return_document: bool = False
    ) -> Document | None:
        """Update the first match; return it as it was, or as it is now."""
        await asyncio.sleep(0)
        with self._lock:
            found = self._found(where)[:1]
            for before in found:
                after = changing.changed(before, update)
                self._replace(before, after)
                return after if return_document else before
        return None

    async def update_one(
        self, where: Where, update: Where, *, upsert: bool = False
    ) -> UpdateResult:
        """Update the first match."""
        await asyncio.sleep(0)
        return self._update(where, update, upsert=upsert, many=False)

    async def update_many(
        self, where: Where, update: Where, *, upsert: bool = False
    ) -> UpdateResult:
        """Update every match."""
        await asyncio.sleep(0)
        return self._update(where, update, upsert=upsert, many=True)

    async def bulk_write(
        self,
        operations: Sequence[UpdateOne | UpdateMany],
        *,
        ordered: bool = True,
    ) -> BulkWriteResult:
        """Make many updates.

        Raises:
            BulkWriteError: some were refused.
        """
        await asyncio.sleep(0)
        matched = self._each(
            [partial(self._run, each) for each in operations],
            ordered=ordered,
        )
        return BulkWriteResult(_bulk_answer(matched, []), acknowledged=True)

    async def delete_one(self, where: Where) -> DeleteResult:
        """Remove the first match."""
        await asyncio.sleep(0)
        return self._delete(where, most=1)

    async def delete_many(self, where: Where) -> DeleteResult:
        """Remove every match."""
        await asyncio.sleep(0)
        return self._delete(where, most=None)

    def _found(self, where: Where) -> list[Document]:
        with self._lock:
            raw = self._candidates(where)
            found = [bson.decode(each) for each in raw]
        return [each for each in found if matches(each, where)]

    def _candidates(self, where: Where) -> list[bytes]:
        match where.get("_id"):
            case {"$in": ids}:
                # In the order of the index, as a server reads it.
                keys = dict.fromkeys(sorted(map(order_key, ids)))
            case ObjectId() | str() as one:
                keys = {order_key(one): None}
            case _:
                return list(self._documents.values())
        return [self._documents[k] for k in keys if k in self._documents]

    def _insert(self, document: Document) -> int:
        document.setdefault("_id", ObjectId())
        with self._lock:
            self._check_unique(document, None)
            self._documents[order_key(document["_id"])] = _encoded(document)
        return 1

    def _update(
        self, where: Where, update: Where, *, upsert: bool, many: bool
    ) -> UpdateResult:
        with self._lock:
            found = self._found(where)[: None if many else 1]
            for before in found:
                self._replace(before, changing.changed(before, update))
            answer: Document = {"n": len(found), "nModified": len(found)}
            if upsert and not found:
                made = changing.from_filter(where)
                made = changing.changed(made, update, is_new=True)
                self._insert(made)
                answer = {"n": 1, "nModified": 0, "upserted": made["_id"]}
        return UpdateResult(answer, acknowledged=True)

    def _replace(self, before: Document, after: Document) -> None:
        key = order_key(before["_id"])
        self._check_unique(after, key)
        try:
            self._documents[key] = _encoded(after)
        except DocumentTooLarge as error:
            # Only the server sees how large it has become.
            raise WriteError(str(error), _TOO_LARGE) from None

    def _run(self, operation: UpdateOne | UpdateMany) -> int:
        # The driver has no public names for what an operation consists of.
        return self._update(
            operation._filter,  # noqa: SLF001 - as above
            cast("Where", operation._doc),  # noqa: SLF001 - as above
            upsert=bool(operation._upsert),  # noqa: SLF001 - as above
            many=isinstance(operation, UpdateMany),
        ).matched_count

    def _each(self, writes: Sequence[_Update], *, ordered: bool) -> int:
        done, problems = 0, []
        for index, write in enumerate(writes):
            try:
                done += write()
            except WriteError as error:
                problems.append(_problem(index, error))
                if ordered:
                    break
        if problems:
            raise BulkWriteError(_bulk_answer(done, problems))
        return done

    def _delete(self, where: Where, most: int | None) -> DeleteResult:
        with self._lock:
            found = self._found(where)[:most]
            for each in found:
                del self._documents[order_key(each["_id"])]
        return DeleteResult({"n": len(found)}, acknowledged=True)

    def _check_unique(self, document: Document, own: object) -> None:
        key = order_key(document["_id"])
        if own is None and key in self._documents:
            raise _duplicate("_id_")
        for name, fields in self._unique.items():
            if name == "_id_":
                continue
            wanted = _unique_key(document, fields)
            for other, raw in self._documents.items():
                if other == own:
                    continue
                if _unique_key(bson.decode(raw), fields) == wanted:
                    raise _duplicate(name)


def _plain(document: Document) -> Document:
    # Callers that insert many have encoded them already.
    if isinstance(document, RawBSONDocument):
        return bson.decode(document.raw)
    return document


def _encoded(document: Document) -> bytes:
    # The `_id` comes first, as a server has it.
    raw = bson.encode({"_id": document["_id"], **document})
    if len(raw) > _MOST_BYTES:
        raise DocumentTooLarge(f"{len(raw)} bytes are too many")
    return raw


def _unique_key(document: Document, fields: tuple[str, ...]) -> object:
    return [[*map(order_key, values_at(document, name))] for name in fields]


def _index_name(keys: Sequence[tuple[str, int]]) -> str:
    return "_".join(f"{field}_{direction}" for field, direction in keys)


def _duplicate(index: str) -> DuplicateKeyError:
    return DuplicateKeyError(
        f"E11000 duplicate key error, index: {index}",
        _DUPLICATE_KEY,
        {"code": _DUPLICATE_KEY, "index": 0, "errmsg": "duplicate key"},
    )


def _problem(index: int, error: WriteError) -> Document:
    return {"index": index, "code": error.code, "errmsg": str(error)}


def _bulk_answer(matched: int, problems: list[Document]) -> Document:
    return {
        "writeErrors": problems,
        "writeConcernErrors": [],
        "nInserted": 0,
        "nMatched": matched,
        "nModified": matched,
        "nRemoved": 0,
        "nUpserted": 0,
        "upserted": [],
    }
