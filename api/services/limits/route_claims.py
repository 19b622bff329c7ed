"""Which routes' jobs need not be claimed, because of their models.

A route is closed if all of its models are: then a call could be made to
none of them. As long as one is open, its jobs are claimed.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from api.models.route_models import Route, Strategy, Target
from api.models.tried_models import Fallback
from api.services.limits.share import Share

# For these, models are passed over that are closed.
_PASSED_OVER = frozenset(
    {Fallback.OUTAGE, Fallback.RATE_LIMIT, Fallback.SUSPENDED}
)


@dataclass(slots=True)
class ClosedRoutes:
    """Routes whose jobs are left out, and the shares that they have."""

    names: frozenset[str] = frozenset()
    shares: list[Share] = field(default_factory=list)


def closed_routes(
    routes: Sequence[Route],
    names: AbstractSet[str],
    shares: Sequence[Share],
) -> ClosedRoutes:
    """Tell which routes are closed while these models are.

    `names` are the models whose jobs are left out; `shares` are those of
    which some jobs may be claimed nevertheless.
    """
    closed = ClosedRoutes()
    for route in routes:
        targets = _deciding(route)
        if not all(each.model_id in names for each in targets):
            continue
        called = frozenset({route.name, route.route_id})
        closed.names |= called
        open_ = _shares_of(targets, shares)
        if open_:
            closed.shares.append(_joined(called, open_))
    return closed


def _deciding(route: Route) -> Sequence[Target]:
    """Return the targets of which one must be open."""
    passes_over = not _PASSED_OVER.isdisjoint(route.fallback_on)
    if route.strategy is Strategy.PRIORITY and not passes_over:
        return route.targets[:1]
    return route.targets


def _shares_of(
    targets: Sequence[Target], shares: Sequence[Share]
) -> list[Share]:
    ids = {each.model_id for each in targets}
    return [each for each in shares if ids & each.names and each.room > 0]


def _joined(names: frozenset[str], shares: Sequence[Share]) -> Share:
    """Give the share of a route: what its models' shares have together."""
    taken: list[tuple[Share, int]] = []

    def take(wanted: int) -> int:
        taken.clear()
        left = wanted
        for each in shares:
            if left <= 0:
                break
            got = each.take(left)
            left -= got
            if got:
                taken.append((each, got))
        return wanted - left

    def give_back(count: int) -> None:
        for each, got in reversed(taken):
            if back := min(got, count):
                each.give_back(back)
                count -= back

    return Share(
        names,
        take,
        give_back,
        room=sum(each.room for each in shares),
        wait=min(each.wait for each in shares),
    )
