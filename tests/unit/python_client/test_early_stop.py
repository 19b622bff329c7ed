import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metasync import AllFailAlikeError, Result, RowFailedError
from metasync.early_stop import EarlyStop
from tests.support.examples import examples


def ended(kind: str | None, index: int = 0) -> Result[str]:
    if kind is None:
        return Result(index, "row", "answer")
    # What differs from row to row.
    words = f"row {index}: 'x{index}' was refused"
    return Result(index, "row", error=RowFailedError(index, kind, words))


@settings(max_examples=examples(200))
@given(
    st.lists(st.sampled_from([None, "A", "B"]), max_size=12),
    st.integers(0, 5),
)
def test_only_first_failures_that_are_alike_end_it(
    kinds: list[str | None], after: int
) -> None:
    stop, raised = EarlyStop(after), None
    for index, kind in enumerate(kinds):
        try:
            stop.watch(ended(kind, index))
        except AllFailAlikeError as error:
            raised = error
            break
    first = kinds[:after]
    alike = len(set(first)) == 1 and first[0] is not None
    assert (raised is not None) == (0 < after == len(first) and alike)


def test_it_says_the_reason_and_what_to_do() -> None:
    stop = EarlyStop(1)
    with pytest.raises(AllFailAlikeError) as found:
        stop.watch(ended("KEY_REFUSED", 3))
    assert "KEY_REFUSED: row 3" in str(found.value)
    assert "give_up_after=0" in str(found.value)
    assert found.value.error.index == 3
