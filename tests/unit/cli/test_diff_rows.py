"""Rows of two files: which changed, came and went."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from cli.diff_command import run_diff
from cli.diff_rows import difference
from cli.errors import CommandError
from tests.support.examples import examples

Fields = dict[str, Any]


def run_row(key: str, answer: object, **fields: object) -> Fields:
    """Give a row as `metasync run` writes it."""
    return {
        "id": None,
        "line": 1,
        "status": "PROCESSED",
        "response": answer,
        "metrics": {"totalCost": 1},
        "jobId": "0" * 24,
        "key": key,
        **fields,
    }


def test_rows_are_matched_by_their_ids() -> None:
    first = [{"id": n, "label": "good"} for n in range(4)]
    second = [{"id": str(n), "label": "good"} for n in (3, 2, 1, 9)]
    second[1]["label"] = "bad"
    found = difference(first, second)
    (changed,) = found.changed
    assert (changed.name, changed.fields) == ("2", {"label": ("good", "bad")})
    assert [name for name, _ in found.added] == ["9"]
    assert [name for name, _ in found.removed] == ["0"]
    assert found.same == 2


def test_costs_and_places_of_a_run_are_no_difference() -> None:
    first = [run_row("k", {"a": 1}, id="x")]
    second = [
        run_row(
            "other", {"a": 1}, id="x", line=7, metrics=None, cachedFrom="j"
        )
    ]
    assert not difference(first, second)
    # Negative control: the answer is one.
    assert difference(first, [run_row("k", {"a": 2}, id="x")])


def test_samples_are_rows_of_their_own() -> None:
    rows = [run_row(f"k{n}", n, id="x", sample=n) for n in range(3)]
    assert difference(rows, rows).same == 3
    found = difference(rows, rows[:2])
    assert [name for name, _ in found.removed] == ["x / 2"]


@pytest.mark.parametrize(
    ("keys", "by"),
    [
        pytest.param((["a", "b"], ["a", "c"]), "key", id="same question"),
        pytest.param(
            (["a", "b"], ["c", "d"]), "file, line, sample", id="other"
        ),
    ],
)
def test_rows_of_runs_without_ids(
    keys: tuple[list[str], list[str]], by: str
) -> None:
    first, second = (
        [run_row(key, 1, line=n) for n, key in enumerate(each, 1)]
        for each in keys
    )
    assert difference(first, second).by == by


def test_rows_without_ids_are_matched_by_the_input() -> None:
    first = [{"text": f"t{n}", "label": "good"} for n in range(10)]
    second = [dict(row) for row in first[1:]] + [{"text": "new", "label": "x"}]
    second[0]["label"] = "bad"
    found = difference(first, second)
    assert found.by == "text"
    assert [each.name for each in found.changed] == ["t1"]
    assert len(found.added) == len(found.removed) == 1


def test_rows_that_nothing_tells_apart_are_refused() -> None:
    rows = [{"label": "good"}] * 5
    with pytest.raises(CommandError, match="--by"):
        difference(rows, [{"label": "bad"}] * 5)
    with pytest.raises(CommandError, match="has no column 'name'"):
        difference(rows, rows, ["name"])


_ROWS = st.lists(
    st.fixed_dictionaries(
        {"id": st.integers(0, 4), "a": st.integers(0, 1)},
        optional={"b": st.none() | st.text(max_size=1)},
    ),
    max_size=6,
)


@settings(max_examples=examples(200))
@given(_ROWS, _ROWS)
def test_every_row_is_told_once(
    one: list[Fields], other: list[Fields]
) -> None:
    found = difference(one, other)
    both = len(found.changed) + found.same
    assert both + len(found.removed) == len(one)
    assert both + len(found.added) == len(other)
    assert not difference(one, one)
    back = difference(other, one)
    assert len(back.added) == len(found.removed)
    assert back.same == found.same


def shown(
    directory: Path, first: str, second: str, **options: Any
) -> tuple[int, str]:
    one, other = directory / "a.csv", directory / "b.csv"
    one.write_text(first)
    other.write_text(second)
    console = Console(file=StringIO(), width=200)
    status = run_diff(one, other, console, **options)
    assert isinstance(console.file, StringIO)
    return status, console.file.getvalue()


def test_the_command_shows_what_differs(tmp_path: Path) -> None:
    first = "id,label\n1,good\n2,bad\n3,bad\n"
    status, text = shown(
        tmp_path, first, "id,label\n1,good\n2,good\n4,x\x1b\n"
    )
    assert status == 1
    for part in (
        "~ 2",
        "- label: bad",
        "+ label: good",
        '- 3: {"id":"3"',
        "+ 4:",
        "1 changed, 1 added, 1 removed, 1 same (rows matched by id)",
        "label: 1 changed",
    ):
        assert part in text
    assert "\x1b" not in text
    assert shown(tmp_path, first, first)[0] == 0


def test_the_command_speaks_json(tmp_path: Path) -> None:
    status, text = shown(
        tmp_path, "id,a\n1,x\n", "id,a\n1,y\n2,z\n", as_json=True
    )
    assert status == 1
    assert json.loads(text) == {
        "changed": [
            {"row": "1", "fields": {"a": {"before": "x", "after": "y"}}}
        ],
        "added": [{"row": "2", "fields": {"id": "2", "a": "z"}}],
        "removed": [],
        "counts": {"changed": 1, "added": 1, "removed": 0, "same": 0},
        "by": "id",
    }


def test_few_of_many_rows_are_shown(tmp_path: Path) -> None:
    rows = "".join(f"{n},x\n" for n in range(30))
    _, text = shown(tmp_path, "id,a\n", f"id,a\n{rows}", most=3)
    assert text.count("+ ") == 3
    assert "and 27 more added" in text


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("id,a\n1\n", id="short row"),
        pytest.param("id,id\n1,2\n", id="column twice"),
    ],
)
def test_broken_files_are_told(tmp_path: Path, content: str) -> None:
    with pytest.raises(CommandError):
        shown(tmp_path, content, "id,a\n1,2\n")
