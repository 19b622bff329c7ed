"""What `map` takes: rows of any kind, and tables."""

import dataclasses
import math
from collections.abc import (
    AsyncIterable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
    Sized,
)
from typing import Any, Protocol, TypeAlias

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_jsonable_python

from metasync.errors import ConfigurationError
from metasync.requests import Json

# Rows of a table that are turned into objects at once.
_BLOCK = 1000
_TEXT = "text"

# A mapping, a text (its column is `text`), a pydantic model or a dataclass.
Row: TypeAlias = Any


class RowError(Exception):
    """A row cannot be sent; the message says why."""


class Source(Protocol):
    """Rows, one after the other."""

    @property
    def total(self) -> int | None:
        """How many there are, if that is known."""

    @property
    def table(self) -> Any:
        """The table that the rows come from; None if there is none."""

    def rows(self) -> Any:
        """Give the rows, in the way in which they were given."""


@dataclasses.dataclass(frozen=True)
class _Rows:
    given: Any
    table: Any = None

    @property
    def total(self) -> int | None:
        return len(self.given) if isinstance(self.given, Sized) else None

    def rows(self) -> Any:
        return self.given


@dataclasses.dataclass(frozen=True)
class _PandasRows:
    table: Any

    @property
    def total(self) -> int:
        return len(self.table)

    def rows(self) -> Iterator[Row]:
        import pandas as pd  # noqa: PLC0415 - the table is its

        for start in range(0, len(self.table), _BLOCK):
            block = self.table.iloc[start : start + _BLOCK]
            # What is missing is null, of whatever kind the column is.
            plain = block.astype(object).where(~pd.isna(block), None)
            yield from plain.to_dict("records")


@dataclasses.dataclass(frozen=True)
class _PolarsRows:
    table: Any

    @property
    def total(self) -> int:
        return len(self.table)

    def rows(self) -> Iterator[Row]:
        return iter(self.table.iter_rows(named=True, buffer_size=_BLOCK))


@dataclasses.dataclass(frozen=True)
class _ArrowRows:
    table: Any

    @property
    def total(self) -> int:
        return len(self.table)

    def rows(self) -> Iterator[Row]:
        for batch in self.table.to_batches(max_chunksize=_BLOCK):
            yield from batch.to_pylist()


_TABLES: dict[tuple[str, str], Callable[[Any], Source]] = {
    ("pandas", "DataFrame"): _PandasRows,
    ("polars", "DataFrame"): _PolarsRows,
    ("pyarrow", "Table"): _ArrowRows,
    ("pyarrow", "RecordBatch"): _ArrowRows,
}


def source_of(given: Any, *, has_loop: bool = False) -> Source:
    """Find out what was given; with a loop, also what it gives.

    Raises:
        ConfigurationError: these are no rows.
    """
    kind = kind_of(given)
    if kind == ("pyarrow", "RecordBatch"):
        import pyarrow as pa  # noqa: PLC0415 - the batch is its

        return _ArrowRows(pa.Table.from_batches([given]))
    if kind in _TABLES:
        return _TABLES[kind](given)
    if kind == ("polars", "LazyFrame"):
        return _PolarsRows(given.collect())
    if isinstance(given, str | bytes | Mapping | BaseModel):
        raise ConfigurationError(
            "map needs several rows: give a list of them, or a table"
        )
    if isinstance(given, AsyncIterable) and not has_loop:
        raise ConfigurationError("Only AsyncMetasync can read such rows")
    if not isinstance(given, Iterable | AsyncIterable):
        raise ConfigurationError(f"map needs rows, not {type(given).__name__}")
    return _Rows(given)


def kind_of(given: object) -> tuple[str, str]:
    """Name the package and the class of a value, without an import."""
    for each in type(given).__mro__:
        name = (each.__module__.partition(".")[0], each.__name__)
        if name in _TABLES or name == ("polars", "LazyFrame"):
            return name
    return ("", "")


def to_json(row: Row, columns: Sequence[str] | None = None) -> Json:
    """Give a row as JSON; `columns` are those that are wanted.

    What is no number (NaN), and what a table has as missing, is null.

    Raises:
        RowError: it cannot be JSON, or lacks a column.
    """
    fields = fields_of(row)
    if columns is not None:
        missing = [name for name in columns if name not in fields]
        if missing:
            raise RowError(f"there is no column {missing[0]!r}")
        fields = {name: fields[name] for name in columns}
    try:
        made: Json = to_jsonable_python(
            fields, fallback=_plain, inf_nan_mode="null", bytes_mode="base64"
        )
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        raise RowError(f"cannot be JSON: {error}") from None
    return {name: _without_nan(value) for name, value in made.items()}


def fields_of(row: Row) -> Mapping[str, Any]:
    """Give a row's columns.

    Raises:
        RowError: it is no row.
    """
    if isinstance(row, str):
        return {_TEXT: row}
    if isinstance(row, BaseModel):
        return row.model_dump()
    if dataclasses.is_dataclass(row) and not isinstance(row, type):
        return dataclasses.asdict(row)
    if isinstance(row, Mapping):
        return {str(name): value for name, value in row.items()}
    raise RowError(f"is no mapping but {type(row).__name__}")


def _plain(value: object) -> object:
    # numpy's numbers and arrays, and what is like them.
    for name in ("tolist", "item"):
        convert = getattr(value, name, None)
        if callable(convert):
            return convert()
    raise RowError(f"cannot be JSON: a value is {type(value).__name__}")


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _without_nan(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_without_nan(each) for each in value]
    return value
