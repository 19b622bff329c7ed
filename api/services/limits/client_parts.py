"""Divides what a model gives between clients, wherever their calls wait.

Each process says how much its clients want; from what all have said, every
process computes the same parts. First clients get their shares, by weight
and none more than it wants (weighted max-min fairness; Bertsekas and
Gallager, Data Networks, 1992, 6.5.2). Then the share of a client is divided
between the processes in which it has calls. So where a call waits, and in
how many processes its client has some, makes no difference.
"""

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

# The clients that a process names; the others are one together.
_MOST_NAMED = 200
_OTHERS = ""


@dataclass(frozen=True, slots=True)
class Ask:
    """What a client wants in one process; any unit."""

    client_id: str
    wants: float
    weight: float

    @classmethod
    def of_document(cls, stored: Sequence[Any]) -> Self:
        """Read what `to_document` gave."""
        return cls(str(stored[0]), float(stored[1]), float(stored[2]))

    def to_document(self) -> list[Any]:
        """Give what is stored."""
        return [self.client_id, self.wants, self.weight]


Asks = Mapping[str, Sequence[Ask]]


@dataclass(frozen=True, slots=True)
class Parts:
    """The part of one process: for all of its clients together, and how.

    `weights` are those of its clients among each other. A client that gets
    all that it wants is not among them: it has its usual weight.
    """

    total: float
    weights: Mapping[str, float]

    def weight(self, client_id: str, usual: float) -> float:
        """Give a client's weight among those of the process."""
        return self.weights.get(client_id, usual)


NO_PARTS = Parts(0.0, {})


def named(asks: Sequence[Ask]) -> list[Ask]:
    """Take those that want most; the others together as one."""
    if len(asks) <= _MOST_NAMED:
        return list(asks)
    first = heapq.nlargest(_MOST_NAMED, asks, key=lambda ask: ask.wants)
    names = {ask.client_id for ask in first}
    rest = [ask for ask in asks if ask.client_id not in names]
    others = Ask(
        _OTHERS,
        sum(ask.wants for ask in rest),
        sum(ask.weight for ask in rest),
    )
    return [*first, others]


def divide(limit: float, asks: Asks) -> dict[str, Parts]:
    """Divide `limit` between clients, then between processes."""
    by_client: dict[str, dict[str, float]] = defaultdict(dict)
    weights: dict[str, float] = {}
    for process, wanted in asks.items():
        for ask in wanted:
            by_client[ask.client_id][process] = ask.wants
            known = weights.get(ask.client_id, 0.0)
            weights[ask.client_id] = max(known, ask.weight)
    totals = {each: sum(wants.values()) for each, wants in by_client.items()}
    shares = _filled(limit, totals, weights)
    parts = dict.fromkeys(asks, 0.0)
    own: dict[str, dict[str, float]] = {process: {} for process in asks}
    for client_id, wants in by_client.items():
        share = shares[client_id]
        is_short = 0 < share < totals[client_id]
        split = _filled(share, wants, dict.fromkeys(wants, 1.0))
        for process, part in split.items():
            parts[process] += part
            if is_short:
                own[process][client_id] = weights[client_id] * part / share
    return {each: Parts(parts[each], own[each]) for each in asks}


def whole(limit: int, parts: Mapping[str, Parts]) -> dict[str, int]:
    """Give whole places to processes: the largest remainders get one more."""
    totals = {process: each.total for process, each in parts.items()}
    places = {process: int(total + 1e-9) for process, total in totals.items()}
    wanted = round(sum(totals.values()))
    left = min(limit, wanted) - sum(places.values())
    order = sorted(
        totals, key=lambda each: (places[each] - totals[each], each)
    )
    for process in order[: max(left, 0)]:
        places[process] += 1
    return places


def _filled(
    limit: float, wants: Mapping[str, float], weights: Mapping[str, float]
) -> dict[str, float]:
    """Fill up those first that want least for their weight."""
    shares: dict[str, float] = {}
    left, weight = limit, sum(weights[name] for name in wants)
    order = sorted((wants[name] / weights[name], name) for name in wants)
    for _, name in order:
        shares[name] = min(wants[name], left * weights[name] / weight)
        left = max(left - shares[name], 0.0)
        weight = max(weight - weights[name], weights[name] * 1e-9)
    return shares
