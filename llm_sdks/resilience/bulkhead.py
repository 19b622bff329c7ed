"""The places of one model's calls in this process, and who waits for one."""

import math

from llm_sdks.resilience.concurrency_limit import ConcurrencyLimit
from llm_sdks.resilience.fair_queue import (
    BULK_SHARE,
    FairQueue,
    Turn,
    Weights,
)
from llm_sdks.resilience.gate_parts import Place
from llm_sdks.resilience.headroom import Headroom


class Bulkhead:
    """As many calls at once as the limit allows. Not thread-safe.

    Interactive calls may use every place, bulk calls those that interactive
    ones are not likely to need; all times are in seconds.
    """

    def __init__(
        self,
        limit: ConcurrencyLimit,
        weights: Weights,
        bulk_share: float = BULK_SHARE,
    ) -> None:
        self.limit = limit
        self.running = 0
        self._urgent = 0
        self._queue: FairQueue[Place] = FairQueue(weights, bulk_share)
        self._headroom = Headroom()

    @property
    def waiting(self) -> int:
        """How many calls wait for a place."""
        return len(self._queue)

    def take(self, turn: Turn, now: float) -> bool:
        """Take a place; False if the call has to wait for its turn."""
        if turn.is_urgent:
            self._headroom.note(self._urgent + 1, now)
        if self._queue.waits(bulk=not turn.is_urgent) or not self._allows(
            self.running, now, bulk=not turn.is_urgent
        ):
            return False
        self.running += 1
        self._urgent += turn.is_urgent
        return True

    def wait(self, place: Place, now: float) -> None:
        """Have a call wait for its place."""
        self._queue.push(place.turn, place)
        if place.turn.is_urgent:
            waiting = self._queue.urgent_total
            self._headroom.note(self._urgent + waiting, now)

    def give_up(self, place: Place, now: float) -> None:
        """Have a call wait no longer, or leave the place that it got."""
        if not self._queue.remove(place.turn, place):
            # It came free in the same moment.
            self.leave(place.turn, now)

    def leave(self, turn: Turn, now: float) -> None:
        """Leave a place; those who wait get it."""
        self.running -= 1
        self._urgent -= turn.is_urgent
        self.admit(now)

    def admit(self, now: float) -> None:
        """Give the free places to calls that wait, in their turns."""
        while len(self._queue) and self.limit.allows(self.running):
            bulk = self._allows(self.running, now, bulk=True)
            if not self._queue.waits(bulk=bulk):
                break
            place = self._queue.pop()
            if place.offer():
                self.running += 1
                self._urgent += place.turn.is_urgent

    def is_full(self, client_id: str, now: float, *, bulk: bool) -> bool:
        """Tell whether a client need not claim more jobs of a class.

        Where no place is free, every client may have calls that wait, so
        that it gets its turn: for half of the places, so that it has some
        until its next claim is answered.
        """
        if bulk:
            asked = self.running + len(self._queue)
            own = self._queue.count(client_id)
        else:
            asked = self.running + self._queue.urgent_total
            own = self._queue.urgent_count(client_id)
        if self._allows(asked, now, bulk=bulk):
            return False
        return not client_id or own >= max(1, self._most(now, bulk=bulk) // 2)

    def _allows(self, running: int, now: float, *, bulk: bool) -> bool:
        return running < self._most(now, bulk=bulk)

    def _most(self, now: float, *, bulk: bool) -> float:
        most = self.limit.value
        if most is None:
            return math.inf
        if bulk:
            most -= self._headroom.kept(most, self._urgent, now)
        return most
