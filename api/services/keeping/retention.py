"""Retention: what ended long ago is removed, as the rules of its client say.

A rule gives the days after the last change by kind (`jobs`) or by kind and
status (`jobs.CONSUMED`); of two, the more exact one counts, and a client's
own before the ones of `RETENTION_DAYS`. Nothing that still waits or runs is
removed. Deleted documents go with the others of their status.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import structlog

from api.models.batch_models import BATCH_LINE
from api.services.keeping.turns import Turns
from api.services.monitoring.observer import NOBODY, Observer
from api.services.queue.flights import Flights
from config import RETENTION_KINDS
from utilities import payload
from utilities.clock import Clock, now_ms
from utilities.cosmos_connector import (
    ClientManager,
    Document,
    Documents,
    Filter,
    StoreError,
)
from utilities.tasks import Loop

_DAY_MS = 24 * 3600 * 1000
_SLICE = 200
# With what is still running when it expires.
_LONGEST_BATCH_DAYS = 2
# How much of the time a round may work; the engine has the rest.
_MOST_OF_TIME = 0.2

Rules = Mapping[str, float | None]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of documents, and where they are.

    `begun` is a field of an index that is no later than the last change;
    it counts `per_ms` in a millisecond. `parts` are collections whose
    documents go with the one whose id they have, in a field.
    """

    collection: str
    begun: str = "_metadata.createdAt"
    per_ms: int = 1
    parts: Mapping[str, str] = field(default_factory=dict)


KINDS: Mapping[str, Kind] = {
    "jobs": Kind("jobs", "sequence", 1_000_000),
    "streams": Kind("streams", "startedAt"),
    "runs": Kind(
        "runs", parts={"run_waves": "runId", "run_candidates": "runId"}
    ),
    "evaluations": Kind(
        "evaluations", parts={"evaluation_results": "evaluationId"}
    ),
    # Their files expire by themselves.
    "batches": Kind("batches", "sequence", 1_000_000),
    "deliveries": Kind("webhook_deliveries", "madeAt"),
}


@dataclass(frozen=True, slots=True)
class RetentionTimes:
    """When rounds are made, in seconds."""

    every: float = 600.0
    first: float = 60.0


class Retention(Loop):
    """Makes a round from time to time, in one process at a time."""

    name = "retention"
    vital = False

    def __init__(
        self,
        documents: Callable[[str], Documents],
        clients: ClientManager,
        rules: Rules,
        times: RetentionTimes | None = None,
        *,
        observer: Observer = NOBODY,
        clock: Clock = now_ms,
        flights: Flights | None = None,
    ) -> None:
        """Take the collections, the rules for all clients, the times.

        Old `flights` are forgotten with each round.
        """
        super().__init__()
        self._documents = documents
        self._clients = clients
        self._rules = rules
        self._times = times or RetentionTimes()
        self._turns = Turns(documents("turns"), clock)
        self._observer = observer
        self._clock = clock
        self._flights = flights

    async def run(self) -> None:
        """Make rounds until stopped."""
        self.attach()
        await self.pause(self._times.first)
        while not self.stopping:
            try:
                if await self._turns.take("retention", self._times.every):
                    await self.round()
                    if self._flights is not None:
                        await self._flights.clear()
            except StoreError as error:
                log.warning("retention_waits", error=type(error).__name__)
            await self.pause(self._times.every)

    async def round(self) -> Mapping[str, int]:
        """Remove what is old enough; return how many by kind.

        Raises:
            StoreError: the next round removes the rest.
        """
        began, removed = time.monotonic(), Counter[str]()
        for client_id, rules in await self._rules_by_client():
            for name, where in self._old(client_id, rules):
                removed[name] += await self._remove(name, where)
        if removed.total():
            for name, count in removed.items():
                self._observer.removed(name, count)
            await self._clients.give_space_back()
            seconds = round(time.monotonic() - began, 1)
            log.info("retention_round", **removed, seconds=seconds)
        return removed

    async def _rules_by_client(
        self,
    ) -> Iterable[tuple[str | None, Rules]]:
        """Return each client that has rules, the deleted ones as well."""
        found = await self._documents("clients").find_all(
            {}, ["clientId", "retentionDays"]
        )
        # Some deliveries are of no client: events that concern all.
        known: list[tuple[str | None, Rules]] = [(None, self._rules)]
        for client in found:
            own = payload.load(client.get("retentionDays") or "{}")
            known.append((client["clientId"], with_own(self._rules, own)))
        return [each for each in known if any(each[1].values())]

    def _old(
        self, client_id: str | None, rules: Rules
    ) -> Iterator[tuple[str, Filter]]:
        for name, kind in KINDS.items():
            for status in RETENTION_KINDS[name]:
                days = days_for(rules, name, status)
                if days is None:
                    continue
                before = self._clock() - round(days * _DAY_MS)
                where = _older(kind, client_id, status, before)
                if name == "jobs" and days < _LONGEST_BATCH_DAYS:
                    where |= _of_no_open_batch(self._clock())
                yield name, where

    async def _remove(self, name: str, where: Filter) -> int:
        kind, total = KINDS[name], 0
        while not self.stopping:
            began = time.monotonic()
            count = await self._remove_some(kind, where)
            total += count
            spent = time.monotonic() - began
            await self.rest(spent * (1 / _MOST_OF_TIME - 1))
            if count < _SLICE:
                break
        return total

    async def _remove_some(self, kind: Kind, where: Filter) -> int:
        documents = self._documents(kind.collection)
        if not kind.parts:
            return await documents.erase_some(where, _SLICE)
        found = await documents.find_all(where, ["_id"])
        ids = [document["_id"] for document in found[:_SLICE]]
        if ids:
            # The parts first: without their whole, nobody would find them.
            for name, owner in kind.parts.items():
                wanted = {owner: {"$in": [str(each) for each in ids]}}
                await self._documents(name).erase(wanted)
            await documents.erase({"_id": {"$in": ids}})
        return len(ids)


def with_own(rules: Rules, own: Rules) -> Rules:
    """Give the rules for a client that has its own.

    A client's rule for a kind also replaces those for its statuses.
    """
    kept = {
        name: days
        for name, days in rules.items()
        if name.partition(".")[0] not in own
    }
    return kept | dict(own)


def days_for(rules: Rules, kind: str, status: str) -> float | None:
    """Give the days that things of a status are kept; None: for ever."""
    exact = f"{kind}.{status}"
    return rules[exact] if exact in rules else rules.get(kind)


def _of_no_open_batch(now: int) -> Document:
    """Leave the lines whose batches may still need them."""
    is_other = {"operation": {"$ne": BATCH_LINE}}
    return {"$or": [is_other, {"expiresAt": {"$lt": now - _DAY_MS}}]}


def _older(
    kind: Kind, client_id: str | None, status: str, before: int
) -> Document:
    return {
        "clientId": client_id,
        "status": status,
        kind.begun: {"$lt": before * kind.per_ms},
        "_metadata.updatedAt": {"$lt": before},
    }
