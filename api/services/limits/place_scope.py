"""The calls of this process under one limit of calls at once."""

import threading
from collections import Counter
from collections.abc import Callable

from api.services.calls.model_call import Account
from api.services.limits.client_parts import NO_PARTS, Ask
from api.services.limits.limit_store import LimitStore
from api.services.limits.places import SPARE_PART, Holder, renew
from api.services.limits.waiter import Waiter
from llm_sdks.resilience.fair_queue import (
    BULK_SHARE,
    FairQueue,
    Turn,
    Weights,
)
from llm_sdks.resilience.headroom import Headroom
from utilities.clock import Clock

LEASE_MS = 3000
RENEW_MS = 500.0
# The same while calls wait and places are free.
_SOON_MS = 50.0
# So many of a client wait beyond the places, to show that more are wanted:
# at least two, and a part of the places.
_HUNGER, _HUNGRY_PART = 2, 4


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
        bulk_share: float = BULK_SHARE,
    ) -> None:
        self.name = name
        self.limit = limit
        self._process_id = process_id
        self._clock = clock
        self._wake = wake
        self._lock = threading.Lock()
        self._weights = weights
        # What each client's calls may have here, of what it has everywhere.
        self._parts = NO_PARTS
        self._queue: FairQueue[Waiter[bool]] = FairQueue(
            self._weight, bulk_share
        )
        self._running = self._urgent = 0
        # Of those that run, the bulk calls, by client.
        self._bulk: Counter[str] = Counter()
        self._headroom = Headroom()
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
        turn = account.turn
        with self._lock:
            if self._take_now(turn):
                return
            waiter: Waiter[bool] = Waiter(turn=turn)
            self._queue.push(turn, waiter)
            if turn.is_urgent:
                self._note(self._urgent + self._queue.urgent_total)
            wakes = turn.is_urgent or len(self._queue) == 1
        if wakes:
            self._wake()
        try:
            await waiter.wait(patience)
        except BaseException:
            with self._lock:
                waiter.has_left = True
                self._queue.remove(turn, waiter)
                if waiter.given:
                    self._leave(turn)
            raise

    def take_now(self, turn: Turn) -> bool:
        """Take a place; False if none is free."""
        with self._lock:
            return self._take_now(turn)

    def is_full(self) -> bool:
        """Tell whether this process alone has taken all places."""
        return self._running >= self.limit

    def leave(self, turn: Turn) -> None:
        """Give a place back."""
        with self._lock:
            self._leave(turn)

    def room(self, client_id: str, *, bulk: bool = True) -> int:
        """Return for how many more calls a client's jobs may be claimed.

        Where no place is free, every client may have some calls that wait.
        """
        weight = max(self._weights(client_id), 1.0)
        hunger = max(_HUNGER, round(weight * self.limit / _HUNGRY_PART))
        with self._lock:
            waiting = len(self._queue) if bulk else self._queue.urgent_total
            most = min(self._allowed, self.limit) + max(self._free, _HUNGER)
            own = hunger - (
                self._queue.count(client_id)
                if bulk
                else self._queue.urgent_count(client_id)
            )
            return max(most - self._running - waiting, own, 0)

    def due_ms(self) -> float | None:
        """Return in how many ms the places are to be renewed."""
        with self._lock:
            is_used = self._running or len(self._queue) or self._peak()
            if not is_used and self._until <= self._clock():
                return None
            due = self._renewed + self._pause()
            return max(due - self._clock(), 0.0)

    async def lease(self, store: LimitStore) -> None:
        """Renew the places of this process, and pass them on."""
        with self._lock:
            now, limit = self._clock(), self.limit
            # Until it is known what the others have, it runs no more, or
            # few more where many places are free.
            most = self._running + self._free // SPARE_PART
            self._allowed = min(self._allowed, most)
            mine = self._holder(now, max(self._allowed, self._running))
        renewed = await store.renew_places(
            self.name, lambda holders: renew(limit, holders, mine, now)
        )
        with self._lock:
            self._renewed = self._clock()
            if renewed is not None:
                self._allowed, self._until = renewed.allowed, mine.until
                self._free = limit - sum(h.has for h in renewed.holders)
                self._parts = renewed.parts
            self._serve()

    def _pause(self) -> float:
        is_short = len(self._queue) and self._free > 0
        return _SOON_MS if is_short else RENEW_MS

    def _holder(self, now: int, has: int) -> Holder:
        """Say what this process has and wants."""
        waiting = self._queue.clients()
        asks = tuple(
            Ask(
                each,
                self._bulk[each] + waiting.get(each, 0),
                self._weights(each),
            )
            for each in {*self._bulk, *waiting}
        )
        lately = min(self._peak(), self.limit // 2)
        urgent = max(self._urgent + self._queue.urgent_total, lately)
        bulk = self._bulk.total() + sum(waiting.values())
        return Holder(
            self._process_id,
            has,
            bulk + urgent,
            now + LEASE_MS,
            urgent,
            asks,
        )

    def _weight(self, client_id: str) -> float:
        return self._parts.weight(client_id, self._weights(client_id))

    def _note(self, urgent: int) -> None:
        self._headroom.note(urgent, self._clock() / 1000)

    def _peak(self) -> int:
        return self._headroom.peak(self._clock() / 1000)

    def _take_now(self, turn: Turn) -> bool:
        bulk = not turn.is_urgent
        if not bulk:
            self._note(self._urgent + 1)
        if self._queue.waits(bulk=bulk) or not self._has_room(bulk=bulk):
            return False
        self._count(turn, 1)
        return True

    def _leave(self, turn: Turn) -> None:
        self._count(turn, -1)
        self._serve()

    def _count(self, turn: Turn, change: int) -> None:
        self._running += change
        if turn.is_urgent:
            self._urgent += change
            return
        self._bulk[turn.client_id] += change
        if not self._bulk[turn.client_id]:
            del self._bulk[turn.client_id]

    def _has_room(self, *, bulk: bool) -> bool:
        most, now = self._allowed, self._clock()
        if bulk:
            most -= self._headroom.kept(most, self._urgent, now / 1000)
        return self._running < most and now < self._until

    def _serve(self) -> None:
        while len(self._queue) and self._has_room(bulk=False):
            bulk = self._has_room(bulk=True)
            if not self._queue.waits(bulk=bulk):
                break
            waiter = self._queue.pop()
            if waiter.has_left:
                continue
            waiter.given = True
            if waiter.give(value=True):
                self._count(waiter.turn, 1)
