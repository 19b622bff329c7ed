"""All limits that calls of this process come under, by model and client."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from api.models.limit_models import CallLimits
from api.models.model_models import Model
from api.services.limits.claims import LOOK_SECONDS, Share
from api.services.limits.limit_store import LimitStore
from api.services.limits.place_scope import PlaceScope
from api.services.limits.rate_scope import RateScope
from llm_sdks.resilience.fair_queue import BULK_SHARE
from utilities.clock import Clock

_MODEL, _CLIENT = "model", "client"


@dataclass(frozen=True, slots=True)
class Scopes:
    """The limits of one model or of one client."""

    limits: CallLimits
    names: frozenset[str]
    places: PlaceScope | None
    requests: RateScope | None
    tokens: RateScope | None

    def room(self, client_id: str, *, bulk: bool = True) -> int:
        """Return for how many more calls a client's jobs may be claimed.

        Without `bulk`, of its interactive jobs.
        """
        scopes = (self.places, self.requests, self.tokens)
        return min(
            scope.room(client_id, bulk=bulk)
            for scope in scopes
            if scope is not None
        )


class Limiter:
    """Knows the scopes that are in use; safe in any thread."""

    def __init__(
        self,
        store: LimitStore,
        process_id: str,
        clock: Clock,
        bulk_share: float = BULK_SHARE,
    ) -> None:
        self._bulk_share = bulk_share
        self._store = store
        self._process_id = process_id
        self._clock = clock
        self._lock = threading.Lock()
        self._scopes: dict[tuple[str, str], Scopes] = {}
        self._clients: Mapping[str, CallLimits] = {}
        self._weights: Mapping[str, float] = {}
        # Wakes the keeper, where there is one.
        self.wake: Callable[[], None] = lambda: None

    def of_call(self, model: Model, client_id: str) -> Sequence[Scopes]:
        """Return the limits of a call: the client's, then the model's."""
        limits = self.of_client(client_id)
        is_known = (_MODEL, model.model_id) in self._scopes
        if limits is None and not is_known and not model.limits.are_set:
            return ()
        found = []
        if limits is not None and limits.are_set:
            found.append(self._of(_CLIENT, client_id, limits, frozenset()))
        names = frozenset({model.model_id, model.name})
        if scopes := self._of_model(model.model_id, names, model.limits):
            found.append(scopes)
        return found

    def weight(self, client_id: str) -> float:
        """Return how many turns a client gets where others get one."""
        return self._weights.get(client_id, 1.0)

    def of_client(self, client_id: str) -> CallLimits | None:
        """Return a client's limits, if it has some."""
        return self._clients.get(client_id)

    def set_clients(
        self,
        limits: Mapping[str, CallLimits],
        weights: Mapping[str, float] | None = None,
    ) -> None:
        """Take over the limits and weights of clients that have some."""
        self._clients, self._weights = limits, weights or {}

    def shares(self, client_id: str = "", *, bulk: bool = True) -> list[Share]:
        """Say how many of a client's jobs workers may claim now."""
        with self._lock:
            scopes = [
                each
                for (kind, _), each in self._scopes.items()
                if kind == _MODEL
            ]
        return [_share(each, client_id, bulk=bulk) for each in scopes]

    def room_of_client(
        self, client_id: str, *, bulk: bool = True
    ) -> int | None:
        """Return how many jobs of a client may be claimed; None: any."""
        scopes = self._scopes.get((_CLIENT, client_id))
        return None if scopes is None else scopes.room(client_id, bulk=bulk)

    async def renew(self) -> float | None:
        """Lease what is due; return in how many ms more is due."""
        waits = []
        for scopes in list(self._scopes.values()):
            if (places := scopes.places) is not None:
                if places.due_ms() == 0:
                    await places.renew(self._store)
                waits.append(places.due_ms())
            for rate in (scopes.requests, scopes.tokens):
                if rate is not None:
                    if rate.due_ms() == 0:
                        await rate.lease(self._store)
                    waits.append(rate.due_ms())
        return min((w for w in waits if w is not None), default=None)

    def forget_unset(self) -> None:
        """Drop the scopes of clients that have no limits any more."""
        with self._lock:
            for key in list(self._scopes):
                if key[0] == _CLIENT and key[1] not in self._clients:
                    del self._scopes[key]

    def _of_model(
        self, model_id: str, names: frozenset[str], limits: CallLimits
    ) -> Scopes | None:
        if limits.are_set:
            return self._of(_MODEL, model_id, limits, names)
        if (_MODEL, model_id) in self._scopes:
            with self._lock:
                self._scopes.pop((_MODEL, model_id), None)
        return None

    def _of(
        self,
        kind: str,
        owner: str,
        limits: CallLimits,
        names: frozenset[str],
    ) -> Scopes:
        known = self._scopes.get((kind, owner))
        if known and known.limits == limits and known.names == names:
            return known
        with self._lock:
            known = self._scopes.get((kind, owner))
            made = self._made(f"{kind}/{owner}", limits, names, known)
            self._scopes[kind, owner] = made
        return made

    def _made(
        self,
        name: str,
        limits: CallLimits,
        names: frozenset[str],
        known: Scopes | None,
    ) -> Scopes:
        """Make scopes; those that exist go on with changed limits."""
        rates = {
            "requests": limits.requests_per_minute,
            "tokens": limits.tokens_per_minute,
        }
        made: dict[str, RateScope | None] = {}
        for kind, per_minute in rates.items():
            scope: RateScope | None = getattr(known, kind, None)
            if per_minute is None:
                scope = None
            elif scope is None:
                scope = RateScope(
                    f"{name}/{kind}",
                    per_minute,
                    self._process_id,
                    self._clock,
                    self._wake_now,
                    self.weight,
                    self._bulk_share,
                )
            else:
                scope.per_minute = per_minute
            made[kind] = scope
        places = self._places(name, limits.max_concurrency, known)
        return Scopes(limits, names, places, **made)

    def _places(
        self, name: str, limit: int | None, known: Scopes | None
    ) -> PlaceScope | None:
        if limit is None:
            return None
        if known is not None and known.places is not None:
            known.places.limit = limit
            return known.places
        return PlaceScope(
            f"{name}/places",
            limit,
            self._process_id,
            self._clock,
            self._wake_now,
            self.weight,
            self._bulk_share,
        )

    def _wake_now(self) -> None:
        self.wake()


def _share(scopes: Scopes, client_id: str, *, bulk: bool) -> Share:
    return Share(
        scopes.names,
        lambda wanted: min(wanted, scopes.room(client_id, bulk=bulk)),
        lambda _: None,
        room=scopes.room(client_id, bulk=bulk),
        wait=LOOK_SECONDS,
    )
