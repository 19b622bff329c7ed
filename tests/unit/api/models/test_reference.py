from typing import Any

import pytest
from hypothesis import given

from api.models.reference import (
    MOST_LEVELS,
    MOST_NAME_BYTES,
    MOST_VALUES,
    check,
    index_of,
)
from tests.support.samples import json_objects
from tests.support.timing import is_within, processor_seconds


def chain(levels: int, innermost: object = 1) -> dict[str, Any]:
    value: Any = innermost
    for _ in range(levels):
        value = {"a": value}
    return {"a": value} if levels == 0 else value


def test_the_deepest_reference() -> None:
    assert check(chain(MOST_LEVELS))
    with pytest.raises(ValueError, match="16 levels"):
        check(chain(MOST_LEVELS + 1))


def test_the_most_values() -> None:
    assert check({str(n): 1 for n in range(MOST_VALUES)})
    with pytest.raises(ValueError, match="256 values"):
        check({str(n): 1 for n in range(MOST_VALUES + 1)})


def test_the_names_are_counted_as_often_as_the_index_repeats_them() -> None:
    inner = {f"{n:03}": n for n in range(200)}
    assert check({"x" * 10: inner})
    with pytest.raises(ValueError, match=str(MOST_NAME_BYTES)):
        check({"x" * 200: inner})


def test_lists_are_one_value() -> None:
    assert check({"a": [[[{"b": list(range(1000))}]]]})


@given(json_objects)
def test_what_passes_has_a_small_index(reference: dict[str, Any]) -> None:
    try:
        check(reference)
    except ValueError:
        return
    index = index_of(reference)
    assert len(index) <= MOST_VALUES
    # `%` stands for the empty name.
    assert sum(map(len, index)) <= MOST_NAME_BYTES + 1


def test_a_hostile_reference_is_refused_quickly() -> None:
    wide: Any = {str(n): 0 for n in range(3000)}
    for _ in range(90):
        wide = {"k" * 300: wide}

    def work() -> None:
        with pytest.raises(ValueError, match="levels"):
            check(wide)

    assert is_within(0.1, lambda: processor_seconds(work))
