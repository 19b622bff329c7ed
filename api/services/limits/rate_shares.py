"""A process's part of a rate, while others lease slots of it as well.

Each lease writes how much the clients of the process want, and reads what
the others have written. While the schedule is contended, a process takes no
more in any half second than its part, so that in the long run every client
has its share, however many processes its calls wait in.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from api.services.limits.client_parts import NO_PARTS, Ask, divide, named
from llm_sdks.resilience.fair_queue import Weights

# A process that leases nothing for so long has no calls that wait.
_FORGOTTEN_MS = 1500
# An arrival time is compared with the one that we left.
_EPSILON_MS = 0.01


@dataclass(frozen=True, slots=True)
class Asker:
    """What the clients of a process want of a rate, until a time in ms."""

    process: str
    until: int
    asks: tuple[Ask, ...]

    @classmethod
    def of_document(cls, stored: dict[str, Any]) -> Self:
        """Read what `to_document` gave."""
        asks = tuple(map(Ask.of_document, stored["asks"]))
        return cls(str(stored["process"]), int(stored["until"]), asks)

    def to_document(self) -> dict[str, Any]:
        """Give what is stored."""
        return {
            "process": self.process,
            "until": self.until,
            "asks": [ask.to_document() for ask in named(self.asks)],
        }


class RateShares:
    """What this process may take of a rate. Not thread-safe."""

    def __init__(self, process: str, block_ms: float) -> None:
        self._process = process
        self._block_ms = block_ms
        self._parts = NO_PARTS
        self._left_at = 0.0
        self._paid_until = 0.0
        self._is_contended = False

    def asker(self, now: int, asks: Sequence[Ask]) -> Asker:
        """Say what the clients of this process want."""
        return Asker(self._process, now + _FORGOTTEN_MS, tuple(asks))

    def weight(self, client_id: str, usual: float) -> float:
        """Give a client's weight among those of this process."""
        return self._parts.weight(client_id, usual)

    def most(self, units: float) -> float:
        """Return how many units of a block this process takes."""
        return min(self._parts.total, units) if self._is_contended else units

    @property
    def not_before(self) -> float:
        """When this process may lease again (ms)."""
        return self._paid_until if self._is_contended else 0.0

    def leased(
        self,
        askers: Sequence[Asker],
        units: float,
        taken: float,
        times: tuple[float, float],
        now: float,
    ) -> None:
        """Note a lease of a block of `units` of which `taken` were taken.

        `askers` are all processes; `times` are the arrival time that was
        found and the one that was left.
        """
        found, left = times
        # Somebody else has leased since.
        self._is_contended = len(askers) > 1 and (
            found > self._left_at + _EPSILON_MS and found > now
        )
        self._left_at = left
        wants = {each.process: named(each.asks) for each in askers}
        parts = divide(units, wants)
        self._parts = parts.get(self._process, NO_PARTS)
        if self._is_contended and self._parts.total > 0:
            begun = max(self._paid_until, now - self._block_ms)
            lasts = self._block_ms * taken / self._parts.total
            self._paid_until = begun + lasts


def with_mine(
    askers: Sequence[Asker], mine: Asker, now: int
) -> tuple[Asker, ...]:
    """Replace what this process said; forget who has ended."""
    others = (
        each
        for each in askers
        if each.process != mine.process and each.until > now
    )
    return (*others, mine)


def room_of(
    client_id: str,
    most: int,
    waiting: Counter[str],
    weights: Weights = lambda _: 1.0,
) -> int:
    """Return how many more calls of a client may wait, of `most`.

    Each client may have its part, whatever the others have: one whose calls
    run out before workers look again would lose its turns.
    """
    whole = sum(weights(each) for each in {*waiting, client_id})
    part = math.ceil(most * weights(client_id) / whole)
    free = most - waiting.total()
    return max(free, part - waiting[client_id], 0)
