"""Divides the places of a limit of calls at once between processes.

Each process has places for a few seconds and renews them. None takes what
another one has; who has more than its share gives it back as calls end.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Holder:
    """A process: the places that it has and wants, until a time in ms."""

    process: str
    has: int
    wants: int
    until: int


@dataclass(frozen=True, slots=True)
class Renewed:
    """What a process may use, and what all are then known to have."""

    allowed: int
    holders: tuple[Holder, ...]


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
    """Renew a process's places; `mine.has` are the calls that it runs."""
    others = [
        each
        for each in holders
        if each.process != mine.process and each.until > now
    ]
    wants = {each.process: each.wants for each in (*others, mine)}
    share = fair_shares(limit, wants)[mine.process]
    free = limit - sum(each.has for each in others)
    allowed = max(min(share, free), 0)
    kept = replace(mine, has=max(allowed, mine.has))
    return Renewed(allowed, (*others, kept))
