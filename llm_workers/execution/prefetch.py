"""How many jobs will have ended by the time that a claim is answered."""

import time
from collections.abc import Callable

# A claim is put together this much before it is sent, and its jobs are
# needed a little before the last one has ended.
_ROOM_SECONDS = 0.02
# Calls that began together end together, faster than on the average.
_BURST = 2
# The share of the newest measurement.
_NEWEST = 0.3


class Prefetch:
    """Decides how many jobs a worker claims beyond its free slots.

    By Little's law: the rate at which jobs end, times what a claim takes,
    and as much again for bursts.
    For calls that take a minute that is none; for short ones, enough
    that no slot waits for the database.
    """

    def __init__(self, timer: Callable[[], float] = time.monotonic) -> None:
        self._timer = timer
        self._ended = 0
        self._since = timer()
        self._rate = 0.0
        self._claim_seconds = 0.0

    @property
    def count(self) -> int:
        """How many more to claim than there is place for."""
        seconds = self._claim_seconds + _ROOM_SECONDS
        return int(_BURST * self._rate * seconds)

    def ended(self) -> None:
        """Count a job that has ended."""
        self._ended += 1

    def claimed(self, started: float) -> None:
        """Learn from a claim that was sent at `started` (the timer's)."""
        now = self._timer()
        self._claim_seconds += _NEWEST * (now - started - self._claim_seconds)
        if now > self._since:
            rate = self._ended / (now - self._since)
            self._rate += _NEWEST * (rate - self._rate)
        self._ended, self._since = 0, now
