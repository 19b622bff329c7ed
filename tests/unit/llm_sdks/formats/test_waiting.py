import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_sdks.formats.waiting import (
    LONGEST_WAIT_SECONDS,
    retry_after,
    seconds_of,
)

NOW = "Wed, 21 Oct 2015 07:28:00 GMT"
IN_A_MINUTE = "Wed, 21 Oct 2015 07:29:00 GMT"
ANTHROPIC = "anthropic-ratelimit-"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "1e300"}, LONGEST_WAIT_SECONDS),
        ({"retry-after": "inf"}, LONGEST_WAIT_SECONDS),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "2m"}, 120.0),
        ({"retry-after": IN_A_MINUTE, "date": NOW}, 60.0),
        ({"retry-after": NOW, "date": IN_A_MINUTE}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "3"}, 0.25),
        ({"x-ms-retry-after-ms": "1500"}, 1.5),
    ],
)
def test_retry_after_is_read_in_every_form(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after(headers) == seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "6m0s",
                "x-ratelimit-remaining-tokens": "100",
                "x-ratelimit-reset-tokens": "20ms",
            },
            360.0,
        ),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "2s",
            },
            2.0,
        ),
        # Nothing is exhausted: these limits are not the reason.
        (
            {
                "x-ratelimit-remaining-requests": "5",
                "x-ratelimit-reset-requests": "6m0s",
            },
            None,
        ),
        # What is left is not told: the shortest.
        (
            {
                "x-ratelimit-reset-requests": "6m0s",
                "x-ratelimit-reset-tokens": "250ms",
            },
            0.25,
        ),
        ({"x-ratelimit-reset": "60"}, 60.0),
        ({"x-ratelimit-reset": "1445412540", "date": NOW}, 60.0),
        ({"x-ratelimit-reset": "1445412540000", "date": NOW}, 60.0),
        ({"x-ratelimit-reset": "2015-10-21T07:29:00Z", "date": NOW}, 60.0),
        (
            {
                f"{ANTHROPIC}tokens-remaining": "0",
                f"{ANTHROPIC}tokens-reset": "2015-10-21T07:29:00Z",
                f"{ANTHROPIC}requests-remaining": "9",
                f"{ANTHROPIC}requests-reset": "2015-10-21T08:29:00Z",
                "date": NOW,
            },
            60.0,
        ),
        ({"ratelimit": '"default";r=0;t=30'}, 30.0),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "7"}, 7.0),
        # A time that is named comes first.
        (
            {
                "retry-after": "3",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "6m0s",
            },
            3.0,
        ),
        (
            {
                "retry-after": "0",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "6m0s",
            },
            360.0,
        ),
    ],
)
def test_headers_about_limits_are_read_if_a_limit_refused(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after(headers, limited=True) == seconds
    told = headers.get("retry-after")
    assert retry_after(headers) == (None if told is None else float(told))


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        ({"error": {"details": [{"retryDelay": "30.5s"}]}}, 30.5),
        ([{"error": {"details": [{}, {"retryDelay": "30.5s"}]}}], 30.5),
        ({"error": {"details": [{"retryDelay": {"seconds": 4}}]}}, 4.0),
        (
            {
                "error": {
                    "details": [{"metadata": {"quotaResetDelay": "1m2s"}}]
                }
            },
            62.0,
        ),
        ({"error": "loading", "estimated_time": 20.5}, 20.5),
        ({"error": {"retry_after": 7}}, 7.0),
        ({"error": {"retry_after_ms": 70}}, 0.07),
        (
            {"error": {"metadata": {"headers": {"X-RateLimit-Reset": "9"}}}},
            9.0,
        ),
        ({"error": {"details": "30.5s"}}, None),
        (None, None),
    ],
)
def test_bodies_are_read(body: object, seconds: float | None) -> None:
    assert retry_after({}, body, limited=True) == seconds


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Rate limit. Please try again in 6m12s. Visit ...", 372.0),
        ("Please try again in 20ms.", 0.02),
        ("Please retry after 43 seconds.", 43.0),
        ("Please retry in 30.5s.", 30.5),
        ("Retry your request in 2 minutes", 120.0),
        ("wait at least 1 minute and 5 seconds", 65.0),
        ("Limit 3, used 3. Try again later.", None),
        ("You used 5 minutes of audio", None),
    ],
)
def test_words_are_read(message: str, seconds: float | None) -> None:
    assert retry_after({}, None, message) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("6m0s", 360.0), ("1h2m3.5s", 3723.5), ("1d", 86_400.0), ("x", None)],
)
def test_durations(text: str, seconds: float | None) -> None:
    assert seconds_of(text) == seconds


def test_without_a_date_the_clock_is_used() -> None:
    moment = str(int(time.time()) + 100)
    seconds = retry_after({"x-ratelimit-reset": moment}, limited=True)
    assert seconds is not None
    assert 90 < seconds <= 100


NAMES = [
    "retry-after",
    "retry-after-ms",
    "date",
    "x-ratelimit-reset",
    "x-ratelimit-remaining",
    "ratelimit",
]
SHAPES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["error", "details", "retryDelay", "seconds", "retry_after"]
            ),
            inner,
        )
    ),
)


@given(
    st.dictionaries(
        st.sampled_from(NAMES),
        st.text() | st.from_regex(r"[0-9msh.e:TZ,;rt=\- ]{0,20}"),
    ),
    SHAPES,
    st.text() | st.from_regex(r"try again in [0-9a-z. ]{0,30}"),
)
def test_whatever_is_sent_gives_a_wait_within_reason(
    headers: dict[str, str], body: Any, message: str
) -> None:
    seconds = retry_after(headers, body, message, limited=True)
    assert seconds is None or 0.0 <= seconds <= LONGEST_WAIT_SECONDS
