"""The calls of this process under one rate, and the slots leased for them.

A process leases the slots of the next half second by one update of the
shared schedule, and makes its calls at the times of its slots.
"""

import math
import threading
from collections import Counter, deque
from collections.abc import Callable

from api.services.calls.model_call import Account
from api.services.limits.limit_store import LimitStore
from api.services.limits.schedule import BURST_MS, Block, Rate, grant
from api.services.limits.waiter import Waiter
from llm_sdks.resilience.fair_queue import FairQueue, Weights
from utilities.clock import Clock

# Slots are leased for so long; the next ones so long before they are used.
BLOCK_MS = 500.0
LEAD_MS = 250.0
# A slot that has passed by more than this is not used.
LATE_MS = BURST_MS + 250.0
# With more backlog than this before its slots, a process asks for fewer.
_NEAR_MS = 500.0
# While the rate leaves room, slots for the calls of the next moments are
# leased along, so that a busy process need not ask for each few calls. What
# is not used of them is lost: so they take a part of the room only.
_AHEAD_MS = 200.0
_AHEAD_PART = 0.25
# Of fewer, each call may as well ask for itself.
_FEWEST_AHEAD = 10
# More are leased when this part of them is left.
_LOW = 0.4
# Calls come in waves: what the highest one counts for in the next lease.
_WAVE = 0.8
# What calls were taken for too much or too little is corrected with the next
# lease, or by itself once it is more than this part of a block.
_OWED_PART = 0.1
# The share of the newest measurement of how many calls come.
_NEWEST = 0.3
# The most calls that may wait for slots of one process.
_MOST_WAITING = 5_000


def room_of(client_id: str, most: int, waiting: Counter[str]) -> int:
    """Return how many more calls of a client may wait, of `most`.

    Each client may have its part, whatever the others have.
    """
    part = math.ceil(most / len({*waiting, client_id}))
    free = most - waiting.total()
    return max(free, part - waiting[client_id], 0)


class RateScope:
    """One rate, as this process uses it; safe in any thread.

    `wake` tells the keeper that slots are wanted.
    """

    def __init__(
        self,
        name: str,
        per_minute: int,
        clock: Clock,
        wake: Callable[[], None],
        weights: Weights = lambda _: 1.0,
    ) -> None:
        self.name = name
        self.per_minute = per_minute
        self._clock = clock
        self._wake = wake
        self._lock = threading.Lock()
        self._queue: FairQueue[Waiter[float]] = FairQueue(weights)
        # Slots without a call: when, and of what size, if that matters.
        self._spare: deque[tuple[float, float | None]] = deque()
        # With so few left, more are wanted; whether that is so.
        self._low = 0.0
        self._is_low = False
        # Calls that came since the last lease, and how many come in a ms.
        self._came = 0
        self._per_ms = 0.0
        self._wave = 0.0
        # Calls that wait for a slot, or for its time.
        self._pending: Counter[str] = Counter()
        self._usual = 1.0
        self._last = 0.0
        self._backlog = 0.0
        self._owed = 0.0
        self._leased = 0.0
        self._not_before = 0.0

    async def slot(
        self, account: Account, units: float, patience: float
    ) -> float:
        """Wait for a slot; return its time (ms), which may lie ahead.

        Raises:
            TimeoutError: there was none in time.
        """
        with self._lock:
            self._came += 1
            self._pending[account.client_id] += 1
            self._usual += 0.1 * (units - self._usual)
            if (moment := self._spare_slot(units)) is not None:
                return moment
            # Not `Waiter[float](units)`: that takes as long again.
            waiter: Waiter[float] = Waiter(units)
            self._queue.push(account.turn, waiter)
            is_first = len(self._queue) == 1
        if is_first:
            self._wake()
        try:
            return await waiter.wait(patience)
        except BaseException:
            self._left(account, waiter)
            raise

    def _spare_slot(self, units: float) -> float | None:
        """Take a slot that was leased ahead, if there is one."""
        now = self._clock()
        while self._spare and self._spare[0][0] < now - LATE_MS:
            self._spare.popleft()
        if not self._spare or len(self._queue):
            return None
        moment, size = self._spare.popleft()
        self._owed += 0.0 if size is None else units - size
        if len(self._spare) < self._low and not self._is_low:
            self._is_low = True
            self._wake()
        return moment

    def used(self, account: Account) -> None:
        """Note that a call with a slot has begun, or is not made."""
        with self._lock:
            self._ends_waiting(account)

    def give_back(self, account: Account, moment: float) -> None:
        """Return a slot whose call is not made."""
        with self._lock:
            self._ends_waiting(account)
            self._spare.append((moment, None))

    def settle(self, units: float) -> None:
        """Correct what a call was taken for; more than 0 if it was more."""
        with self._lock:
            self._owed += units

    def push(self, seconds: float) -> None:
        """Have no process make calls for some seconds: a provider says so."""
        with self._lock:
            moment = self._clock() + seconds * 1000
            self._not_before = max(self._not_before, moment)
        self._wake()

    def room(self, client_id: str) -> int:
        """Return for how many more calls a client's jobs may be claimed."""
        with self._lock:
            calls = 2 * self._a_block() / max(self._usual, 1.0)
            # With many processes, each has a small part of the calls.
            near = min(1.0, _NEAR_MS / max(self._backlog, 1.0))
            most = min(math.ceil(calls * near) + 1, _MOST_WAITING)
            return room_of(client_id, most, self._pending)

    def due_ms(self) -> float | None:
        """Return in how many ms slots are to be leased; None if none are."""
        with self._lock:
            now = self._clock()
            if not len(self._queue):
                if self._not_before > now or self._is_low:
                    return 0.0
                if abs(self._owed) > self._a_block() * _OWED_PART:
                    return max(self._leased + BLOCK_MS - now, 0.0)
                return None
            return max(self._last - LEAD_MS - now, 0.0)

    async def lease(self, store: LimitStore) -> None:
        """Lease the slots of the calls that wait, for half a second."""
        with self._lock:
            waiters = self._next_waiters()
            units = [waiter.units for waiter in waiters]
            owed, self._owed = self._owed, 0.0
            not_before, self._not_before = self._not_before, 0.0
            rate, now = Rate(self.per_minute), self._clock()
            ahead = self._ahead(now, sum(units))
            self._low, self._is_low = _LOW * len(ahead), False
            self._leased = now
            if not (waiters or ahead or owed or not_before):
                return

        def decide(arrival: float) -> Block:
            if owed:
                # A refund brings back no time that has passed.
                arrival = max(arrival, now) + owed * rate.interval
            block = grant(rate, max(arrival, not_before), now, units)
            if not ahead:
                return block
            # Of time that has passed, they would be late too soon.
            more = grant(rate, max(block.arrival, now), now, ahead)
            return Block(block.times + more.times, more.arrival)

        block: Block | None = None
        try:
            block = await store.take_block(self.name, decide)
        finally:
            if block is None:
                self._undo(waiters, owed, not_before)
        if block is not None:
            self._hand_out(waiters, ahead, block, now)

    def _ahead(self, now: int, taken: float) -> list[float]:
        """Give the sizes of slots for calls that are about to come."""
        since = max(now - self._leased, 1.0)
        self._per_ms += _NEWEST * (self._came / since - self._per_ms)
        self._wave = max(self._came, _WAVE * self._wave)
        self._came = 0
        if self._backlog > _AHEAD_MS:
            return []
        room = _AHEAD_PART * self._a_block() - taken
        size = max(self._usual, 1.0)
        expected = max(self._per_ms * _AHEAD_MS, self._wave)
        count = int(min(expected - len(self._spare), room / size))
        return [size] * count if count >= _FEWEST_AHEAD else []

    def _a_block(self) -> float:
        """Return how many units the rate gives in the time of a block."""
        return BLOCK_MS / Rate(self.per_minute).interval

    def _next_waiters(self) -> list[Waiter[float]]:
        """Take those whose slots lie within the next half second."""
        most = self._a_block()
        found: list[Waiter[float]] = []
        total = 0.0
        while len(self._queue) and (not found or total < most):
            waiter = self._queue.pop()
            if not waiter.has_left:
                found.append(waiter)
                total += waiter.units
        return found

    def _hand_out(
        self,
        waiters: list[Waiter[float]],
        ahead: list[float],
        block: Block,
        now: int,
    ) -> None:
        with self._lock:
            if block.times:
                self._last = block.arrival
                self._backlog = block.times[0] - now
            for waiter, moment in zip(waiters, block.times, strict=False):
                waiter.given = moment
                if waiter.has_left or not waiter.give(moment):
                    self._spare.append((moment, None))
            self._spare.extend(
                zip(block.times[len(waiters) :], ahead, strict=True)
            )

    def _undo(
        self, waiters: list[Waiter[float]], owed: float, not_before: float
    ) -> None:
        """Let those wait on for whom no slots could be leased."""
        with self._lock:
            self._owed += owed
            self._not_before = max(self._not_before, not_before)
            for waiter in waiters:
                self._queue.push_first(waiter)

    def _left(self, account: Account, waiter: Waiter[float]) -> None:
        with self._lock:
            self._ends_waiting(account)
            waiter.has_left = True
            if waiter.given is not None:
                self._spare.append((waiter.given, None))

    def _ends_waiting(self, account: Account) -> None:
        left = self._pending[account.client_id] - 1
        if left > 0:
            self._pending[account.client_id] = left
        else:
            del self._pending[account.client_id]
