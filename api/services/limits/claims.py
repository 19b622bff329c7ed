"""Which jobs workers need not claim just now, and why, in one place.

A job whose call would not be admitted stays in the queue: claiming it and
putting it back would cost several writes, again and again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from api.models.route_models import Route
from api.services.limits.route_claims import closed_routes
from api.services.limits.share import Share
from llm_sdks.resilience.model_gate import ModelGates

# While limits leave no room, workers look again this often.
LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Claimable:
    """What may be claimed now.

    Jobs of models in `names` are left out of ordinary claims; some of them
    may be claimed by their `shares`. `wait_seconds` is when there may be
    more; None if nothing is left out.
    """

    names: frozenset[str] = frozenset()
    shares: tuple[Share, ...] = ()
    wait_seconds: float | None = None
    # How many jobs of the client; None is any number.
    most: int | None = None

    @property
    def closed(self) -> frozenset[str]:
        """The models of which no job can be claimed."""
        open_ = [share.names for share in self.shares if share.room > 0]
        return self.names.difference(*open_)


class ClaimLimits(Protocol):
    """Limits that leave room for some jobs, by their class."""

    def shares(
        self, client_id: str, wanted: int | None = None, *, bulk: bool
    ) -> Sequence[Share]:
        """Say how many of a client's jobs may be claimed of models.

        Models that leave room for all that are `wanted` are left out.
        """

    def room_of_client(self, client_id: str, *, bulk: bool) -> int | None:
        """Return how many jobs of a client may be claimed; None: any."""


class ClaimGuard:
    """Asks the gates of the process, and whatever else limits models."""

    def __init__(
        self,
        gates: ModelGates,
        sources: Sequence[Callable[[str], Sequence[Share]]] = (),
        rooms: Sequence[Callable[[str], int | None]] = (),
        limits: ClaimLimits | None = None,
        routes: Callable[[], Sequence[Route]] = tuple,
    ) -> None:
        self._gates = gates
        self._limits = limits
        self._routes = routes
        self._sources = tuple(sources)
        self._rooms = tuple(rooms)

    def look(
        self,
        client_id: str = "",
        wanted: int | None = None,
        *,
        bulk: bool = True,
    ) -> Claimable:
        """Tell what may be claimed now of a client's jobs.

        Models whose limits leave room for all that are `wanted` have no
        share: a claim for each model would be a search of its own. Without
        `bulk`, of its interactive jobs: bulk calls that wait are not in
        their way.
        """
        paused = self._gates.unavailable(client_id, bulk=bulk)
        rooms = [room(client_id) for room in self._rooms]
        if self._limits is not None:
            rooms.append(self._limits.room_of_client(client_id, bulk=bulk))
        most = min((each for each in rooms if each is not None), default=None)
        names, wait = paused.names, paused.wait_seconds
        shares = []
        found = [s for source in self._sources for s in source(client_id)]
        if self._limits is not None:
            found += self._limits.shares(client_id, wanted, bulk=bulk)
        for share in found:
            # What its gate, or an earlier source, holds back stays so.
            if not share.names & names:
                shares.append(share)
            names |= share.names
        waits = [share.wait for share in shares if share.room == 0]
        if names and (routes := self._routes()):
            of_routes = closed_routes(routes, names, shares)
            names |= of_routes.names
            shares += of_routes.shares
        if wait is not None:
            waits.append(wait)
        return Claimable(names, tuple(shares), min(waits, default=None), most)
