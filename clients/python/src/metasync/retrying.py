"""Which requests are sent again, and after what time."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2

# Of these, nothing has been done yet.
_NOT_BEGUN = frozenset({429})
_TRANSIENT = frozenset({429, 502, 503, 504})
_FIRST_SECONDS, _MOST_SECONDS = 0.2, 10.0
# What a server may ask for; whoever must wait longer is told.
_LONGEST_ASKED_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """For how long a request is tried again, in seconds; 0: never."""

    seconds: float = 60.0
    draw: Callable[[], float] = random.random

    def delays(self) -> Iterator[float]:
        """Give ever longer pauses with full jitter, without end.

        As in "Exponential Backoff And Jitter" (AWS Architecture Blog).
        """
        most = _FIRST_SECONDS
        while True:
            yield most * self.draw()
            most = min(most * 2, _MOST_SECONDS)


def is_transient(status: int, *, repeatable: bool) -> bool:
    """Tell whether an answer may be another one a moment later.

    What may not be done twice is repeated only if nothing was done.
    """
    return status in (_TRANSIENT if repeatable else _NOT_BEGUN)


def may_repeat(error: httpx2.RequestError, *, repeatable: bool) -> bool:
    """Tell the same of a request that was not answered."""
    never_sent = (
        httpx2.ConnectError,
        httpx2.ConnectTimeout,
        httpx2.PoolTimeout,
    )
    if isinstance(error, httpx2.UnsupportedProtocol) or not isinstance(
        error, httpx2.TransportError
    ):
        return False
    return repeatable or isinstance(error, never_sent)


def retry_after(response: httpx2.Response) -> float | None:
    """Read `Retry-After`: seconds, or a date; None if there is none."""
    value = response.headers.get("Retry-After", "").strip()
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), _LONGEST_ASKED_SECONDS)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    left = (moment - datetime.now(UTC)).total_seconds()
    return min(max(left, 0.0), _LONGEST_ASKED_SECONDS)
