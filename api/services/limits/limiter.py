"""All limits that calls of this process come under, by model and client."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import is_
from typing import Self

from api.models.limit_models import CallLimits
from api.models.model_models import Model
from api.services.limits.claims import LOOK_SECONDS
from api.services.limits.limit_store import LimitStore
from api.services.limits.place_scope import PlaceScope
from api.services.limits.rate_scope import RateScope
from api.services.limits.share import Share
from llm_sdks.resilience.fair_queue import BULK_SHARE
from utilities.clock import Clock

_MODEL, _CLIENT = "model", "client"
_NO_NAMES: frozenset[str] = frozenset()
_MOST_JOINED = 1000


@dataclass(frozen=True, slots=True)
class Scopes:
    """The limits of one model or of one client."""

    limits: CallLimits
    names: frozenset[str]
    places: PlaceScope | None
    requests: RateScope | None
    tokens: RateScope | None

    def are(self, limits: CallLimits) -> bool:
        """Tell whether these are limits of the same numbers."""
        # Asked for each call: models compare much slower.
        own = self.limits
        return own is limits or (
            own.requests_per_minute == limits.requests_per_minute
            and own.tokens_per_minute == limits.tokens_per_minute
            and own.max_concurrency == limits.max_concurrency
        )

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


@dataclass(frozen=True, slots=True)
class CallScopes:
    """All limits of a call: of each kind the client's, then the model's."""

    places: tuple[PlaceScope, ...]
    requests: tuple[RateScope, ...]
    tokens: tuple[RateScope, ...]
    # What its provider's account may do.
    of_model: Scopes | None

    @classmethod
    def of(cls, limits: Sequence[Scopes]) -> Self:
        """Put the limits of a client and of a model together."""
        last = limits[-1]
        return cls(
            tuple(each.places for each in limits if each.places),
            tuple(each.requests for each in limits if each.requests),
            tuple(each.tokens for each in limits if each.tokens),
            # A client's limits have no names of models.
            last if last.names else None,
        )


@dataclass(frozen=True, slots=True)
class _Joined:
    """The limits of the last call of a client to a model."""

    limits: tuple[Scopes, ...]
    scopes: CallScopes


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
        self._joined: dict[tuple[str, str], _Joined] = {}
        self._clients: Mapping[str, CallLimits] = {}
        self._weights: Mapping[str, float] = {}
        # Wakes the keeper, where there is one.
        self.wake: Callable[[], None] = lambda: None

    def of_call(self, model: Model, client_id: str) -> CallScopes | None:
        """Return the limits of a call; None if it has none."""
        limits = self._limits_of(model, client_id)
        if not limits:
            return None
        key = model.model_id, client_id
        known = self._joined.get(key)
        if known is None or not _are_same(known.limits, limits):
            if len(self._joined) >= _MOST_JOINED:
                self._joined.clear()
            known = _Joined(limits, CallScopes.of(limits))
            self._joined[key] = known
        return known.scopes

    def _limits_of(self, model: Model, client_id: str) -> tuple[Scopes, ...]:
        limits = self.of_client(client_id)
        is_known = (_MODEL, model.model_id) in self._scopes
        if limits is None and not is_known and not model.limits.are_set:
            return ()
        of_model = self._of_model(model)
        if limits is None or not limits.are_set:
            return () if of_model is None else (of_model,)
        of_client = self._of(_CLIENT, client_id, limits, _NO_NAMES)
        return (of_client,) if of_model is None else (of_client, of_model)

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

    def shares(
        self,
        client_id: str = "",
        wanted: int | None = None,
        *,
        bulk: bool = True,
    ) -> list[Share]:
        """Say how many of a client's jobs workers may claim now.

        Models that leave room for all that are `wanted` are left out.
        """
        with self._lock:
            scopes = [
                each
                for (kind, _), each in self._scopes.items()
                if kind == _MODEL
            ]
        shares = [_share(each, client_id, bulk=bulk) for each in scopes]
        if wanted is None:
            return shares
        return [share for share in shares if share.room < wanted]

    def room_of_client(
        self, client_id: str, *, bulk: bool = True
    ) -> int | None:
        """Return how many jobs of a client may be claimed; None: any."""
        scopes = self._scopes.get((_CLIENT, client_id))
        return None if scopes is None else scopes.room(client_id, bulk=bulk)

    async def renew(self) -> float | None:
        """Lease what is due; return in how many ms more is due."""
        scopes = [
            scope
            for each in list(self._scopes.values())
            for scope in (each.places, each.requests, each.tokens)
            if scope is not None
        ]
        for scope in scopes:
            if scope.due_ms() == 0:
                await scope.lease(self._store)
        waits = [scope.due_ms() for scope in scopes]
        return min((w for w in waits if w is not None), default=None)

    def forget_unset(self) -> None:
        """Drop the scopes of clients that have no limits any more."""
        with self._lock:
            for key in list(self._scopes):
                if key[0] == _CLIENT and key[1] not in self._clients:
                    del self._scopes[key]

    def _of_model(self, model: Model) -> Scopes | None:
        key = _MODEL, model.model_id
        known = self._scopes.get(key)
        if (
            known is not None
            and model.name in known.names
            and known.are(model.limits)
        ):
            return known
        if model.limits.are_set:
            names = frozenset({model.model_id, model.name})
            return self._of(*key, model.limits, names)
        if known is not None:
            with self._lock:
                self._scopes.pop(key, None)
        return None

    def _of(
        self,
        kind: str,
        owner: str,
        limits: CallLimits,
        names: frozenset[str],
    ) -> Scopes:
        known = self._scopes.get((kind, owner))
        if known is not None and known.are(limits) and known.names == names:
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


def _are_same(some: Sequence[Scopes], others: Sequence[Scopes]) -> bool:
    return len(some) == len(others) and all(map(is_, some, others))


def _share(scopes: Scopes, client_id: str, *, bulk: bool) -> Share:
    return Share(
        scopes.names,
        lambda wanted: min(wanted, scopes.room(client_id, bulk=bulk)),
        lambda _: None,
        room=scopes.room(client_id, bulk=bulk),
        wait=LOOK_SECONDS,
    )
