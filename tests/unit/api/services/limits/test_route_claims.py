from collections.abc import Sequence

import pytest

from api.models.route_models import Strategy
from api.models.tried_models import Fallback
from api.services.limits.route_claims import closed_routes
from api.services.limits.share import Share
from tests.support.routes import a_route

NAMES = frozenset({"route", "id-route"})


def closed(*names: str) -> frozenset[str]:
    return frozenset(each for n in names for each in (n, f"id-{n}"))


def share(name: str, room: int, taken: list[int] | None = None) -> Share:
    def take(wanted: int) -> int:
        got = min(wanted, room)
        if taken is not None:
            taken.append(got)
        return got

    return Share(
        closed(name),
        take,
        lambda count: taken.append(-count) if taken is not None else None,
        room,
        wait=1.0,
    )


@pytest.mark.parametrize(
    ("paused", "is_closed"),
    [((), False), (("a",), False), (("b",), False), (("a", "b"), True)],
)
def test_a_route_is_closed_if_all_its_models_are(
    *, paused: Sequence[str], is_closed: bool
) -> None:
    found = closed_routes([a_route("a", "b")], closed(*paused), ())
    assert found.names == (NAMES if is_closed else frozenset())
    assert found.shares == []


def test_without_a_fallback_the_first_model_decides() -> None:
    kinds = (Fallback.CONTENT_FILTER,)
    route = a_route("a", "b", fallback_on=kinds)
    assert closed_routes([route], closed("a"), ()).names == NAMES
    assert not closed_routes([route], closed("b"), ()).names
    # Any of them may come first.
    route = a_route("a", "b", fallback_on=kinds, strategy=Strategy.ROUND_ROBIN)
    assert not closed_routes([route], closed("a"), ()).names


def test_a_route_has_the_shares_of_its_models() -> None:
    taken: list[int] = []
    shares = [share("a", 2, taken), share("b", 0, taken), share("c", 3, taken)]
    found = closed_routes(
        [a_route("a", "b", "c")], closed("a", "b", "c"), shares
    )
    assert found.names == NAMES
    (joined,) = found.shares
    assert joined.room == 5
    assert joined.take(4) == 4
    assert taken == [2, 2]
    joined.give_back(3)
    assert taken[2:] == [-2, -1]
