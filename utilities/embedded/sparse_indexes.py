"""Sparse indexes: documents without the field cost nothing.

The package takes `sparse` for an index that is given by a name alone, and
drivers send a list. Here such an index is made first, under the package's
own name for it, which the package then leaves as it is.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress

from neosqlite._sqlite import sqlite3
from neosqlite.sql_utils import quote_identifier, quote_table_name

from utilities.embedded.plain import Command, NotPlainError, json_path


def make_sparse(
    connection: sqlite3.Connection, table: str, specs: Sequence[Command]
) -> None:
    """Make those of the indexes that are sparse, of one field each."""
    for spec in specs:
        keys = spec.get("key")
        if not spec.get("sparse") or not isinstance(keys, Mapping):
            continue
        if len(keys) == 1 and not spec.get("unique"):
            with suppress(NotPlainError):
                _make(connection, table, next(iter(keys)))


def _make(connection: sqlite3.Connection, table: str, field: str) -> None:
    value = f"json_extract(data, {json_path(field)})"
    name = quote_identifier(f"idx_{table}_{field.replace('.', '_')}")
    connection.execute(
        f"CREATE INDEX IF NOT EXISTS {name} ON {quote_table_name(table)}"
        f"({value}) WHERE {value} IS NOT NULL"
    )
