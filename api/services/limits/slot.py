"""A slot of a rate: when a call may begin, and who has it."""

from collections import deque
from dataclasses import dataclass

from api.services.limits.schedule import BURST_MS


@dataclass(slots=True, eq=False)
class Slot:
    """A time (ms) and a size; `is_taken` says that another call has it."""

    moment: float
    units: float
    is_over: bool = False
    is_taken: bool = False


class HeldSlots:
    """The slots of bulk calls whose times lie ahead. Not thread-safe.

    An interactive call takes the first of them, and begins at once, unless
    that is too early: its rate allows for bursts. The bulk call waits on,
    before all others of its client.
    """

    def __init__(self) -> None:
        self._slots: deque[Slot] = deque()

    def hold(self, slot: Slot) -> None:
        """Note that a bulk call has a slot."""
        self._slots.append(slot)

    def take(self, now: float) -> Slot | None:
        """Take the first one from its call, if there is one."""
        while self._slots:
            slot = self._slots.popleft()
            if slot.is_over or slot.moment < now:
                continue
            slot.is_taken = slot.is_over = True
            return Slot(max(now, slot.moment - BURST_MS), slot.units)
        return None

    def end(self, slot: Slot) -> None:
        """Note that a slot is used, or given back."""
        slot.is_over = True
        while self._slots and self._slots[0].is_over:
            self._slots.popleft()
