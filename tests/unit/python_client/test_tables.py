import enum
import sys
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pydantic import BaseModel

from metasync import MissingPackageError, Result, RowFailedError
from metasync.questions import Form
from metasync.tables import answers, to_arrow, to_pandas, to_polars
from metasync.values import (
    Metrics,
)


class Colour(enum.Enum):
    RED = "red"


class Answer(BaseModel):
    happy: bool
    stars: int
    colour: Colour = Colour.RED
    tags: list[str] = []


FORM: Form[Answer] = Form(Answer)
USAGE = Metrics(input_tokens=3, output_tokens=1, total_cost=0.5)
ROWS = [{"id": 7, "text": "a"}, {"id": 8, "text": "b"}]


def results(*, failed: bool, rows: Any = ROWS) -> list[Result[Answer]]:
    first = Answer(happy=True, stars=5, tags=["x"])
    made = [Result(0, rows[0], first, usage=USAGE)]
    if failed:
        error = RowFailedError(1, "DELETED", "gone")
        return [*made, Result(1, rows[1], error=error)]
    second = Answer(happy=False, stars=1)
    return [*made, Result(1, rows[1], second, usage=USAGE)]


def made(table: Any = None, *, failed: bool = False, **more: Any) -> Any:
    options = {"usage": False, **more}
    return answers(results(failed=failed), table, FORM, **options)


def test_rows_become_a_table_of_each_kind() -> None:
    wanted = {
        "id": [7, 8],
        "text": ["a", "b"],
        "happy": [True, False],
        "stars": [5, 1],
        "colour": ["red", "red"],
        "tags": [["x"], []],
    }
    assert to_arrow(made()).to_pydict() == wanted
    assert to_polars(made()).to_dict(as_series=False) == wanted
    assert to_pandas(made()).to_dict("list") == wanted


def test_failed_rows_have_their_reason_and_types_stay() -> None:
    table = to_arrow(made(failed=True))
    assert table.column_names[-1] == "error"
    assert table["error"].to_pylist() == [None, "DELETED: gone"]
    assert table.schema.field("stars").type == pa.int64()
    assert to_polars(made(failed=True)).schema["stars"] == pl.Int64
    frame = to_pandas(made(failed=True))
    # Whole numbers with one missing are whole numbers still.
    assert str(frame["stars"].dtype) == "Int64"
    assert str(frame["happy"].dtype) == "boolean"
    assert frame["stars"][0] == 5


def test_a_table_comes_back_with_its_own_types_and_index() -> None:
    frame = pd.DataFrame(
        {
            "id": pd.array([7, 8], dtype="int16"),
            "text": pd.Categorical(["a", "b"]),
        },
        index=["x", "y"],
    )
    found = to_pandas(made(frame))
    assert list(found.index) == ["x", "y"]
    assert dict(found.dtypes[["id", "text"]]) == dict(frame.dtypes)
    assert found["stars"].tolist() == [5, 1]
    # The one that was given is as it was.
    assert list(frame.columns) == ["id", "text"]
    other = pl.DataFrame(ROWS, schema={"id": pl.UInt8, "text": pl.String})
    assert to_polars(made(other)).schema["id"] == pl.UInt8
    arrow = pa.table({"id": pa.array([7, 8], pa.int8()), "text": ["a", "b"]})
    assert to_arrow(made(arrow)).schema.field("id").type == pa.int8()


@pytest.mark.parametrize("target", [to_arrow, to_pandas, to_polars])
@pytest.mark.parametrize(
    "table",
    [pa.Table.from_pylist(ROWS), pd.DataFrame(ROWS), pl.DataFrame(ROWS)],
    ids=["arrow", "pandas", "polars"],
)
def test_every_table_becomes_every_other(table: Any, target: Any) -> None:
    found = target(made(table))
    names = list(getattr(found, "column_names", None) or found.columns)
    assert names == ["id", "text", "happy", "stars", "colour", "tags"]
    assert [int(each) for each in found["id"].to_numpy()] == [7, 8]


def test_a_name_that_the_input_has_is_not_overwritten() -> None:
    rows = [{"happy": "the input's", "error": 1}, {"happy": "x", "error": 2}]
    made_of = answers(results(failed=True, rows=rows), None, FORM, usage=False)
    table = to_arrow(made_of)
    assert table["happy"].to_pylist() == ["the input's", "x"]
    assert table["answer_happy"].to_pylist() == [True, None]
    assert table["answer_error"].to_pylist() == [None, "DELETED: gone"]


def test_usage_stands_beside_if_wanted() -> None:
    table = to_arrow(made(usage=True))
    assert table["input_tokens"].to_pylist() == [3, 3]
    assert table["cost"].to_pylist() == [0.5, 0.5]


def test_answers_without_fields_are_one_column() -> None:
    texts: Form[str] = Form(None)
    found = answers([Result(0, "a", "yes")], None, texts, usage=False)
    assert to_arrow(found).to_pydict() == {"text": ["a"], "answer": ["yes"]}
    mixed: Form[Any] = Form(Any)
    values: list[Result[Any]] = [
        Result(0, "a", 1),
        Result(1, "b", {"x": 1}),
        Result(2, "c", "t"),
    ]
    table = to_arrow(answers(values, None, mixed, usage=False))
    # Of several kinds: JSON.
    assert table["answer"].to_pylist() == ["1", None, '"t"']
    assert table["x"].to_pylist() == [None, 1, None]


def test_results_that_were_left_early_leave_the_rest_empty() -> None:
    table = pa.Table.from_pylist([*ROWS, {"id": 9, "text": "c"}])
    found = to_arrow(made(table))
    assert found["stars"].to_pylist() == [5, 1, None]


@pytest.mark.parametrize(
    ("target", "package", "extra"),
    [
        (to_arrow, "pyarrow", "arrow"),
        (to_pandas, "pandas", "pandas"),
        (to_polars, "polars", "polars"),
    ],
    ids=["arrow", "pandas", "polars"],
)
def test_a_package_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, target: Any, package: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    wanted = rf"pip install 'metasync-client\[{extra}\]'"
    with pytest.raises(MissingPackageError, match=wanted):
        target(made())
