"""What holds calls back: how often they may come, how many at once."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from provider_simulator.settings import SimulatorSettings
from provider_simulator.values import RefusedError

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of a rate limit; `seconds` until there is more."""

    limit: int
    remaining: int
    seconds: float


class _Window:
    """At most `limit` calls in any `seconds`."""

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit = limit
        self.seconds = seconds
        self.taken: deque[float] = deque()

    def wait(self, now: float) -> float:
        """Return how long there is no room; 0 if there is."""
        while self.taken and self.taken[0] <= now - self.seconds:
            self.taken.popleft()
        if len(self.taken) < self.limit:
            return 0.0
        return self.taken[0] + self.seconds - now


class RateLimit:
    """Calls a second and a minute, in any second and minute."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._windows: list[_Window] = []

    def configure(self, settings: SimulatorSettings) -> None:
        """Take limits over; those that did not change go on counting."""
        old = {(w.limit, w.seconds): w for w in self._windows}
        wanted = (
            (settings.requests_per_second, 1.0),
            (settings.requests_per_minute, 60.0),
        )
        self._windows = [
            old.get((limit, seconds)) or _Window(limit, seconds)
            for limit, seconds in wanted
            if limit is not None
        ]

    def admit(self) -> Allowance | None:
        """Count one call; return what is left of the tightest limit.

        Raises:
            RefusedError: too many calls; says when to come again.
        """
        if not self._windows:
            return None
        now = self._clock()
        wait = max(window.wait(now) for window in self._windows)
        if wait > 0:
            raise RefusedError(
                429,
                "rate_limited",
                "Rate limit reached. Please try again later.",
                retry_after=wait,
            )
        for window in self._windows:
            window.taken.append(now)
        tight = min(self._windows, key=lambda w: w.limit - len(w.taken))
        left = tight.limit - len(tight.taken)
        reset = tight.taken[0] + tight.seconds - now
        return Allowance(tight.limit, left, reset)


class Slots:
    """A first-come queue for a number of places that may change."""

    def __init__(self) -> None:
        self._limit: int | None = None
        self._taken = 0
        self._queue: deque[asyncio.Future[None]] = deque()
        self.most_taken = 0

    @property
    def taken(self) -> int:
        """Places taken now."""
        return self._taken

    @property
    def waiting(self) -> int:
        """Calls that wait for a place now."""
        return sum(not future.done() for future in self._queue)

    def configure(self, limit: int | None) -> None:
        """Change the number of places; None is no limit."""
        self._limit = limit
        self._admit()

    def forget(self) -> None:
        """Begin to count the most places anew."""
        self.most_taken = self._taken

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """WorkerLease a place, after a wait for it."""
        await self._take()
        try:
            yield
        finally:
            self._taken -= 1
            self._admit()

    async def _take(self) -> None:
        if self._free() and not self._queue:
            self._count()
            return
        future = asyncio.get_running_loop().create_future()
        self._queue.append(future)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                # The place came at the moment its taker went.
                self._taken -= 1
            self._admit()
            raise

    def _free(self) -> bool:
        return self._limit is None or self._taken < self._limit

    def _count(self) -> None:
        self._taken += 1
        self.most_taken = max(self.most_taken, self._taken)

    def _admit(self) -> None:
        while self._queue and self._free():
            future = self._queue.popleft()
            # One whose taker has gone is left out.
            if not future.done():
                self._count()
                future.set_result(None)
