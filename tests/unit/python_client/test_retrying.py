from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import islice

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metasync.retrying import (
    RetryPolicy,
    is_transient,
    may_repeat,
    retry_after,
)
from tests.support.examples import examples


def asked(value: str) -> float | None:
    return retry_after(httpx2.Response(429, headers={"Retry-After": value}))


def test_pauses_grow_to_a_limit_and_are_never_the_same_for_all() -> None:
    most = list(islice(RetryPolicy(draw=lambda: 1.0).delays(), 12))
    assert most[0] == pytest.approx(0.2)
    assert most == sorted(most)
    assert most[-1] == pytest.approx(10.0)
    assert list(islice(RetryPolicy(draw=lambda: 0.0).delays(), 3)) == [0] * 3


def test_retry_after_is_read_as_seconds_and_as_a_date() -> None:
    assert asked("3") == pytest.approx(3.0)
    assert asked("99999999999999999999") == pytest.approx(120.0)
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30))
    assert 25 < (asked(soon) or 0) <= 30
    assert asked("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert asked("") is None


@settings(max_examples=examples(100))
@given(st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"])))
def test_no_header_breaks_it(value: str) -> None:
    response = httpx2.Response(
        429, headers=[(b"Retry-After", value.encode("latin-1"))]
    )
    found = retry_after(response)
    assert found is None or 0 <= found <= 120


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_may_be_another_answer_later_is_asked_again(status: int) -> None:
    assert is_transient(status, repeatable=True)
    # What may be done once only, if nothing was done.
    assert is_transient(status, repeatable=False) == (status == 429)


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422, 500])
def test_other_answers_stay_as_they_are(status: int) -> None:
    assert not is_transient(status, repeatable=True)


def test_what_was_not_sent_is_always_repeated() -> None:
    assert may_repeat(httpx2.ConnectError(""), repeatable=False)
    assert not may_repeat(httpx2.ReadError(""), repeatable=False)
    assert may_repeat(httpx2.ReadError(""), repeatable=True)
    assert not may_repeat(httpx2.UnsupportedProtocol(""), repeatable=True)
    assert not may_repeat(httpx2.DecodingError(""), repeatable=True)
