"""Shorter ways for what the job queue asks of the embedded database.

The package reads every document that an update matches, decodes it,
changes it, and reads and decodes it again. The queue changes hundreds of
documents at once, and only sets, removes and counts up plain fields:
here, such an update is one SQL statement. Documents without dates and
binary data are read as the JSON that they are, and only their ids where
only ids are wanted. Everything else is left to the package, and so is
every update that fails: it knows how to tell why.
"""

import json
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from bson import ObjectId
from neosqlite.collection.jsonb_support import json_data_column
from neosqlite.sql_utils import quote_table_name
from nx_27017.utils import convert_bson_to_neo_objectids

Command = Mapping[str, Any]
Document = dict[str, Any]
Sql = tuple[str, list[Any]]

# What finds the documents of an update, and must be indexed; and what else
# they may be asked for. None of it is ever a list, which would make a
# comparison more than a comparison.
_KEYS = frozenset({"_id", "leaseToken"})
_CONDITIONS = _KEYS | {"status", "_metadata.isDeleted"}
# Names that mean the same to SQLite; no number, which may be an index.
_PLAIN_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_OPERATORS = frozenset({"$set", "$unset", "$inc"})
_FIND_OPTIONS = frozenset({"skip", "hint", "min", "max", "collation"})
# What the package makes of an id and a date.
_MARK, _DATE = '"__neosqlite_', '"$date"'
_UPDATE_OPTIONS = frozenset({"q", "u", "multi", "upsert"})


class _NotPlainError(Exception):
    pass


def update_plainly(collection: Any, updates: Sequence[Command]) -> int | None:  # noqa: ANN401 - the package has no types
    """Make updates of a collection, all inside one transaction.

    Returns how many documents matched, or None if nothing was done, since
    this is the package's business.
    """
    with suppress(_NotPlainError):
        statements = [_update(collection, each) for each in updates]
        return _execute(collection.db, statements)
    return None


def find_plainly(
    collection: Any,  # noqa: ANN401 - as above
    find: Command,
) -> list[Document] | None:
    """Return the documents, or their ids alone, that a command asks for.

    None if this is the package's business.
    """
    projection = find.get("projection") or {}
    if projection not in ({}, {"_id": 1}) or find.keys() & _FIND_OPTIONS:
        return None
    with suppress(_NotPlainError):
        sql, values = _selection(collection, find, ids_only=bool(projection))
        return [_document(*row) for row in collection.db.execute(sql, values)]
    return None


def _selection(collection: Any, find: Command, *, ids_only: bool) -> Sql:  # noqa: ANN401 - as above
    helpers = collection.query_engine.helpers
    # As the package's own cursor has it.
    found = helpers._build_simple_where_clause(  # noqa: SLF001 - as above
        convert_bson_to_neo_objectids(find.get("filter", {}))
    )
    if found is None or found[2]:
        raise _NotPlainError
    where, values, _ = found
    order = helpers._build_sort_clause(find.get("sort"))  # noqa: SLF001 - as above
    has_jsonb = collection.query_engine.jsonb.jsonb_supported
    data = "NULL" if ids_only else json_data_column(has_jsonb)
    table = quote_table_name(collection.name)
    limit = int(find.get("limit", 0)) or -1
    clauses = f"FROM {table} {where} {order} LIMIT {limit}"
    return f"SELECT _id, {data} {clauses}", values


def _document(stored_id: object, data: str | None) -> Document:
    if not ObjectId.is_valid(stored_id):
        raise _NotPlainError
    document: Document = {"_id": ObjectId(str(stored_id))}
    if data is None:
        return document
    # A document has its id a second time; other marks are the package's.
    if data.count(_MARK) > 1 or _DATE in data:
        raise _NotPlainError
    loaded: Document = json.loads(data)
    return loaded | document


def _execute(
    connection: sqlite3.Connection, statements: Sequence[Sql]
) -> int | None:
    connection.execute("SAVEPOINT plain_updates")
    try:
        return sum(
            connection.execute(sql, values).rowcount
            for sql, values in statements
        )
    except sqlite3.Error:
        connection.execute("ROLLBACK TO plain_updates")
        return None
    finally:
        connection.execute("RELEASE plain_updates")


def _update(collection: Any, update: Command) -> Sql:  # noqa: ANN401 - as above
    if update.get("upsert") or not update.keys() <= _UPDATE_OPTIONS:
        raise _NotPlainError
    where, found = _where(update["q"])
    has_jsonb = collection.query_engine.jsonb.jsonb_supported
    data, values = _changed(update["u"], "jsonb" if has_jsonb else "json")
    table = quote_table_name(collection.name)
    if not update.get("multi"):
        where = f"id = (SELECT id FROM {table} WHERE {where} LIMIT 1)"  # noqa: S608 - no word of it is a client's
    return f"UPDATE {table} SET data = {data} WHERE {where}", [  # noqa: S608 - as above
        *values,
        *found,
    ]


def _where(query: Command) -> Sql:
    names = query.keys()
    key = next((name for name in names if name in _KEYS), None)
    if key is None or not names <= _CONDITIONS:
        raise _NotPlainError
    clauses: list[str] = []
    values: list[Any] = []
    for name, wanted in query.items():
        column = (
            "_id" if name == "_id" else f"json_extract(data, {_path(name)})"
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
            raise _NotPlainError
        places = ", ".join("?" * len(wanted["$in"]))
        return f"IN ({places})", [_compared(each) for each in wanted["$in"]]
    return "= ?", [_compared(wanted)]


def _compared(value: object) -> str | int:
    if isinstance(value, ObjectId):
        return str(value)
    if isinstance(value, str | int):
        return value
    raise _NotPlainError


def _changed(change: object, prefix: str) -> Sql:
    """Give the expression of a document after a change, and its values."""
    if not isinstance(change, Mapping) or not change.keys() <= _OPERATORS:
        raise _NotPlainError
    removed = [_path(name) for name in change.get("$unset", {})]
    data = (
        f"{prefix}_remove(data, {', '.join(removed)})" if removed else "data"
    )
    parts, values = [], []
    for path, sql, value in _settings(change):
        parts.append(f"{path}, {sql}")
        values.append(value)
    if parts:
        data = f"{prefix}_set({data}, {', '.join(parts)})"
    return data, values


def _settings(change: Command) -> Iterator[tuple[str, str, object]]:
    for name, value in change.get("$set", {}).items():
        yield _path(name), *_sql_value(value)
    for name, amount in change.get("$inc", {}).items():
        if not isinstance(amount, int) or isinstance(amount, bool):
            raise _NotPlainError
        path = _path(name)
        number = f"coalesce(json_extract(data, {path}), 0)"
        kind = f"coalesce(json_type(data, {path}), 'integer')"
        # Of what is no whole number, an error: see above.
        counted = f"CASE {kind} WHEN 'integer' THEN {number} + ?"
        yield path, f"{counted} ELSE json('') END", amount


def _path(name: str) -> str:
    if name == "_id" or _PLAIN_PATH.fullmatch(name) is None:
        raise _NotPlainError
    return f"'$.{name}'"


def _sql_value(value: object) -> tuple[str, object]:
    if isinstance(value, str):
        return "?", value
    if _is_plain(value):
        return "json(?)", json.dumps(value)
    raise _NotPlainError


def _is_plain(value: object) -> bool:
    """Tell whether the value is kept as the JSON that it is."""
    if isinstance(value, dict):
        # `$date`, `__neosqlite_...`: the package's marks of its own types.
        names = all(not name.startswith(("$", "__")) for name in value)
        return names and all(map(_is_plain, value.values()))
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if isinstance(value, float):
        return value - value == 0  # neither infinite nor a NaN
    return value is None or isinstance(value, int | str)
