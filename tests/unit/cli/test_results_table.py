"""The table of a run's answers: the input's columns, then the answer's."""

import csv
from pathlib import Path
from typing import Any

import pytest

from cli.errors import CommandError
from cli.input_file import Item
from cli.input_rows import Kind, read_rows
from cli.results_table import Target, check_columns, write_results

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
    write_results(Target.of(out), ITEMS, ANSWERS, None)
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
    write_results(Target.of(out), ITEMS[:2], answers, ["id"])
    assert read(out) == [
        {"id": 7, "score": 1.0, "odd": "1"},
        {"id": 8, "score": 0.5, "odd": "x"},
    ]


def test_a_text_answer_has_a_column_of_its_own(tmp_path: Path) -> None:
    out = tmp_path / "out.tsv"
    answer = {"status": "PROCESSED", "response": "yes\tno", "correct": True}
    write_results(Target.of(out), ITEMS[:1], {"a": answer}, ["text"])
    assert read(out) == [{"text": "x", "answer": "yes\tno", "correct": "true"}]


def test_of_texts_the_column_is_the_answer(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    answer = {"status": "PROCESSED", "response": {"text": "fine"}}
    write_results(
        Target.of(out), ITEMS[:1], {"a": answer}, ["id"], are_texts=True
    )
    assert read(out) == [{"id": "7", "answer": "fine"}]


def test_names_and_columns() -> None:
    assert Target.of(Path("a/out.csv")).rows == Path("a/out.csv.rows.jsonl")
    assert Target.of(Path("out.jsonl")).rows == Path("out.jsonl")
    check_columns(ITEMS, ["id"])
    with pytest.raises(CommandError, match="there is: id, text"):
        check_columns(ITEMS, ["txt"])


@pytest.mark.parametrize(
    ("name", "says_types"),
    [
        ("out.csv.gz", False),
        ("out.tsv.zst", False),
        ("out.arrow", True),
        ("out.feather", True),
    ],
)
def test_what_is_written_can_be_read(
    tmp_path: Path, name: str, *, says_types: bool
) -> None:
    if says_types:
        pytest.importorskip("arro3.io")
    out = tmp_path / name
    answer = {"status": "PROCESSED", "response": {"about": "good"}}
    rows = {item.key: answer for item in ITEMS}
    write_results(Target.of(out), ITEMS, rows, ["id"])
    ids = [7, 8, 9, 10] if says_types else ["7", "8", "9", "10"]
    found = read(out)
    assert found == [{"id": each, "about": "good"} for each in ids]
    assert list(found[0]) == ["id", "about"]
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["out.jsonl.gz", "out.jsonl.zst"])
def test_compressed_lines_are_made_at_the_end(
    tmp_path: Path, name: str
) -> None:
    target = Target.of(tmp_path / name)
    assert target.rows.name == f"{name}.rows.jsonl"
    write_results(target, ITEMS, ANSWERS, None)
    assert read(target.path) == list(ANSWERS.values())


def test_what_is_said_counts_more_than_the_name(tmp_path: Path) -> None:
    target = Target.of(tmp_path / "out.txt", Kind.TSV)
    write_results(target, ITEMS[:1], {}, ["id"])
    assert target.path.read_text().split() == ["id", "7"]


def test_columns_are_not_compressed_twice() -> None:
    with pytest.raises(CommandError, match=r"leave out \.gz"):
        Target.of(Path("out.parquet.gz")).check()
