"""Counts and sums of jobs, kept up to date inside each write.

Triggers keep one row for all jobs that are alike in client, status, model,
operation and currency: how many there are, and the sums of their metrics.
They run in the transaction of the write itself, whoever makes it, so the
rows are exact at every moment, also after a crash. Where the triggers are
missing (a new collection, a file of an earlier version), all jobs are
counted once, and the triggers are made, in one transaction.

Money and seconds are kept as whole numbers of 1e-10, as precisely as jobs
have them: sums of floats would drift.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from neosqlite._sqlite import sqlite3

from utilities.embedded.plain import (
    Command,
    NotPlainError,
    Sql,
    text_of,
)

COLLECTION = "jobs"
# The package takes tables of such names for its own, and shows them to
# nobody. A change of what is kept needs a new name.
_TABLE = "neosqlite_kept_jobs_1"
_TRIGGERS = tuple(
    f"{_TABLE}_{when}" for when in ("insert", "delete", "update")
)
_ALL_KEPT = "neosqlite_kept_jobs_*"
_FIELDS = ("clientId", "status", "model", "operation")
_CURRENCY = "processingMetrics.currency"
_KEY = (*_FIELDS, _CURRENCY)
_COUNTS = (
    "inputTokens",
    "outputTokens",
    "totalTokens",
    "cachedTokens",
    "cacheWriteTokens",
    "reasoningTokens",
)
_DECIMALS = ("duration", "inputCost", "outputCost", "totalCost")
_UNITS = 10_000_000_000
_SUMS = (*_COUNTS, *_DECIMALS)
# A client id whose JSON is surely what SQLite makes of it.
_PLAIN_ID = re.compile(r"[\w-]+", re.ASCII)
_LIVING = "_metadata.isDeleted"


def keep(connection: sqlite3.Connection) -> bool:
    """Have the counts kept from now on, if there are jobs at all.

    To be called inside a transaction. Returns whether they are kept.
    """
    if are_kept(connection):
        # What is zero has nothing to tell.
        connection.execute(f"DELETE FROM {_TABLE} WHERE n = 0")  # noqa: S608 - a name of ours
        return True
    table = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    if connection.execute(table, [COLLECTION]).fetchone() is None:
        return False
    _remove(connection)
    sums = ", ".join(f"{name} NOT NULL" for name in _SUMS)
    connection.execute(
        f"CREATE TABLE {_TABLE} (key TEXT PRIMARY KEY, n INTEGER NOT NULL, "
        f"{sums}) WITHOUT ROWID"
    )
    connection.execute(f"INSERT INTO {_TABLE} {recount()}")
    for statement in _triggers():
        connection.execute(statement)
    return True


def forget_empty(connection: sqlite3.Connection) -> None:
    """Remove what counts no job any more: it still names an operation."""
    if are_kept(connection):
        connection.execute(f"DELETE FROM {_TABLE} WHERE n = 0")  # noqa: S608 - a name of ours
        connection.commit()


def are_kept(connection: sqlite3.Connection) -> bool:
    """Tell whether every write keeps the counts."""
    places = ", ".join("?" * len(_TRIGGERS))
    ((found,),) = connection.execute(
        "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND name "  # noqa: S608 - question marks
        f"IN ({places})",
        _TRIGGERS,
    )
    return int(found) == len(_TRIGGERS)


def recount() -> str:
    """Give the SQL that counts all jobs anew; rows as they are kept."""
    sums = ", ".join(f"sum({value})" for value in _values("data"))
    return (
        f"SELECT {_key('data')}, count(*), {sums} FROM {COLLECTION} "  # noqa: S608 - names of ours
        f"WHERE {_is_living('data')} GROUP BY 1"
    )


def kept() -> str:
    """Give the SQL of the rows as they are kept."""
    return f"SELECT key, n, {', '.join(_SUMS)} FROM {_TABLE} WHERE n != 0"  # noqa: S608 - names of ours


def group_kept(
    collection: Any,  # noqa: ANN401 - the package has no types
    where: Command,
    key: object,
    sums: Mapping[str, object],
) -> Sql:
    """Give the SQL of groups of jobs, from what is kept.

    Raises:
        NotPlainError: it does not follow from that, or nothing is kept.
    """
    rest = dict(where)
    if collection.name != COLLECTION or rest.pop(_LIVING, None) is not False:
        raise NotPlainError
    group, values = text_of(key, _part)
    columns = ", ".join([group, *(_sum(wanted) for wanted in sums.values())])
    condition, compared = _condition(rest)
    if not are_kept(collection.db):
        raise NotPlainError
    sql = f"SELECT {columns} FROM {_TABLE} WHERE n != 0{condition} GROUP BY 1"  # noqa: S608 - no word of it is a client's
    return sql, [*values, *compared]


def _condition(where: Command) -> Sql:
    clauses: list[str] = []
    values: list[Any] = []
    for name, wanted in where.items():
        texts = _texts(wanted)
        places = ", ".join("?" * len(texts))
        clauses.append(f" AND {_part(name)} IN ({places})")
        values += texts
        if name == "clientId" and len(texts) == 1:
            # The keys begin with it: their range is read, and no others.
            clauses.append(" AND key BETWEEN ? AND ?")
            values += _range_of(texts[0])
    return "".join(clauses), values


def _texts(wanted: object) -> Sequence[str]:
    match wanted:
        case str():
            return [wanted]
        case {"$eq": str(text), **others} if not others:
            return [text]
        case {"$in": [_, *_] as texts, **others} if not others:
            if all(isinstance(text, str) for text in texts):
                return list(texts)
    raise NotPlainError


def _range_of(client_id: str) -> tuple[str, str]:
    if _PLAIN_ID.fullmatch(client_id) is None:
        raise NotPlainError
    start = json.dumps([client_id])[:-1]
    return f"{start},", f"{start}-"


def _part(name: str) -> str:
    if name not in _KEY:
        raise NotPlainError
    return f"json_extract(key, '$[{_KEY.index(name)}]')"


def _sum(wanted: object) -> str:
    match wanted:
        case {"$sum": 1, **others} if not others:
            return "sum(n)"
        case {"$sum": str(field), **others} if not others:
            name = field.removeprefix("$processingMetrics.")
            if name in _COUNTS:
                return f"sum({name})"
            if name in _DECIMALS:
                return f"sum({name}) / {_UNITS}.0"
    raise NotPlainError


def _remove(connection: sqlite3.Connection) -> None:
    """Remove what an earlier version has kept, or was kept of others."""
    found = connection.execute(
        "SELECT type, name FROM sqlite_master WHERE name GLOB ? AND type IN "
        "('trigger', 'table') ORDER BY type DESC",
        [_ALL_KEPT],
    )
    for kind, name in found.fetchall():
        connection.execute(f'DROP {kind} "{name}"')


def _triggers() -> Sequence[str]:
    after = f"CREATE TRIGGER {{}} AFTER {{}} ON {COLLECTION}"
    inserted, deleted, updated = _TRIGGERS
    seen = _paths((*_KEY, _LIVING, "processingMetrics"))
    changed = (
        f"json_extract(OLD.data, {seen}) IS NOT json_extract(NEW.data, {seen})"
    )
    return (
        f"{after.format(inserted, 'INSERT')} BEGIN {_add('NEW.data')} END",
        f"{after.format(deleted, 'DELETE')} BEGIN {_take('OLD.data')} END",
        # One trigger: each reads the documents anew.
        (
            f"{after.format(updated, 'UPDATE OF data')} WHEN {changed} "
            f"BEGIN {_take('OLD.data')} {_add('NEW.data')} END"
        ),
    )


def _add(data: str) -> str:
    zeros = ", ".join("0" * len(_SUMS))
    return (
        f"INSERT INTO {_TABLE} SELECT {_key(data)}, 1, {zeros} "
        f"WHERE {_is_living(data)} ON CONFLICT DO UPDATE SET n = n + 1; "
        f"{_change_sums(data, '+')}"
    )


def _take(data: str) -> str:
    return (
        f"UPDATE {_TABLE} SET n = n - 1 WHERE {_is_living(data)} "  # noqa: S608 - names of ours
        f"AND key = {_key(data)}; {_change_sums(data, '-')}"
    )


def _change_sums(data: str, sign: str) -> str:
    changes = ", ".join(
        f"{name} = {name} {sign} {value}"
        for name, value in zip(_SUMS, _values(data), strict=True)
    )
    # Few changes are of jobs that have cost something.
    return (
        f"UPDATE {_TABLE} SET {changes} WHERE {_is_living(data)} "  # noqa: S608 - names of ours
        f"AND json_type({data}, '$.processingMetrics') = 'object' "
        f"AND key = {_key(data)};"
    )


def _key(data: str) -> str:
    return f"json_extract({data}, {_paths(_KEY)})"


def _paths(names: Sequence[str]) -> str:
    return ", ".join(f"'$.{name}'" for name in names)


def _is_living(data: str) -> str:
    return f"json_extract({data}, '$.{_LIVING}') IS FALSE"


def _values(data: str) -> Sequence[str]:
    values = []
    for name in _SUMS:
        value = (
            f"ifnull(json_extract({data}, '$.processingMetrics.{name}'), 0)"
        )
        if name in _DECIMALS:
            value = f"CAST(round({value} * {_UNITS}.0) AS INTEGER)"
        values.append(value)
    return values
