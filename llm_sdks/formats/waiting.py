"""How long a provider asks to wait, in all the forms that are used.

Durations are in seconds. Moments are compared with the answer's own `Date`,
so that a wrong clock on either side does no harm.
"""

import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isnan
from typing import Any

from llm_sdks.formats.reading import items_of, section
from llm_sdks.formats.wording import problem_of

LONGEST_WAIT_SECONDS = 86_400.0
_UNITS = {
    "ms": 0.001,
    "msec": 0.001,
    "millisecond": 0.001,
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "m": 60.0,
    "min": 60.0,
    "minute": 60.0,
    "h": 3600.0,
    "hr": 3600.0,
    "hour": 3600.0,
    "d": 86_400.0,
    "day": 86_400.0,
}
# "6m12s" has no word boundary inside.
_PIECE = re.compile(
    r"(\d{1,12}(?:\.\d{1,12})?)\s?"
    r"(milliseconds?|msecs?|ms|seconds?|secs?|s|minutes?|mins?|m"
    r"|hours?|hrs?|h|days?|d)(?![a-z])",
    re.IGNORECASE,
)
_IN_WORDS = re.compile(
    r"(?:try(?:ing)?\s+again|retry(?:ing)?|wait(?:ing)?|resets?|available)"
    r"(?:\s+(?:in|after|for|again|at\s+least|another|your\s+request)){0,3}"
    r"\s+((?:\d[\d.]{0,20}\s?[a-z]{1,12}[\s,]{0,2}(?:and\s)?){1,6})",
    re.IGNORECASE,
)
_LEFT_AND_TIME = re.compile(r"r=(\d{1,12});\s?t=(\d{1,12})")
# From here on a number is a moment, not a duration.
_FIRST_EPOCH_SECOND = 1e9
_FIRST_EPOCH_MILLISECOND = 1e12
_LONGEST_VALUE = 100


def retry_after(
    headers: Mapping[str, str],
    body: object = None,
    message: str = "",
    *,
    limited: bool = False,
) -> float | None:
    """Return how many seconds the provider asks to wait.

    None: it does not say. 0.0: it says "at once", and nothing else.
    `message` has the provider's words. `limited` says that a limit refused
    the call; only then do the headers about limits count.
    """
    told = None
    for seconds in _sources(headers, body, message, limited=limited):
        if seconds is None:
            continue
        if seconds > 0:
            return min(seconds, LONGEST_WAIT_SECONDS)
        told = 0.0
    return told


def seconds_of(text: str) -> float | None:
    """Read a duration such as `6m0s`, `250ms`, `1.5s`, `2 minutes`."""
    pieces = list(_PIECE.finditer(text[:_LONGEST_VALUE]))
    if not pieces:
        return None
    return sum(_amount(piece[1], piece[2]) for piece in pieces)


def _amount(number: str, unit: str) -> float:
    unit = unit.lower()
    if unit not in _UNITS:
        unit = unit.removesuffix("s")
    return float(number) * _UNITS[unit]


def _sources(
    headers: Mapping[str, str], body: object, message: str, *, limited: bool
) -> Iterator[float | None]:
    """Yield what each place says, the most exact first."""
    now = _now(headers)
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        milliseconds = number(headers.get(name))
        yield None if milliseconds is None else milliseconds / 1000
    yield moment_or_duration(headers.get("retry-after"), now)
    problem = problem_of(body)
    yield from _in_body(problem)
    yield _in_words(message)
    if limited:
        yield _of_limits(headers, now)
        more = section(section(problem, "metadata"), "headers")
        yield _of_limits({str(k).lower(): v for k, v in more.items()}, now)


def _in_body(problem: Mapping[str, Any]) -> Iterator[float | None]:
    for detail in items_of(problem.get("details")):
        delay = section(detail).get("retryDelay")
        if isinstance(delay, str):
            yield seconds_of(delay)
        yield number(section(delay).get("seconds"))
        reset = section(detail, "metadata").get("quotaResetDelay")
        if isinstance(reset, str):
            yield seconds_of(reset)
    milliseconds = number(problem.get("retry_after_ms"))
    yield None if milliseconds is None else milliseconds / 1000
    for name in ("retry_after", "retryAfter", "estimated_time"):
        yield number(problem.get(name))


def _in_words(message: str) -> float | None:
    found = _IN_WORDS.search(message)
    return seconds_of(found[1]) if found else None


def _of_limits(headers: Mapping[str, Any], now: float) -> float | None:
    """Read when the limits that are exhausted are reset.

    Several exhausted: the longest wait. Where no header tells what is
    left: the shortest.
    """
    exhausted: list[float] = []
    unknown: list[float] = []
    for left, reset in _limits(headers):
        seconds = moment_or_duration(reset, now)
        if seconds is None:
            continue
        if left is None:
            unknown.append(seconds)
        elif left <= 0:
            exhausted.append(seconds)
    if exhausted:
        return max(exhausted)
    return min((each for each in unknown if each > 0), default=None)


def _limits(
    headers: Mapping[str, Any],
) -> Iterator[tuple[float | None, object]]:
    """Yield what is left of each limit, and when it is reset."""
    for header, value in headers.items():
        name = header.lower()
        if "ratelimit" not in name:
            continue
        if "reset" in name:
            left = headers.get(name.replace("reset", "remaining"))
            yield number(left), value
        elif name == "ratelimit" and isinstance(value, str):
            # The IETF's newer form: "default";r=0;t=30
            for left, reset in _LEFT_AND_TIME.findall(value[:1000]):
                yield number(left), reset


def moment_or_duration(value: object, now: float) -> float | None:
    """Read seconds, a duration, a date, or seconds since 1970."""
    if isinstance(value, str):
        value = value[:_LONGEST_VALUE].strip()
    seconds = number(value)
    if seconds is not None:
        if seconds >= _FIRST_EPOCH_MILLISECOND:
            seconds = seconds / 1000
        if _FIRST_EPOCH_SECOND <= seconds < _FIRST_EPOCH_MILLISECOND:
            seconds -= now
        return max(seconds, 0.0)
    if not isinstance(value, str) or not value:
        return None
    moment = _date(value)
    if moment is not None:
        return max(moment - now, 0.0)
    return seconds_of(value) if re.match(r"\d", value) else None


def number(value: object) -> float | None:
    """Read a number that is not below 0; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        read = float(
            value[:_LONGEST_VALUE] if isinstance(value, str) else value
        )
    except (ValueError, OverflowError):
        return None
    return None if isnan(read) else max(read, 0.0)


def _now(headers: Mapping[str, str]) -> float:
    own = _date(str(headers.get("date") or "")[:_LONGEST_VALUE])
    return time.time() if own is None else own


def _date(text: str) -> float | None:
    """Read a date of HTTP's or of ISO 8601, as seconds since 1970."""
    for parse in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            moment = parse(text)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=UTC)
            return moment.timestamp()
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
    return None
