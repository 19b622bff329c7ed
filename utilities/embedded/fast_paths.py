"""Shorter ways for what the job queue asks of the embedded database.

The package reads every document that an update matches, decodes it,
changes it, and reads and decodes it again. The queue changes hundreds of
documents at once, and only sets, removes and counts up plain fields:
here, such an update is one SQL statement. Documents without dates and
binary data are written and read as the JSON that they are, and only their
ids are read where only ids are wanted. A page that begins behind some
document is found by SQL, and sums of groups are; the package would read
the whole list for them.
Everything else is left to the package, and so is every write that fails:
it knows how to tell why.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from bson import ObjectId
from neosqlite._sqlite import sqlite3
from neosqlite.collection.jsonb_support import json_data_column
from neosqlite.sql_utils import quote_table_name
from nx_27017.utils import convert_bson_to_neo_objectids
from pydantic_core import from_json

Command = Mapping[str, Any]
Document = dict[str, Any]
Sql = tuple[str, list[Any]]

# What finds the documents of an update, and must be indexed; and what else
# they may be asked for. None of it is ever a list, which would make a
# comparison more than a comparison.
_KEYS = frozenset({"_id", "leaseToken"})
_CONDITIONS = _KEYS | {
    "status",
    "revision",
    "batchMark",
    "_metadata.isDeleted",
}
# Texts, which need no look into lists; there are indexes on most of them.
_TEXTS = frozenset({"clientId", "status", "model", "operation"})
# Names that mean the same to SQLite; no number, which may be an index.
_PLAIN_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_OPERATORS = frozenset({"$set", "$unset", "$inc"})
_FIND_OPTIONS = frozenset({"skip", "hint", "min", "max", "collation"})
# What the package makes of an id and a date.
_MARK, _DATE = '"__neosqlite_', '"$date"'
# That mark alone, of a document's own id.
_ID_MARK = "iif(json_type(data, '$._id') = 'object', '\"__neosqlite_', '')"
_ONLY_IDS = {"_id": 1}
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


def insert_plainly(
    collection: Any,  # noqa: ANN401 - as above
    documents: Sequence[Document],
) -> int | None:
    """Insert documents into a collection, all inside one transaction.

    Returns how many there were, or None if nothing was done, as above.
    """
    table = quote_table_name(collection.name)
    sql = f"INSERT INTO {table} (data, _id) VALUES (?, ?)"  # noqa: S608 - no word of it is a client's
    with suppress(_NotPlainError):
        statements = [(sql, _stored(document)) for document in documents]
        return _execute(collection.db, statements)
    return None


def find_plainly(
    collection: Any,  # noqa: ANN401 - as above
    find: Command,
) -> list[Document] | None:
    """Return the documents, or their ids alone, that a command asks for.

    None if this is the package's business.

    Raises:
        sqlite3.Error: the same.
    """
    projection = find.get("projection") or {}
    if not _names_fields(projection) or find.keys() & _FIND_OPTIONS:
        return None
    with suppress(_NotPlainError):
        sql, values = selection(collection, find)
        return [
            _projected(_document(*row), projection)
            for row in collection.db.execute(sql, values)
        ]
    return None


def _names_fields(projection: Command) -> bool:
    """Tell whether a projection is nothing but names of whole fields."""
    return all(
        type(wanted) is int and wanted == 1 and name.isidentifier()
        for name, wanted in projection.items()
    )


def _projected(document: Document, projection: Command) -> Document:
    if not projection:
        return document
    wanted = {"_id", *projection}
    return {name: document[name] for name in document if name in wanted}


def group_plainly(
    collection: Any,  # noqa: ANN401 - as above
    pipeline: Sequence[Command],
) -> list[Document] | None:
    """Return the groups of a `$match` and a `$group` by a text.

    Sums and the least are of plain numbers. None if this is the package's
    business.

    Raises:
        sqlite3.Error: the same.
    """
    if [list(stage) for stage in pipeline] != [["$match"], ["$group"]]:
        return None
    fields = dict(pipeline[1]["$group"])
    helpers = collection.query_engine.helpers
    with suppress(_NotPlainError):
        key, values = _text(fields.pop("_id", None))
        sums = [_of_all(wanted) for wanted in fields.values()]
        where, compared = _condition(helpers, pipeline[0]["$match"])
        columns = ", ".join([key, *sums])
        table = quote_table_name(collection.name)
        rows = collection.db.execute(
            f"SELECT {columns} FROM {table} WHERE {where} GROUP BY 1",  # noqa: S608 - no word of it is a client's
            [*values, *compared],
        )
        return [dict(zip(("_id", *fields), row, strict=True)) for row in rows]
    return None


def _text(expression: object) -> Sql:
    """Give the SQL of a field, a constant, or a chain of them."""
    match expression:
        case str() if expression.startswith("$"):
            return f"json_extract(data, {_path(expression[1:])})", []
        case str():
            return "?", [expression]
        case {"$concat": [*parts], **others} if not others:
            return _joined(" || ", parts)
        case {"$ifNull": [*parts], **others} if not others:
            sql, values = _joined(", ", parts)
            return f"coalesce({sql})", values
    raise _NotPlainError


def _joined(between: str, parts: Sequence[object]) -> Sql:
    texts = [_text(part) for part in parts]
    values = [value for _, found in texts for value in found]
    return between.join(sql for sql, _ in texts), values


def _of_all(wanted: object) -> str:
    match wanted:
        case {"$sum": int(number), **others} if not others:
            return f"{number} * count(*)"
        case {"$sum": str(field), **others} if not others:
            if field.startswith("$"):
                value = f"json_extract(data, {_path(field[1:])})"
                return f"coalesce(sum({value}), 0)"
        case {"$min": str(field), **others} if not others:
            if field.startswith("$"):
                return f"min(json_extract(data, {_path(field[1:])}))"
    raise _NotPlainError


def selection(collection: Any, find: Command) -> Sql:  # noqa: ANN401 - as above
    """Give the SQL of a find command, and its values."""
    helpers = collection.query_engine.helpers
    where, values = _condition(helpers, find.get("filter", {}))
    order = helpers._build_sort_clause(find.get("sort"))  # noqa: SLF001 - as above
    has_jsonb = collection.query_engine.jsonb.jsonb_supported
    ids_only = find.get("projection") == _ONLY_IDS
    data = _ID_MARK if ids_only else json_data_column(has_jsonb)
    table = quote_table_name(collection.name)
    limit = int(find.get("limit", 0)) or -1
    clauses = f"FROM {table} WHERE {where} {order} LIMIT {limit}"
    return f"SELECT _id, {data} {clauses}", values


def _condition(helpers: Any, query: Command) -> Sql:  # noqa: ANN401 - as above
    """Give a query's condition: fields, an `$or`, ids behind an id."""
    if not _is_simple(query):
        raise _NotPlainError
    rest = dict(query)
    clauses: list[str] = []
    values: list[Any] = []
    if (choices := rest.pop("$or", None)) is not None:
        either = [_condition(helpers, choice) for choice in choices]
        clauses.append(f"({' OR '.join(f'({sql})' for sql, _ in either)})")
        values += [value for _, compared in either for value in compared]
    if (last_id := _last_id(rest.get("_id"))) is not None:
        del rest["_id"]
        clauses.append("_id > ?")
        values.append(str(last_id))
    for name in _TEXTS & rest.keys():
        if isinstance(rest[name], str):
            rest[name] = {"$eq": rest[name]}
    # As the package's own cursor has it.
    found = helpers._build_simple_where_clause(  # noqa: SLF001 - as above
        convert_bson_to_neo_objectids(rest)
    )
    if found is None or found[2]:
        raise _NotPlainError
    where, compared, _ = found
    if where:
        clauses.append(where.removeprefix("WHERE "))
    return " AND ".join(clauses) or "TRUE", [*values, *compared]


def _is_simple(wanted: object) -> bool:
    """Tell whether values are compared as SQLite does; dates are not."""
    if isinstance(wanted, Mapping):
        return all(map(_is_simple, wanted.values()))
    if isinstance(wanted, list):
        return all(map(_is_simple, wanted))
    return wanted is None or isinstance(wanted, str | int | float | ObjectId)


def _last_id(wanted: object) -> ObjectId | None:
    if isinstance(wanted, Mapping) and wanted.keys() == {"$gt"}:
        last_id = wanted["$gt"]
        return last_id if isinstance(last_id, ObjectId) else None
    return None


def _stored(document: Document) -> list[Any]:
    """Give what the package keeps of a document: its JSON, and its id."""
    stored_id = document.get("_id")
    fields = {name: document[name] for name in document if name != "_id"}
    if not isinstance(stored_id, ObjectId) or not _is_plain(fields):
        raise _NotPlainError
    mark = {"__neosqlite_objectid__": True, "id": str(stored_id)}
    return [json.dumps({**document, "_id": mark}), str(stored_id)]


def _document(stored_id: object, data: str) -> Document:
    # A document has its id a second time, with its mark: a text may look
    # the same. Other marks are the package's business.
    if data.count(_MARK) != 1 or _DATE in data:
        raise _NotPlainError
    document: Document = {"_id": ObjectId(str(stored_id))}
    if data.startswith(_MARK):
        return document
    loaded: Document = from_json(data)
    return loaded | document


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
    if wanted is None:
        # Also where there is no such field.
        return "IS NULL", []
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
