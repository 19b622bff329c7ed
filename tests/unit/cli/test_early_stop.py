"""A run ends when its first rows fail alike, and only then."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.early_stop import AllFailAlikeError, EarlyStop
from tests.support.examples import examples

Row = dict[str, Any]


def failed(message: str, kind: str = "BAD_REQUEST", status: int = 400) -> Row:
    error = {"errorType": kind, "message": message, "httpStatus": status}
    return {"status": "ERROR_PROCESSING", "error": error}


GOOD: Row = {"status": "PROCESSED"}


def test_the_cause_is_told_once_with_what_helps() -> None:
    stop = EarlyStop(3)
    rows = [failed(f"max_tokens {n} is too large") for n in (7, 8, 9)]
    with pytest.raises(AllFailAlikeError) as caught:
        stop.note(rows)
    told = str(caught.value)
    assert told.count("max_tokens") == 1
    assert "BAD_REQUEST: max_tokens 9 is too large" in told
    assert "--max-tokens" in told
    assert "continues where it stopped" in told


def test_a_message_cannot_steer_the_terminal() -> None:
    with pytest.raises(AllFailAlikeError) as caught:
        EarlyStop(1).note([failed("no\x1b[2J\nno" + "x" * 9000)])
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize(
    "rows",
    [
        [failed("no"), failed("other"), failed("no"), failed("no")],
        [failed("no"), GOOD, *[failed("no")] * 9],
        [failed("no"), failed("no", "TRUNCATED"), *[failed("no")] * 9],
        [failed("no"), failed("no", status=422), *[failed("no")] * 9],
        [failed("no")] * 2,
    ],
    ids=["words", "answered", "kind", "status", "too-few"],
)
def test_it_goes_on(rows: list[Row]) -> None:
    EarlyStop(3).note(rows)


def test_never_with_zero() -> None:
    EarlyStop(0).note([failed("no")] * 100)


@settings(max_examples=examples(400))
@given(
    st.lists(st.sampled_from(["a", "b", "good"]), max_size=12),
    st.integers(1, 6),
    st.integers(1, 5),
)
def test_only_the_first_rows_count_however_they_come(
    kinds: list[str], after: int, block: int
) -> None:
    first = kinds[:after]
    alike = len(first) == after and set(first) in ({"a"}, {"b"})
    rows = [GOOD if kind == "good" else failed(kind) for kind in kinds]
    stop = EarlyStop(after)
    try:
        for at in range(0, len(rows), block):
            stop.note(rows[at : at + block])
    except AllFailAlikeError:
        assert alike
    else:
        assert not alike
