"""The calls of this process under one limit of calls at once."""

import threading
from collections.abc import Callable

from api.services.calls.model_call import Account
from api.services.limits.limit_store import LimitStore
from api.services.limits.places import Holder, renew
from api.services.limits.waiter import Waiter
from llm_sdks.resilience.fair_queue import FairQueue, Weights
from utilities.clock import Clock

LEASE_MS = 3000
RENEW_MS = 500.0
# The same while calls wait and places are free.
_SOON_MS = 50.0
# While more than half of the places are free, this part of all is asked for
# beyond those in use, so that few calls have to wait for the next renewal.
_AHEAD_PART = 10
# So many wait beyond the places, to show that more are wanted.
_HUNGER = 2


class PlaceScope:
    """One limit of calls at once; safe in any thread.

    The process may run `allowed` calls, as long as its lease lasts.
    """

    def __init__(
        self,
        name: str,
        limit: int,
        process_id: str,
        clock: Clock,
        wake: Callable[[], None],
        weights: Weights = lambda _: 1.0,
    ) -> None:
        self.name = name
        self.limit = limit
        self._process_id = process_id
        self._clock = clock
        self._wake = wake
        self._lock = threading.Lock()
        self._queue: FairQueue[Waiter[bool]] = FairQueue(weights)
        self._running = 0
        self._allowed = 0
        # Places that nobody had when they were renewed last.
        self._free = limit
        self._until = 0
        self._renewed = 0.0

    async def take(self, account: Account, patience: float) -> None:
        """Wait for a place.

        Raises:
            TimeoutError: there was none in time.
        """
        with self._lock:
            if not len(self._queue) and self._has_room():
                self._running += 1
                return
            waiter: Waiter[bool] = Waiter()
            self._queue.push(account.turn, waiter)
            is_first = len(self._queue) == 1
        if is_first:
            self._wake()
        try:
            await waiter.wait(patience)
        except BaseException:
            with self._lock:
                waiter.has_left = True
                if waiter.given:
                    self._running -= 1
                    self._serve()
            raise

    def leave(self) -> None:
        """Give a place back."""
        with self._lock:
            self._running -= 1
            self._serve()

    def room(self, client_id: str) -> int:
        """Return for how many more calls a client's jobs may be claimed.

        Where no place is free, every client may have some calls that wait.
        """
        with self._lock:
            used = self._running + len(self._queue)
            most = min(self._allowed, self.limit) + max(self._free, _HUNGER)
            own = _HUNGER - self._queue.count(client_id)
            return max(most - used, own, 0)

    def due_ms(self) -> float | None:
        """Return in how many ms the places are to be renewed."""
        with self._lock:
            is_used = self._running or len(self._queue)
            if not is_used and self._until <= self._clock():
                return None
            due = self._renewed + self._pause()
            return max(due - self._clock(), 0.0)

    async def renew(self, store: LimitStore) -> None:
        """Renew the places of this process, and pass them on."""
        with self._lock:
            now, limit = self._clock(), self.limit
            running = self._running
            # Until it is known what the others have, it runs no more.
            self._allowed = min(self._allowed, running)
            mine = Holder(
                self._process_id,
                running,
                running + len(self._queue) + self._ahead(),
                now + LEASE_MS,
            )
        renewed = await store.renew_places(
            self.name, lambda holders: renew(limit, holders, mine, now)
        )
        with self._lock:
            self._renewed = self._clock()
            if renewed is not None:
                self._allowed, self._until = renewed.allowed, mine.until
                self._free = limit - sum(h.has for h in renewed.holders)
            self._serve()

    def _ahead(self) -> int:
        """Return how many places to ask for that no call needs yet."""
        is_quiet = self._free > self.limit // 2
        return self.limit // _AHEAD_PART if is_quiet else 0

    def _pause(self) -> float:
        is_short = len(self._queue) and self._free > 0
        return _SOON_MS if is_short else RENEW_MS

    def _has_room(self) -> bool:
        return self._running < self._allowed and self._clock() < self._until

    def _serve(self) -> None:
        while len(self._queue) and self._has_room():
            waiter = self._queue.pop()
            if waiter.has_left:
                continue
            waiter.given = True
            self._running += 1
            if not waiter.give(value=True):
                self._running -= 1
