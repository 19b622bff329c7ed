"""Divides the places of a limit of calls at once between processes.

Each process has places for a few seconds and renews them. None takes what
another one has; who has more than its share gives it back as calls end.
Interactive calls get theirs first, then each client its share of the rest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from api.services.limits.client_parts import (
    NO_PARTS,
    Ask,
    Parts,
    divide,
    named,
    whole,
)

# Of the places, at least this part is for bulk calls that wait.
_BULK_PART = 20
# A process has this part of the places that are free beside its own.
SPARE_PART = 10


@dataclass(frozen=True, slots=True)
class Holder:
    """A process: the places that it has and wants, until a time in ms.

    Of those that it wants, `urgent` are for interactive calls, and `asks`
    says for which clients the others are.
    """

    process: str
    has: int
    wants: int
    until: int
    urgent: int = 0
    asks: tuple[Ask, ...] = ()

    @classmethod
    def of_document(cls, stored: Mapping[str, Any]) -> Self:
        """Read what `to_document` gave."""
        return cls(
            str(stored["process"]),
            int(stored["has"]),
            int(stored["wants"]),
            int(stored["until"]),
            int(stored.get("urgent") or 0),
            tuple(map(Ask.of_document, stored.get("asks") or ())),
        )

    def to_document(self) -> dict[str, Any]:
        """Give what is stored."""
        return {
            "process": self.process,
            "has": self.has,
            "wants": self.wants,
            "until": self.until,
            "urgent": self.urgent,
            "asks": [ask.to_document() for ask in named(self.asks)],
        }

    @property
    def bulk_asks(self) -> list[Ask]:
        """What its bulk calls want; of nobody's if it does not say."""
        if self.asks:
            return named(self.asks)
        wants = self.wants - self.urgent
        return [Ask("", wants, 1.0)] if wants > 0 else []


@dataclass(frozen=True, slots=True)
class Renewed:
    """What a process may use, and what all are then known to have."""

    allowed: int
    holders: tuple[Holder, ...]
    parts: Parts = NO_PARTS


def fair_shares(limit: int, wants: Mapping[str, int]) -> dict[str, int]:
    """Divide places: nobody gets more than it wants, otherwise evenly.

    Max-min fairness, by filling up those first that want least.
    """
    shares: dict[str, int] = {}
    left = limit
    order = sorted(wants, key=lambda name: (wants[name], name))
    for position, name in enumerate(order):
        shares[name] = min(wants[name], left // (len(order) - position))
        left -= shares[name]
    return shares


def renew(
    limit: int,
    holders: Sequence[Holder],
    mine: Holder,
    now: int,
) -> Renewed:
    """Renew a process's places; `mine.has` is what it uses meanwhile."""
    others = [
        each
        for each in holders
        if each.process != mine.process and each.until > now
    ]
    urgent, parts, bulk = _shares(limit, (*others, mine))
    share = urgent[mine.process] + bulk[mine.process]
    free = limit - sum(each.has for each in others)
    # For calls of the next moments, so that they need not wait for a lease:
    # a small part of what nobody wants.
    spare = max(free - share, 0) // SPARE_PART
    allowed = max(min(share + spare, free), 0)
    kept = replace(mine, has=max(allowed, mine.has))
    return Renewed(allowed, (*others, kept), parts[mine.process])


def _shares(
    limit: int, holders: Sequence[Holder]
) -> tuple[dict[str, int], dict[str, Parts], dict[str, int]]:
    """Give the places of interactive calls, and of bulk calls."""
    asks = {each.process: each.bulk_asks for each in holders}
    least = -(-limit // _BULK_PART) if any(asks.values()) and limit > 1 else 0
    urgent = fair_shares(
        limit - least, {each.process: each.urgent for each in holders}
    )
    left = limit - sum(urgent.values())
    parts = divide(left, asks)
    return urgent, parts, whole(left, parts)
