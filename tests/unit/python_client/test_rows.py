import datetime as dt
import decimal
import enum
import json
import math
import uuid
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from metasync import ConfigurationError
from metasync.requests import dump
from metasync.rows import RowError, source_of, to_json
from tests.support.examples import examples


class Colour(enum.Enum):
    RED = "red"


class Model(BaseModel):
    n: int


@dataclass
class Person:
    name: str


def test_values_of_all_kinds_become_json() -> None:
    row = {
        "day": dt.date(2026, 1, 31),
        "time": dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC),
        "price": decimal.Decimal("1.50"),
        "id": uuid.UUID(int=1),
        "colour": Colour.RED,
        "bytes": b"\xff\x00",
        "tuple": (1, 2),
        "number": np.int64(7),
        "array": np.array([1.5, float("nan")]),
        "nan": float("nan"),
        "model": Model(n=1),
        5: "a number's name",
    }
    assert to_json(row) == {
        "day": "2026-01-31",
        "time": "2026-01-31T12:00:00Z",
        "price": "1.50",
        "id": "00000000-0000-0000-0000-000000000001",
        "colour": "red",
        "bytes": "_wA=",
        "tuple": [1, 2],
        "number": 7,
        "array": [1.5, None],
        "nan": None,
        "model": {"n": 1},
        "5": "a number's name",
    }


def test_rows_of_all_kinds() -> None:
    assert to_json("hello") == {"text": "hello"}
    assert to_json(Model(n=3)) == {"n": 3}
    assert to_json(Person("Ada")) == {"name": "Ada"}
    assert to_json({"a": 1, "b": 2}, ["b"]) == {"b": 2}


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (7, "no mapping"),
        (Person, "no mapping"),
        ({"a": object()}, "a value is object"),
    ],
    ids=["number", "class", "object"],
)
def test_what_is_no_row_is_refused(row: Any, why: str) -> None:
    with pytest.raises(RowError, match=why):
        to_json(row)


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(RowError, match="no column 'b'"):
        to_json({"a": 1}, ["a", "b"])


def test_a_row_that_contains_itself_is_refused() -> None:
    row: dict[str, Any] = {}
    row["self"] = row
    with pytest.raises(RowError):
        to_json(row)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner)
    ),
    max_leaves=10,
)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [_finite(each) for each in value]
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    return value


@settings(max_examples=examples(150))
@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])), JSON, max_size=4
    )
)
def test_json_stays_as_it_is_and_always_gives_the_same_bytes(
    row: dict[str, Any],
) -> None:
    made = to_json(row)
    assert made == _finite(row)
    text = dump(made)
    assert json.loads(text) == made
    backwards = dict(reversed(list(row.items())))
    assert dump(to_json(backwards)) == text


COLUMNS = {
    "id": [7, 8, 9],
    "price": [1.5, None, 2.5],
    "count": [1, None, 3],
    "ok": [True, None, False],
    "text": ["a", None, "c"],
    "tags": [["x"], None, []],
}
WANTED = [
    {
        "id": 7,
        "price": 1.5,
        "count": 1,
        "ok": True,
        "text": "a",
        "tags": ["x"],
    },
    dict.fromkeys(COLUMNS) | {"id": 8},
    {
        "id": 9,
        "price": 2.5,
        "count": 3,
        "ok": False,
        "text": "c",
        "tags": [],
    },
]
TABLES = {
    "arrow": pa.table(COLUMNS),
    "batch": pa.RecordBatch.from_pydict(COLUMNS),
    "polars": pl.DataFrame(COLUMNS),
    "lazy": pl.DataFrame(COLUMNS).lazy(),
    "pandas": pa.table(COLUMNS).to_pandas(),
    "nullable": pd.DataFrame(
        {
            **COLUMNS,
            "count": pd.array([1, None, 3], dtype="Int64"),
            "ok": pd.array([True, None, False], dtype="boolean"),
        },
        index=["x", "y", "z"],
    ),
}


@pytest.mark.parametrize("kind", TABLES)
def test_tables_are_rows_with_their_types(kind: str) -> None:
    source = source_of(TABLES[kind])
    assert source.total == 3
    found = [to_json(row) for row in source.rows()]
    assert found == WANTED
    # 7 == 7.0, but a prompt would say so.
    assert [repr(row["id"]) for row in found] == ["7", "8", "9"]


def test_times_of_pandas_that_are_missing_are_null() -> None:
    frame = pd.DataFrame(
        {"at": [pd.Timestamp("2026-01-31T12:00Z"), pd.NaT], "n": [1, 2]}
    )
    found = [to_json(row) for row in source_of(frame).rows()]
    assert found == [
        {"at": "2026-01-31T12:00:00Z", "n": 1},
        {"at": None, "n": 2},
    ]


def test_long_tables_are_read_to_the_end() -> None:
    frame = pd.DataFrame({"n": range(2500)})
    found = [row["n"] for row in source_of(frame).rows()]
    assert found == list(range(2500))


def test_what_are_no_rows_is_refused() -> None:
    for wrong in ("text", b"x", {"a": 1}, Model(n=1), 7, None):
        with pytest.raises(ConfigurationError, match="rows"):
            source_of(wrong)
    assert source_of(str(n) for n in range(3)).total is None
    assert source_of(["a"]).total == 1
