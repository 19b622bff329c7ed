"""The results of `map` as a table: the input's columns, then the answers'.

A table that was given comes back with its own columns, types and index.
Other kinds of tables are made from it by way of Arrow.
"""

import dataclasses
import importlib
import json
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any

from pydantic import BaseModel

from metasync.errors import MissingPackageError
from metasync.questions import Form
from metasync.requests import Json
from metasync.results import Result
from metasync.rows import RowError, fields_of, kind_of

_ANSWER, _ERROR = "answer", "error"


@dataclasses.dataclass(frozen=True)
class Answers:
    """A table or, without one, rows; and the columns to come beside it."""

    table: Any
    rows: Sequence[Mapping[str, Any]]
    columns: Mapping[str, Sequence[Any]]


def answers(
    results: Sequence[Result[Any]],
    table: Any,
    form: Form[Any],
    *,
    usage: bool,
) -> Answers:
    """Put the answers into columns, in the order of the rows.

    An answer with fields has a column for each, any other one is in
    `answer`; where the input has such a column, it is `answer_<name>`.
    Failed rows have their reason in `error`, if there are any.
    """
    rows = [] if table is not None else [_fields(each) for each in results]
    given = _names(table, rows)
    count = len(rows) if table is None else len(table)
    found: list[Json] = [{} for _ in range(count)]
    for place, result in enumerate(results):
        at = place if table is None else result.index
        found[at] = _cells(result, form, usage=usage)
    names = _in_order(found)
    columns = {
        f"{_ANSWER}_{name}" if name in given else name: [
            cells.get(name) for cells in found
        ]
        for name in names
    }
    return Answers(table, rows, columns)


def to_pandas(made: Answers) -> Any:
    """Give a DataFrame.

    Raises:
        MissingPackageError: pandas, or pyarrow, is not installed.
    """
    pandas = _module("pandas", "pandas")
    package = kind_of(made.table)[0]
    if package == "pandas":
        base = made.table
    elif made.table is not None:
        base = _arrow_of(made).to_pandas()
    else:
        base = pandas.DataFrame(made.rows)
    new = {
        name: _series(pandas, values, base.index)
        for name, values in made.columns.items()
    }
    return base.assign(**new)


def to_polars(made: Answers) -> Any:
    """Give a polars DataFrame.

    Raises:
        MissingPackageError: polars, or pyarrow, is not installed.
    """
    polars = _module("polars", "polars")
    package = kind_of(made.table)[0]
    if package == "polars":
        base = made.table
    elif made.table is not None:
        base = polars.from_arrow(_arrow_of(made))
    else:
        base = polars.from_dicts(made.rows, infer_schema_length=None)
    return base.with_columns(
        polars.Series(name, values, strict=False)
        for name, values in made.columns.items()
    )


def to_arrow(made: Answers) -> Any:
    """Give a pyarrow Table.

    Raises:
        MissingPackageError: pyarrow is not installed.
    """
    arrow = _module("pyarrow", "arrow")
    if made.table is not None:
        base = _arrow_of(made)
    else:
        columns = {
            name: _array(arrow, [row.get(name) for row in made.rows])
            for name in _names(None, made.rows)
        }
        base = arrow.table(columns)
    for name, values in made.columns.items():
        base = base.append_column(name, _array(arrow, values))
    return base


def _arrow_of(made: Answers) -> Any:
    """Give the table itself as Arrow's."""
    arrow = _module("pyarrow", "arrow")
    package = kind_of(made.table)[0]
    if package == "pandas":
        return arrow.Table.from_pandas(made.table)
    return made.table.to_arrow() if package == "polars" else made.table


def _module(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingPackageError(name, extra) from None


def _fields(result: Result[Any]) -> Mapping[str, Any]:
    try:
        return fields_of(result.row)
    except RowError:
        # Its error is in its column.
        return {}


def _names(
    table: Any, rows: Sequence[Mapping[str, Any]]
) -> Mapping[str, None]:
    if table is None:
        return dict.fromkeys(name for row in rows for name in row)
    if kind_of(table)[0] == "pyarrow":
        return dict.fromkeys(table.column_names)
    return dict.fromkeys(map(str, table.columns))


def _cells(result: Result[Any], form: Form[Any], *, usage: bool) -> Json:
    """Give what a row's answer has for each column."""
    cells: Json = {}
    if result.error is not None:
        error = result.error
        cells[_ERROR] = f"{error.error_type}: {error.message}"
    else:
        value = _plain(form.plain(result.value))
        cells |= value if isinstance(value, dict) else {_ANSWER: value}
    if usage:
        cells |= {
            "input_tokens": result.usage.input_tokens,
            "output_tokens": result.usage.output_tokens,
            "cost": result.cost,
        }
    return cells


def _in_order(found: Iterable[Json]) -> Sequence[str]:
    names = dict.fromkeys(name for cells in found for name in cells)
    for name in ("input_tokens", "output_tokens", "cost", _ERROR):
        # What is not the answer's stands last.
        if name in names:
            names[name] = names.pop(name)
    return list(names)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return _plain(value.model_dump())
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in value]
    return value


def _series(pandas: Any, values: Sequence[Any], index: Any) -> Any:
    """Give a column; what is missing makes no floats of whole numbers."""
    if any(isinstance(each, list | dict) for each in values):
        return pandas.Series(values, index=index, dtype=object)
    if any(each is None for each in values):
        return pandas.Series(pandas.array(values), index=index)
    return pandas.Series(values, index=index)


def _array(arrow: Any, values: Sequence[Any]) -> Any:
    try:
        return arrow.array(values)
    except (arrow.ArrowInvalid, arrow.ArrowTypeError):
        # Of several kinds: as JSON, which has them all.
        texts = [
            None if each is None else json.dumps(each, default=str)
            for each in values
        ]
        return arrow.array(texts)
