"""Counts events of the last minute, in constant memory.

The sliding window counter: two fixed windows are kept, and the one before
counts by the part of it that still lies within the last minute, as if its
events were spread evenly. (Described by Cloudflare, "How we built rate
limiting capable of scaling to millions of domains", 2017.)
"""

import math

WINDOW_SECONDS = 60.0
# Parts of events do not add up to the last digit.
_ROUNDING = 1e-6


class SlidingWindow:
    """The events of the last `WINDOW_SECONDS`; `now` is in seconds."""

    __slots__ = ("_before", "_current", "_number")

    def __init__(self) -> None:
        self._number = 0
        self._before = 0
        self._current = 0

    def add(self, now: float, events: int = 1) -> None:
        """Count events."""
        self._move(now)
        self._current += events

    def count(self, now: float) -> float:
        """Return the events of the last minute."""
        self._move(now)
        return self._before * (1 - _part(now)) + self._current

    def has_room(self, now: float, limit: int) -> bool:
        """Tell whether one more event stays within the limit."""
        return self.count(now) + 1 <= limit + _ROUNDING

    def seconds_until_room(self, now: float, limit: int) -> float:
        """Return the seconds until one more stays within `limit` (>= 1)."""
        if self.has_room(now, limit):
            return 0.0
        room = limit - 1 - self._current
        if room >= 0:
            return _seconds_to(1 - room / self._before, now)
        # Only when the current window is the one before.
        until_next = WINDOW_SECONDS * (1 - _part(now))
        return until_next + WINDOW_SECONDS * (1 - (limit - 1) / self._current)

    def _move(self, now: float) -> None:
        number = math.floor(now / WINDOW_SECONDS)
        if number == self._number:
            return
        is_next = number == self._number + 1
        self._before = self._current if is_next else 0
        self._current = 0
        self._number = number


def _part(now: float) -> float:
    """Return how much of its window has passed, from 0 up to 1."""
    return (now / WINDOW_SECONDS) % 1


def _seconds_to(part: float, now: float) -> float:
    return max(0.0, (part - _part(now)) * WINDOW_SECONDS)
