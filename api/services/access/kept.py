"""Keeps what was read a moment ago, so that few requests ask the store."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Generic, TypeVar

# What has ended, or was revoked, in another process is accepted for this
# time, and no longer.
KEEP_SECONDS: Final = 1.0
MOST_KEPT: Final = 10_000

V = TypeVar("V")


class Kept(Generic[V]):
    """Values by their digests; only what exists is kept."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._values: OrderedDict[str, tuple[float, V]] = OrderedDict()

    def get(self, digest: str) -> V | None:
        """Return what was read a moment ago, if anything was."""
        read_at, value = self._values.get(digest, (0.0, None))
        if value is None or self._clock() - read_at >= KEEP_SECONDS:
            return None
        return value

    def put(self, digest: str, value: V) -> None:
        """Keep a value that has just been read."""
        self._values[digest] = (self._clock(), value)
        self._values.move_to_end(digest)
        if len(self._values) > MOST_KEPT:
            self._values.popitem(last=False)

    def forget(self, digest: str) -> None:
        """Keep it no longer: it has changed."""
        self._values.pop(digest, None)
