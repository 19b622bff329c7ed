"""The table of a run's answers: the input's columns, then the answer's."""

import csv
from pathlib import Path
from typing import Any

import pytest

from cli.errors import CommandError
from cli.input_file import Item
from cli.input_rows import read_rows
from cli.results_table import check_columns, rows_beside, write_table

ITEMS = [
    Item(1, "a", "7", None, {}, 1, {"id": 7, "text": "x"}),
    Item(2, "b", "8", None, {}, 1, {"id": 8, "text": "=y"}),
    Item(3, "c", "9", None, {}, 1, {"id": 9, "text": "z"}),
    Item(4, "d", None, None, {}, 1, {"id": 10, "text": "never asked"}),
]
ANSWERS: dict[str, Any] = {
    "a": {"status": "PROCESSED", "response": {"label": "good", "text": "w"}},
    "b": {"status": "PROCESSED", "response": {"label": None, "n": [1]}},
    "c": {
        "status": "ERROR_PROCESSING",
        "error": {"errorType": "TRUNCATED", "message": "cut"},
    },
}


def read(path: Path) -> list[dict[str, Any]]:
    return [row.fields for row in read_rows([path])]


def test_columns_stand_beside_the_answers(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    write_table(out, ITEMS, ANSWERS, None)
    with out.open(encoding="utf-8", newline="") as file:
        found = list(csv.reader(file))
    assert found == [
        ["id", "text", "label", "answer_text", "n", "error"],
        ["7", "x", "good", "w", "", ""],
        ["8", "=y", "", "", "[1]", ""],
        ["9", "z", "", "", "", "TRUNCATED: cut"],
        ["10", "never asked", "", "", "", ""],
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_parquet_keeps_types_and_writes_mixed_ones_as_text(
    tmp_path: Path,
) -> None:
    pytest.importorskip("arro3.io")
    out = tmp_path / "out.parquet"
    answers = {
        "a": {"status": "PROCESSED", "response": {"score": 1, "odd": 1}},
        "b": {"status": "PROCESSED", "response": {"score": 0.5, "odd": "x"}},
    }
    write_table(out, ITEMS[:2], answers, ["id"])
    assert read(out) == [
        {"id": 7, "score": 1.0, "odd": "1"},
        {"id": 8, "score": 0.5, "odd": "x"},
    ]


def test_a_text_answer_has_a_column_of_its_own(tmp_path: Path) -> None:
    out = tmp_path / "out.tsv"
    answer = {"status": "PROCESSED", "response": "yes\tno", "correct": True}
    write_table(out, ITEMS[:1], {"a": answer}, ["text"])
    assert read(out) == [{"text": "x", "answer": "yes\tno", "correct": "true"}]


def test_of_texts_the_column_is_the_answer(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    answer = {"status": "PROCESSED", "response": {"text": "fine"}}
    write_table(out, ITEMS[:1], {"a": answer}, ["id"], are_texts=True)
    assert read(out) == [{"id": "7", "answer": "fine"}]


def test_names_and_columns() -> None:
    assert rows_beside(Path("a/out.csv")) == Path("a/out.csv.rows.jsonl")
    assert rows_beside(Path("out.jsonl")) == Path("out.jsonl")
    check_columns(ITEMS, ["id"])
    with pytest.raises(CommandError, match="there is: id, text"):
        check_columns(ITEMS, ["txt"])
