"""Repeats an operation of the database after an error that will pass."""

import re
from collections.abc import Awaitable, Callable
from typing import TypeVar

import stamina
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ServerSelectionTimeoutError,
)

from utilities.store.refusals import is_transient

T = TypeVar("T")

# A lost connection is tried three times: a server that is restarting
# closes every connection, and the driver finds the new primary by itself.
_CONNECTION_RETRIES = 2
# Conflicts and rate limits end by themselves, but not always at once.
_ATTEMPTS = 8
_TOTAL_SECONDS = 10.0
_LONGEST_PAUSE_SECONDS = 2.0

_RETRY_AFTER = re.compile(r"RetryAfterMs=(\d{1,7})", re.ASCII)


async def retrying(operation: Callable[[], Awaitable[T]]) -> T:
    """Run an operation that may safely run twice, again after such errors.

    These are a lost connection (the operation may have been carried out),
    a write conflict, a deadlock, and a server's rate limit. A server that
    cannot be found at all is not waited for again: the driver has already
    looked for it for some seconds.
    """
    pause = _Pause()
    async for attempt in stamina.retry_context(
        on=pause.after,
        attempts=_ATTEMPTS,
        timeout=_TOTAL_SECONDS,
        wait_initial=0.1,
        wait_max=_LONGEST_PAUSE_SECONDS,
        wait_jitter=0.1,
    ):
        with attempt:
            return await operation()
    raise AssertionError  # pragma: no cover - the loop returns or raises


class _Pause:
    """Decides for one operation whether to repeat it, and when."""

    def __init__(self) -> None:
        self._connections_lost = 0

    def after(self, error: Exception) -> bool | float:
        """Return False, True (the usual pause) or a pause in seconds."""
        if isinstance(error, ServerSelectionTimeoutError):
            return False
        if isinstance(error, AutoReconnect):
            self._connections_lost += 1
            return self._connections_lost <= _CONNECTION_RETRIES
        return is_transient(error) and _asked_pause(error)


def _asked_pause(error: Exception) -> bool | float:
    """Read the pause that Azure Cosmos DB asks for in its error's text."""
    found = _RETRY_AFTER.search(_text_of(error))
    if found is None:
        return True
    # A little more than asked: a pause of 0 would be none at all.
    seconds = int(found[1]) / 1000 + 0.01
    return min(seconds, _LONGEST_PAUSE_SECONDS)


def _text_of(error: Exception) -> str:
    if isinstance(error, BulkWriteError):
        problems = error.details.get("writeErrors") or []
        return " ".join(str(each.get("errmsg")) for each in problems)
    return str(error)
