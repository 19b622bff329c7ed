"""Fast paths for what the job queue reads from the embedded database.

Documents without dates and binary data are read as the JSON that they
are, and only their ids are read where only ids are wanted. A page that
begins behind some document is found by SQL, and sums of groups are; the
package would read the whole list for them.
Everything else is left to the package.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from bson import ObjectId
from neosqlite.sql_utils import quote_table_name
from nx_27017.utils import convert_bson_to_neo_objectids
from pydantic_core import from_json

from utilities.embedded.kept_counts import group_kept
from utilities.embedded.plain import (
    Command,
    Document,
    NotPlainError,
    Sql,
    json_path,
    text_of,
)

# Texts, which need no look into lists; there are indexes on most of them.
_TEXTS = frozenset(
    {
        "clientId", "status", "model", "operation", "batchKey", "errorType",
        "answerKey",
    }
)  # fmt: skip
_PLAIN_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_WHOLE_OR_ID: tuple[Command, ...] = ({}, {"_id": 1})
_FIND_OPTIONS = frozenset({"skip", "hint", "min", "max", "collation"})
# Of more fields, whole documents are read sooner.
_MOST_FIELDS = 20
# How the package marks an id and a date.
_MARK, _DATE = '"__neosqlite_', '"$date"'
# That mark alone, of a document's own id.
_ID_MARK = "iif(json_type(data, '$._id') = 'object', '\"__neosqlite_', '')"


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
    if not _is_list_of_fields(projection) or find.keys() & _FIND_OPTIONS:
        return None
    with suppress(NotPlainError):
        sql, values = selection(collection, find)
        rows = collection.db.execute(sql, values)
        if names := _fields_alone(find):
            return [_fields(names, *row) for row in rows]
        found = [_document(*row) for row in rows]
        if projection in _WHOLE_OR_ID:
            return found
        wanted = {"_id", *projection}
        return [
            {name: each[name] for name in each if name in wanted}
            for each in found
        ]
    return None


def _is_list_of_fields(projection: Command) -> bool:
    """Tell whether it names fields (no paths into them) to be returned."""
    return all(
        wanted == 1 and wanted is not True and _PLAIN_NAME.fullmatch(name)
        for name, wanted in projection.items()
    )


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
    with suppress(NotPlainError):
        return _groups_kept(collection, pipeline[0]["$match"], fields)
    with suppress(NotPlainError):
        key, values = text_of(fields.pop("_id", None), _field)
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


def _groups_kept(
    collection: Any,  # noqa: ANN401 - as above
    where: Command,
    fields: Command,
) -> list[Document]:
    sums = {name: fields[name] for name in fields if name != "_id"}
    sql, values = group_kept(collection, where, fields.get("_id"), sums)
    rows = collection.db.execute(sql, values)
    return [dict(zip(("_id", *sums), row, strict=True)) for row in rows]


def _field(name: str) -> str:
    return f"json_extract(data, {json_path(name)})"


def _of_all(wanted: object) -> str:
    match wanted:
        case {"$sum": int(number), **others} if not others:
            return f"{number} * count(*)"
        case {"$sum": str(field), **others} if not others:
            if field.startswith("$"):
                value = _field(field[1:])
                return f"coalesce(sum({value}), 0)"
        case {"$min": str(field), **others} if not others:
            if field.startswith("$"):
                return f"min({_field(field[1:])})"
    raise NotPlainError


def selection(collection: Any, find: Command) -> Sql:  # noqa: ANN401 - as above
    """Give the SQL of a find command, and its values."""
    helpers = collection.query_engine.helpers
    choice = _choice_of_texts(find)
    if choice is not None:
        return _merged(collection, find, choice)
    where, values = _condition(helpers, find.get("filter", {}))
    order = helpers._build_sort_clause(find.get("sort"))  # noqa: SLF001 - as above
    table = quote_table_name(collection.name)
    limit = int(find.get("limit", 0)) or -1
    clauses = f"FROM {table} WHERE {where} {order} LIMIT {limit}"
    return f"SELECT _id, {_data_column(find)} {clauses}", values


def _data_column(find: Command) -> str:
    if names := _fields_alone(find):
        # As the JSON that they are; nothing where there is no such field.
        fields = [f"data -> {json_path(name)}" for name in names]
        return ", ".join([_ID_MARK, *fields])
    return _ID_MARK if find.get("projection") == {"_id": 1} else "data"


def _fields_alone(find: Command) -> list[str]:
    """Name the fields of a command that need not read whole documents."""
    projection: Command = find.get("projection") or {}
    names = [name for name in projection if name != "_id"]
    is_few = len(names) <= _MOST_FIELDS and _choice_of_texts(find) is None
    return names if is_few else []


def _choice_of_texts(find: Command) -> str | None:
    """Find the text of which a command with an order names several."""
    if not (find.get("sort") and int(find.get("limit", 0))):
        return None
    wanted: Command = find.get("filter", {})
    return next(
        (
            name
            for name in sorted(_TEXTS & wanted.keys())
            if len(_choice(wanted[name]) or ()) > 1
        ),
        None,
    )


def _choice(wanted: object) -> list[str] | None:
    """Return the texts of which a field is to be one."""
    match wanted:
        case {"$in": [_, *_] as texts, **others} if not others:
            if all(isinstance(text, str) for text in texts):
                return list(texts)
    return None


def _merged(collection: Any, find: Command, name: str) -> Sql:  # noqa: ANN401 - as above
    """Give the SQL that merges one range of an index for each text.

    SQLite itself would sort everything that these ranges have.
    """
    keys = [
        (_sort_key(field), _direction(direction))
        for field, direction in find["sort"].items()
    ]
    columns = ", ".join(f"{sql} AS k{n}" for n, (sql, _) in enumerate(keys))
    order = ", ".join(f"{sql} {way}" for sql, way in keys)
    limit = int(find["limit"])
    data = _data_column(find)
    table = quote_table_name(collection.name)
    parts, values = [], []
    for text in dict.fromkeys(find["filter"][name]["$in"]):
        where, compared = _condition(
            collection.query_engine.helpers, {**find["filter"], name: text}
        )
        parts.append(
            f"SELECT * FROM (SELECT _id, {data} AS data, {columns} "  # noqa: S608 - no word of it is a client's
            f"FROM {table} WHERE {where} ORDER BY {order} LIMIT {limit})"
        )
        values += compared
    merged = " UNION ALL ".join(parts)
    whole = ", ".join(f"k{n} {way}" for n, (_, way) in enumerate(keys))
    return (
        f"SELECT _id, data FROM ({merged}) ORDER BY {whole} LIMIT {limit}",  # noqa: S608 - as above
        values,
    )


def _sort_key(field: str) -> str:
    if field == "_id":
        return "_id"
    return _field(field)


def _direction(direction: object) -> str:
    if direction in {1, -1}:
        return "ASC" if direction == 1 else "DESC"
    raise NotPlainError


def _condition(helpers: Any, query: Command) -> Sql:  # noqa: ANN401 - as above
    """Give a query's condition: fields, an `$or`, ids beyond an id."""
    if not _is_simple(query):
        raise NotPlainError
    rest = dict(query)
    clauses: list[str] = []
    values: list[Any] = []
    if (choices := rest.pop("$or", None)) is not None:
        either = [_condition(helpers, choice) for choice in choices]
        clauses.append(f"({' OR '.join(f'({sql})' for sql, _ in either)})")
        values += [value for _, compared in either for value in compared]
    if (beyond := _beyond_an_id(rest.get("_id"))) is not None:
        del rest["_id"]
        comparison, last_id = beyond
        clauses.append(f"_id {comparison} ?")
        values.append(last_id)
    for name in _TEXTS & rest.keys():
        if isinstance(rest[name], str):
            rest[name] = {"$eq": rest[name]}
        elif (texts := _choice(rest[name])) is not None:
            # The package looks into lists, which no index serves.
            del rest[name]
            places = ", ".join("?" * len(texts))
            clauses.append(f"{_field(name)} IN ({places})")
            values += texts
    # As the package's own cursor has it.
    found = helpers._build_simple_where_clause(  # noqa: SLF001 - as above
        convert_bson_to_neo_objectids(rest)
    )
    if found is None or found[2]:
        raise NotPlainError
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


def _beyond_an_id(wanted: object) -> tuple[str, str] | None:
    """Give the comparison with the last id of the page before."""
    match wanted:
        case {"$gt": ObjectId() as last_id, **others} if not others:
            return ">", str(last_id)
        case {"$lt": ObjectId() as last_id, **others} if not others:
            return "<", str(last_id)
    return None


def _fields(
    names: Sequence[str], stored_id: object, mark: str, *texts: str | None
) -> Document:
    document = _document(stored_id, mark)
    for name, text in zip(names, texts, strict=True):
        if text is not None:
            if _MARK in text or _DATE in text:
                raise NotPlainError
            document[name] = from_json(text)
    return document


def _document(stored_id: object, data: str) -> Document:
    # A document has its id a second time, with its mark: a text may look
    # the same. Other marks are the package's business.
    if data.count(_MARK) != 1 or _DATE in data:
        raise NotPlainError
    loaded: Document = {} if data.startswith(_MARK) else from_json(data)
    if loaded and not isinstance(loaded.get("_id"), dict):
        raise NotPlainError  # the mark is another field's
    return {**loaded, "_id": ObjectId(str(stored_id))}
