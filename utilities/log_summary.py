"""Writes a log line for many events of one kind, at most one a second."""

import asyncio
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

_MOST_KEYS = 1000

# Writes the line; receives how many events it stands for.
Write = Callable[[int], None]


@dataclass(slots=True)
class _Entry:
    told_at: float
    pending: int = 0
    is_scheduled: bool = False


class LogSummary:
    """Counts events by key; thread-safe.

    The first event is logged at once. Those that follow within the interval
    are logged together at its end, or by the next event after it where no
    event loop is running.
    """

    def __init__(
        self,
        interval: float = 1.0,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interval = interval
        self._timer = timer
        self._lock = threading.Lock()
        self._entries: dict[Hashable, _Entry] = {}

    def tell(self, key: Hashable, write: Write) -> None:
        """Count one event; `write` logs it and those before it."""
        now = self._timer()
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or now - entry.told_at >= self._interval:
                count = 1 + (entry.pending if entry else 0)
                self._told(key, now)
            else:
                entry.pending += 1
                if not entry.is_scheduled:
                    wait = entry.told_at + self._interval - now
                    entry.is_scheduled = self._schedule(wait, key, write)
                return
        write(count)

    def _told(self, key: Hashable, now: float) -> None:
        self._entries.pop(key, None)
        self._entries[key] = _Entry(now)
        if len(self._entries) > _MOST_KEYS:
            del self._entries[next(iter(self._entries))]

    def _schedule(self, wait: float, key: Hashable, write: Write) -> bool:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return False
        loop.call_later(wait, self._flush, key, write)
        return True

    def _flush(self, key: Hashable, write: Write) -> None:
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or not entry.is_scheduled:
                return  # logged meanwhile
            count = entry.pending
            self._told(key, self._timer())
        if count:
            write(count)
