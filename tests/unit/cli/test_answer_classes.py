from typing import Any

import pytest

from cli.answer_classes import ClassCount, Confusion, by_class, confusion
from cli.results_file import said

Row = dict[str, Any]


def row(label: str, answer: object = None, **changes: Any) -> Row:
    right = answer == label
    found = {"label": label, "status": "PROCESSED", "correct": right}
    return {**found, "response": {"answer": answer}, **changes}


def lost(label: str) -> Row:
    return {"label": label, "status": "ERROR_PROCESSING", "response": None}


ROWS = [
    row("yes", "yes"),
    row("yes", "no"),
    row("no", "no"),
    row("no", "maybe"),
    lost("yes"),
    {"status": "PROCESSED", "response": {}},
]


def test_failed_rows_are_counted_and_not_right() -> None:
    assert by_class(ROWS) == [
        ClassCount("yes", 3, 1, 1),
        ClassCount("no", 2, 1, 0),
    ]
    assert by_class(ROWS)[0].accuracy == pytest.approx(1 / 3)


def test_labels_and_answers() -> None:
    assert confusion(ROWS) == Confusion(
        ["no", "yes"],
        ["no", "yes", "(other)", "(failed)"],
        [[1, 0, 1, 0], [1, 1, 0, 1]],
    )


def test_too_many_classes_have_no_matrix() -> None:
    assert confusion([row(str(n), "x") for n in range(13)]) is None
    assert confusion([]) is None


@pytest.mark.parametrize(
    ("response", "path", "expected"),
    [
        ({"a": "Yes", "b": 2}, None, "yes"),
        ({"a": 1, "b": {"c": ["x", {"d": "No "}]}}, "b.c.1.d", "no"),
        ({"a": 1}, "b.c", "none"),
        ([5, 6], "1", "6"),
        ([5], "7", "none"),
        ("text", None, "text"),
    ],
)
def test_what_an_answer_says(
    response: object, path: str | None, expected: str
) -> None:
    assert said(response, path) == expected
