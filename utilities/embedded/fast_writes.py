"""Fast paths for what the job queue writes to the embedded database.

The package reads every document that an update matches, decodes it,
changes it, and reads and decodes it again. The queue changes hundreds of
documents at once, and only sets, removes and counts up plain fields:
here, such an update is one SQL statement. Documents without dates and
binary data are written as the JSON that they are.
Everything else is left to the package, and so is every write that fails:
the package knows how to report why.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from bson import ObjectId
from neosqlite._sqlite import sqlite3
from neosqlite.sql_utils import quote_table_name

from utilities.embedded.plain import (
    Command,
    Document,
    NotPlainError,
    Sql,
    is_plain,
    json_path,
)
from utilities.slices import blocks

# What finds the documents of an update, and must be indexed; and what else
# they may be asked for. None of it is ever a list, which would make a
# comparison more than a comparison.
_KEYS = frozenset({"_id", "leaseToken"})
_CONDITIONS = _KEYS | {
    "status",
    "revision",
    "batchMark",
    "deferredUntil",
    "expiryDue",
    "_metadata.isDeleted",
}
# Documents of one statement.
_AT_ONCE = 100
_OPERATORS = frozenset({"$set", "$unset", "$inc"})
_UPDATE_OPTIONS = frozenset({"q", "u", "multi", "upsert"})


def update_plainly(collection: Any, updates: Sequence[Command]) -> int | None:  # noqa: ANN401 - the package has no types
    """Make updates of a collection, all inside one transaction.

    Returns how many documents matched, or None if nothing was done, since
    this is the package's business.
    """
    table = quote_table_name(collection.name)
    with suppress(NotPlainError):
        changes = [_read(each) for each in updates]
        statements = [
            sql
            for _, alike in groupby(changes, _shape)
            for block in blocks(list(alike), _AT_ONCE)
            for sql in _statements(table, block)
        ]
        return _execute(collection.db, statements)
    return None


def insert_plainly(
    collection: Any,  # noqa: ANN401 - as above
    documents: Sequence[Document],
) -> int | None:
    """Insert documents into a collection, all inside one transaction.

    Returns how many there were, or None if nothing was done, as above.
    """
    table = quote_table_name(collection.name)
    with suppress(NotPlainError):
        statements = [
            _insert(table, block) for block in blocks(documents, _AT_ONCE)
        ]
        return _execute(collection.db, statements)
    return None


def _insert(table: str, documents: Sequence[Document]) -> Sql:
    # Many at once: with triggers, each statement has its own journal.
    rows = ", ".join(["(?, ?)"] * len(documents))
    values = [value for each in documents for value in _stored(each)]
    return f"INSERT INTO {table} (data, _id) VALUES {rows}", values  # noqa: S608 - no word of it is a client's


def _stored(document: Document) -> list[Any]:
    """Give what the package keeps of a document: its JSON, and its id."""
    stored_id = document.get("_id")
    fields = {name: document[name] for name in document if name != "_id"}
    if not isinstance(stored_id, ObjectId) or not is_plain(fields):
        raise NotPlainError
    mark = {"__neosqlite_objectid__": True, "id": str(stored_id)}
    return [json.dumps({**document, "_id": mark}), str(stored_id)]


def _execute(
    connection: sqlite3.Connection, statements: Sequence[Sql]
) -> int | None:
    connection.execute("SAVEPOINT plain_writes")
    try:
        return sum(
            int(connection.execute(sql, values).rowcount)
            for sql, values in statements
        )
    except sqlite3.Error:
        connection.execute("ROLLBACK TO plain_writes")
        return None
    finally:
        connection.execute("RELEASE plain_writes")


@dataclass(frozen=True, slots=True)
class _Change:
    """What an update sets, and where; `values` are those of both.

    `one_id` is the id that it names, if it is an update of one.
    """

    data: str
    where: str
    values: list[Any]
    multi: bool
    one_id: object


def _read(update: Command) -> _Change:
    if update.get("upsert") or not update.keys() <= _UPDATE_OPTIONS:
        raise NotPlainError
    query = update["q"]
    where, found = _where(query)
    data, values = _changed(update["u"])
    multi = bool(update.get("multi"))
    named = None if multi else query.get("_id")
    one_id = named if isinstance(named, ObjectId) else None
    return _Change(data, where, [*values, *found], multi, one_id)


def _shape(change: _Change) -> object:
    """Give what changes have in common that are made together."""
    if change.one_id is None:
        return change  # none is like it
    return change.data, change.where


def _statements(table: str, alike: Sequence[_Change]) -> Iterator[Sql]:
    # Of two updates of one document, each has to see the one before.
    ids = {change.one_id for change in alike}
    if len(alike) > 1 and len(ids) == len(alike):
        yield _together(table, alike)
        return
    for change in alike:
        where = change.where
        if not change.multi:
            where = f"id = (SELECT id FROM {table} WHERE {where} LIMIT 1)"  # noqa: S608 - no word of it is a client's
        sql = f"UPDATE {table} SET data = {change.data} WHERE {where}"  # noqa: S608 - as above
        yield sql, change.values


def _together(table: str, alike: Sequence[_Change]) -> Sql:
    """Make one statement: with triggers, each one costs by itself."""
    count = len(alike[0].values)
    columns = iter(range(1, count + 1))
    data, where = (
        re.sub(r"\?", lambda _: f"v.column{next(columns)}", sql)
        for sql in (alike[0].data, alike[0].where)
    )
    row = f"({', '.join('?' * count)})"
    rows = ", ".join([row] * len(alike))
    sql = (
        f"UPDATE {table} SET data = {data} FROM (VALUES {rows}) AS v "  # noqa: S608 - as above
        f"WHERE {where}"
    )
    return sql, [value for change in alike for value in change.values]


def _where(query: Command) -> Sql:
    names = query.keys()
    key = next((name for name in names if name in _KEYS), None)
    if key is None or not names <= _CONDITIONS:
        raise NotPlainError
    clauses: list[str] = []
    values: list[Any] = []
    for name, wanted in query.items():
        column = (
            "_id"
            if name == "_id"
            else f"json_extract(data, {json_path(name)})"
        )
        # A plus keeps SQLite from another index, of which a million
        # documents may have the same value.
        comparison, compared = _comparison(wanted)
        clauses.append(f"{'' if name == key else '+'}{column} {comparison}")
        values += compared
    return " AND ".join(clauses), values


def _comparison(wanted: object) -> Sql:
    if isinstance(wanted, Mapping):
        if wanted.keys() != {"$in"}:
            raise NotPlainError
        places = ", ".join("?" * len(wanted["$in"]))
        return f"IN ({places})", [_compared(each) for each in wanted["$in"]]
    if wanted is None:
        # Also where there is no such field.
        return "IS NULL", []
    return "= ?", [_compared(wanted)]


def _compared(value: object) -> str | int:
    if isinstance(value, ObjectId):
        return str(value)
    if isinstance(value, str | int):
        return value
    raise NotPlainError


def _changed(change: object) -> Sql:
    """Give the expression of a document after a change, and its values."""
    if not isinstance(change, Mapping) or not change.keys() <= _OPERATORS:
        raise NotPlainError
    removed = [json_path(name) for name in change.get("$unset", {})]
    data = f"json_remove(data, {', '.join(removed)})" if removed else "data"
    parts, values = [], []
    for path, sql, value in _settings(change):
        parts.append(f"{path}, {sql}")
        values.append(value)
    if parts:
        data = f"json_set({data}, {', '.join(parts)})"
    return data, values


def _settings(change: Command) -> Iterator[tuple[str, str, object]]:
    for name, value in change.get("$set", {}).items():
        yield json_path(name), *_sql_value(value)
    for name, amount in change.get("$inc", {}).items():
        if not isinstance(amount, int) or isinstance(amount, bool):
            raise NotPlainError
        path = json_path(name)
        number = f"coalesce(json_extract(data, {path}), 0)"
        kind = f"coalesce(json_type(data, {path}), 'integer')"
        # Of what is no whole number, an error: see above.
        counted = f"CASE {kind} WHEN 'integer' THEN {number} + ?"
        yield path, f"{counted} ELSE json('') END", amount


def _sql_value(value: object) -> tuple[str, object]:
    if isinstance(value, str):
        return "?", value
    if is_plain(value):
        return "json(?)", json.dumps(value)
    raise NotPlainError
