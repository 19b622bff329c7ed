"""What answers say of limits."""

import time
from datetime import UTC, datetime

import pytest

from llm_sdks.formats.allowances import (
    Allowance,
    Counted,
    allowance,
    headers_of_answer,
    tell,
)

OPENAI = {
    "x-ratelimit-limit-requests": "600",
    "x-ratelimit-remaining-requests": "3",
    "x-ratelimit-reset-requests": "1m2s",
    "x-ratelimit-remaining-tokens": "149984",
    "x-ratelimit-limit-tokens": "150000",
    "x-ratelimit-reset-tokens": "6ms",
}


def test_little_that_is_left_is_read_with_limit_and_reset() -> None:
    read = allowance(OPENAI, Counted.REQUESTS, 10)
    assert read == Allowance(3, 600, 62)
    assert allowance(OPENAI, Counted.REQUESTS, 3) == Allowance(3, 600)
    # A limit that is lower than ours: by the minute, or by the second?
    lower = allowance(OPENAI, Counted.REQUESTS, 3, usual=1200)
    assert lower == Allowance(3, 600, 62)
    assert allowance(OPENAI, Counted.TOKENS, 2e5) == Allowance(
        149_984, 150_000, 0.006
    )


def test_anthropics_names_are_read() -> None:
    reset = datetime.fromtimestamp(time.time() + 30, UTC)
    headers = {
        "anthropic-ratelimit-tokens-limit": "80000",
        "anthropic-ratelimit-tokens-remaining": "0",
        "anthropic-ratelimit-tokens-reset": reset.isoformat(),
    }
    read = allowance(headers, Counted.TOKENS, 10)
    assert read is not None
    assert (read.remaining, read.limit) == (0, 80_000)
    assert read.reset == pytest.approx(30, abs=5)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-ratelimit-limit-requests": "10"},
        {"x-ratelimit-remaining-requests": "many"},
        {"x-ratelimit-remaining-requests": "nan"},
        {"x-ratelimit-reset-requests": "1s"},
    ],
    ids=str,
)
def test_nothing_else_counts(headers: dict[str, str]) -> None:
    assert allowance(headers, Counted.REQUESTS, 10) is None


@pytest.mark.parametrize("wrong", ["", "x", "9" * 5000, "-1", "inf"])
def test_values_that_make_no_sense_do_no_harm(wrong: str) -> None:
    headers = {
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-limit-requests": wrong,
        "x-ratelimit-reset-requests": wrong,
    }
    assert allowance(headers, Counted.REQUESTS, 10) is not None


def test_who_listens_is_told() -> None:
    tell(OPENAI)
    heard: list[object] = []
    token = headers_of_answer.set(heard.append)
    tell(OPENAI)
    headers_of_answer.reset(token)
    tell({})
    assert heard == [OPENAI]
