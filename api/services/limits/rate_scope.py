"""The calls of this process under one rate, and the slots leased for them.

A process leases the slots of the next half second by one update of the
shared schedule, and makes its calls at the times of its slots.
"""

import math
import threading
from collections import Counter, deque
from collections.abc import Callable

from api.services.calls.model_call import Account
from api.services.limits.client_parts import Ask
from api.services.limits.limit_store import LimitStore, Taken
from api.services.limits.rate_shares import RateShares, room_of
from api.services.limits.schedule import BURST_MS, Block, Rate, grant
from api.services.limits.slot import HeldSlots, Slot
from api.services.limits.waiter import Waiter
from llm_sdks.formats.allowances import Allowance
from llm_sdks.resilience.fair_queue import BULK_SHARE, FairQueue, Weights
from utilities.clock import Clock

# Slots are leased for so long; the next ones so long before they are used.
BLOCK_MS = 500.0
LEAD_MS = 250.0
# A slot that has passed by more than this is not used.
LATE_MS = BURST_MS + 250.0
# With more backlog than this before its slots, a process asks for fewer.
_NEAR_MS = 500.0
# A process that has found room in the schedule makes calls without slots for
# so long, up to this part of a block: they are paid for by the next lease. So
# a busy process need not ask for each few calls.
_ROOM_MS = 1000.0
_CREDIT_PART = 0.25
# For fewer, each call may as well ask for itself.
_FEWEST_ON_CREDIT = 10
# What calls were taken for too much or too little, or without slots, is paid
# by the next lease, or by itself once it is more than this part of a block.
_OWED_PART = 0.1
# The part of a minute's limit that is kept at hand, and how exactly.
_NEEDED_PART = 0.02
_CORRECTED_MS = 50.0
# A limit that is reset later counts by the minute, or by longer times.
_A_SECOND = 1.5
# The most calls that may wait for slots of one process.
_MOST_WAITING = 5_000


def _add(counter: Counter[str], name: str, change: int) -> None:
    count = counter[name] + change
    if count > 0:
        counter[name] = count
    else:
        del counter[name]


class RateScope:
    """One rate, as this process uses it; safe in any thread.

    `wake` tells the keeper that slots are wanted.
    """

    def __init__(
        self,
        name: str,
        per_minute: int,
        process_id: str,
        clock: Clock,
        wake: Callable[[], None],
        weights: Weights = lambda _: 1.0,
        bulk_share: float = BULK_SHARE,
    ) -> None:
        self.name = name
        self.per_minute = per_minute
        self._clock = clock
        self._wake = wake
        self._lock = threading.Lock()
        self._weights = weights
        self._shares = RateShares(process_id, BLOCK_MS)
        self._queue: FairQueue[Waiter[Slot]] = FairQueue(
            lambda each: self._shares.weight(each, weights(each)), bulk_share
        )
        # Slots without a call, and those of bulk calls that lie ahead.
        self._spare: deque[Slot] = deque()
        self._held = HeldSlots()
        # Until when calls may be made without slots.
        self._room_until = 0.0
        # Calls that wait for a slot, or for its time: all and urgent ones.
        self._pending: Counter[str] = Counter()
        self._urgent: Counter[str] = Counter()
        self._usual = 0.0
        self._last = 0.0
        self._backlog = 0.0
        self._owed = 0.0
        self._leased = 0.0
        self._not_before = 0.0
        # The provider's own limit, and until when it slows calls down.
        self._told = math.inf
        self._corrected = 0.0

    async def slot(
        self, account: Account, units: float, patience: float
    ) -> Slot:
        """Wait for a slot; its time may lie ahead.

        Raises:
            TimeoutError: there was none in time.
        """
        is_urgent = account.is_urgent
        with self._lock:
            self._count(account, 1)
            self._note_size(units)
            if found := self._slot_now(units, is_urgent=is_urgent):
                return self._hold(found, is_urgent=is_urgent)
            # Not `Waiter[Slot](units)`: that takes as long again.
            waiter: Waiter[Slot] = Waiter(units, account.turn)
            self._queue.push(waiter.turn, waiter)
            wakes = is_urgent or len(self._queue) == 1
        if wakes:
            self._wake()
        try:
            return await waiter.wait(patience)
        except BaseException:
            self._left(account, waiter)
            raise

    def use_now(self, units: float, *, is_urgent: bool) -> bool:
        """Count a call that is made at once; False if it must wait.

        It is made without a slot, while the schedule has room.
        """
        with self._lock:
            if self._queue.waits(bulk=not is_urgent):
                return False
            if not self._take_credit(units, self._clock()):
                return False
            self._note_size(units)
            return True

    def use(self, account: Account, slot: Slot) -> bool:
        """Use a slot; False if an interactive call has taken it."""
        with self._lock:
            self._count(account, -1)
            self._held.end(slot)
            return not slot.is_taken

    def give_back(self, account: Account, slot: Slot) -> None:
        """Return a slot whose call is not made."""
        with self._lock:
            self._count(account, -1)
            self._put_back(slot)

    def put_back(self, slot: Slot) -> None:
        """Return a slot that was used, though its call was not made."""
        with self._lock:
            self._put_back(slot)

    def seconds_ahead(self) -> float:
        """Return how far ahead the last slots lie that were leased."""
        if self._spare:
            return 0.0
        return max(self._last - self._clock(), 0.0) / 1000

    def settle(self, units: float) -> None:
        """Correct what a call was taken for; more than 0 if it was more."""
        with self._lock:
            self._owed += units

    def push(self, seconds: float) -> None:
        """Have no process make calls for some seconds: a provider says so."""
        with self._lock:
            moment = self._clock() + seconds * 1000
            self._not_before = max(self._not_before, moment)
            self._room_until = 0.0
        self._wake()

    @property
    def next_block(self) -> float:
        """How many units the next half second has."""
        return BLOCK_MS / self._rate.interval

    def correct(self, left: Allowance) -> None:
        """Keep to what a provider says of its limit.

        To a limit that is lower than ours, at once. Where little is left,
        calls wait for as long as what the next half second needs takes to
        come back; for no longer, as there are limits that are reset all at
        once and limits that fill up steadily, and both say the same.
        """
        told, reset = left.limit or self.per_minute, left.reset
        # Others count by the second.
        if told >= self.per_minute or (reset or 0.0) > _A_SECOND:
            self._told = told
        a_minute = min(told, self.per_minute)
        # A limit of which half a second is a large part is used up quickly.
        needed = min(self.next_block, _NEEDED_PART * a_minute)
        if left.remaining >= needed:
            return
        seconds = (needed - left.remaining) * 60 / a_minute
        if left.reset is not None:
            seconds = min(seconds, left.reset)
        moment = self._clock() + seconds * 1000
        if moment > self._corrected + _CORRECTED_MS:
            self._corrected = moment
            self.push(seconds)

    @property
    def _rate(self) -> Rate:
        return Rate(max(min(self.per_minute, self._told), 1))

    def room(self, client_id: str, *, bulk: bool = True) -> int:
        """Return for how many more calls a client's jobs may be claimed."""
        with self._lock:
            calls = 2 * self.next_block / max(self._usual, 1.0)
            # With many processes, each has a small part of the calls.
            near = min(1.0, _NEAR_MS / max(self._backlog, 1.0))
            most = min(math.ceil(calls * near) + 1, _MOST_WAITING)
            waiting = self._pending if bulk else self._urgent
            return room_of(client_id, most, waiting, self._weights)

    def due_ms(self) -> float | None:
        """Return in how many ms slots are to be leased; None if none are."""
        with self._lock:
            due, now = self._due(), self._clock()
            return None if due == math.inf else max(due - now, 0.0)

    def _due(self) -> float:
        if len(self._queue):
            due = self._last - LEAD_MS
            if not self._queue.urgent_total:
                due = max(due, self._shares.not_before)
            return due
        owed, credit = self._owed, self._credit
        if self._not_before > self._clock() or owed > credit / 2 > 0:
            return 0.0
        least = 0 if credit else self.next_block * _OWED_PART
        return self._leased + BLOCK_MS if abs(owed) > least else math.inf

    async def lease(self, store: LimitStore) -> None:
        """Lease the slots of the calls that wait, for half a second."""
        with self._lock:
            rate, now = self._rate, self._clock()
            most = self.next_block
            mine = self._shares.asker(now, self._asks())
            waiters = self._next_waiters(most)
            units = [waiter.units for waiter in waiters]
            taken = sum(units)
            owed, self._owed = self._owed, 0.0
            not_before, self._not_before = self._not_before, 0.0
            self._leased = now
            if not (waiters or owed or not_before):
                return

        def decide(arrival: float) -> Block:
            if owed:
                # A refund brings back no time that has passed.
                least = now - BURST_MS if owed > 0 else now
                arrival = max(arrival, least) + owed * rate.interval
            return grant(rate, max(arrival, not_before), now, units)

        done: Taken | None = None
        try:
            done = await store.take_block(self.name, mine, now, decide)
        finally:
            if done is None:
                self._undo(waiters, owed, not_before)
        if done is not None:
            with self._lock:
                times = done.found, done.block.arrival
                self._shares.leased(done.askers, most, taken, times, now)
                self._hand_out(waiters, done.block, now)
                # Others may have leased since, if this took long.
                has_room = done.block.arrival <= now
                self._room_until = now + _ROOM_MS if has_room else 0.0
                self._serve_on_credit()

    def _slot_now(self, units: float, *, is_urgent: bool) -> Slot | None:
        """Take a slot that nobody has, or that may be taken from a call."""
        now = self._clock()
        while self._spare and self._spare[0].moment < now - LATE_MS:
            self._spare.popleft()
        if self._queue.waits(bulk=not is_urgent):
            return None
        found = self._spare.popleft() if self._spare else None
        if found is None and is_urgent:
            found = self._held.take(now)
        if found is not None:
            self._owed += units - found.units
            return Slot(found.moment, units)
        return Slot(now, units) if self._take_credit(units, now) else None

    @property
    def _credit(self) -> float:
        """How many units calls may take without slots."""
        credit = _CREDIT_PART * self.next_block
        return credit if credit >= _FEWEST_ON_CREDIT * self._usual else 0.0

    def _take_credit(self, units: float, now: float) -> bool:
        """Owe the units of a call, while the schedule has room."""
        before, owed = self._owed, self._owed + units
        credit = self._credit
        if owed > credit or now >= self._room_until:
            return False
        self._owed = owed
        if before <= credit / 2 < owed:
            self._wake()
        return True

    def _note_size(self, units: float) -> None:
        usual = self._usual or units
        self._usual = usual + 0.1 * (units - usual)

    def _hold(self, slot: Slot, *, is_urgent: bool) -> Slot:
        if not is_urgent:
            self._held.hold(slot)
        return slot

    def _put_back(self, slot: Slot) -> None:
        self._held.end(slot)
        if not slot.is_taken:
            self._spare.append(Slot(slot.moment, slot.units))

    def _count(self, account: Account, change: int) -> None:
        _add(self._pending, account.client_id, change)
        if account.is_urgent:
            _add(self._urgent, account.client_id, change)

    def _asks(self) -> list[Ask]:
        """Say what the clients want whose calls wait for slots."""
        size = max(self._usual, 1.0)
        return [
            Ask(each, count * size, self._weights(each))
            for each, count in self._queue.clients().items()
        ]

    def _next_waiters(self, most: float) -> list[Waiter[Slot]]:
        """Take those whose slots lie within the next half second.

        Of bulk calls, no more than the part of this process.
        """
        found: list[Waiter[Slot]] = []
        part, total = self._shares.most(most), 0.0
        while len(self._queue):
            limit = most if self._queue.urgent_total else part
            if found and total >= limit:
                break
            waiter = self._queue.pop()
            if not waiter.has_left:
                found.append(waiter)
                total += waiter.units
        return found

    def _hand_out(
        self, waiters: list[Waiter[Slot]], block: Block, now: int
    ) -> None:
        if block.times:
            self._last = block.arrival
            self._backlog = block.times[0] - now
        for waiter, moment in zip(waiters, block.times, strict=True):
            is_urgent = waiter.turn.is_urgent
            # As one that takes the slot of a bulk call.
            early = max(now, moment - BURST_MS) if is_urgent else moment
            self._give(waiter, Slot(early, waiter.units))

    def _serve_on_credit(self) -> None:
        """Serve those that came during a lease, while there is room."""
        now = self._clock()
        while len(self._queue) and self._take_credit(self._usual, now):
            waiter = self._queue.pop()
            self._owed += waiter.units - self._usual
            self._give(waiter, Slot(now, waiter.units))

    def _give(self, waiter: Waiter[Slot], slot: Slot) -> None:
        waiter.given = slot
        if waiter.has_left or not waiter.give(slot):
            self._put_back(slot)
        else:
            self._hold(slot, is_urgent=waiter.turn.is_urgent)

    def _undo(
        self, waiters: list[Waiter[Slot]], owed: float, not_before: float
    ) -> None:
        """Let those wait on for whom no slots could be leased."""
        with self._lock:
            self._owed += owed
            self._not_before = max(self._not_before, not_before)
            for waiter in waiters:
                self._queue.push_first(waiter)

    def _left(self, account: Account, waiter: Waiter[Slot]) -> None:
        with self._lock:
            self._count(account, -1)
            waiter.has_left = True
            self._queue.remove(account.turn, waiter)
            if waiter.given is not None:
                self._put_back(waiter.given)
