"""Finds the jobs that may be claimed now, at a cost that stays the same.

Jobs that cannot be claimed must cost nothing, however many there are:

- A job that is not due carries `deferredUntil`, which comes before the
  order in the indexes of claims, so that no claim reads it. Jobs that have
  become due are promoted (`deferredUntil` is cleared), each one once.
  `availableAt` alone decides whether a job is due: without
  `deferredUntil` a job that is not due is skipped, only at a higher cost.
- Jobs of a model that is not available are left out by naming the other
  models that wait: each is a range of an index.
- A filter for an operation or a model is a range of an index likewise.
"""

import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from api.models.job_fields import ServiceClass
from api.models.job_status import JobStatus
from api.models.worker_models import WorkerConfig
from api.services.queue.queue_order import QUEUE_ORDER, ranks_of
from api.services.shared import client_reference
from utilities.clock import Clock
from utilities.cosmos_connector import Document, Documents, ObjectId

# Later than any time: a deleted job is not read by claims either.
NEVER = 2**53 - 1
# How far ahead a claim looks at most, in blocks, as a power of two.
_WIDEST = 3
# Due jobs that are promoted by one update.
_PROMOTED_AT_ONCE = 500
_PROMOTED_EVERY_MS = 1000
# A list of models is used for this time, in ms.
_MODELS_KEPT_MS = 1000
# Of more models, those that are not available are skipped one by one.
_MOST_MODELS = 64


def deferred(available_at: int, now: int) -> Document:
    """Give the fields of a job that is due at a time (ms)."""
    return {
        "availableAt": available_at,
        "deferredUntil": available_at if available_at > now else None,
    }


@dataclass(frozen=True, slots=True)
class _Models:
    names: tuple[str, ...]
    read_at: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which waiting jobs a claim is for.

    None of them is of an `unavailable` model; with a class, all are of it.
    """

    client_id: str
    config: WorkerConfig
    unavailable: Collection[str] = ()
    service_class: ServiceClass | None = None

    @property
    def bulk(self) -> "Wanted":
        """The same, of bulk jobs only."""
        return replace(self, service_class=ServiceClass.BULK)


class WaitingJobs:
    """Finds the ids of waiting jobs, in the order of their ranks."""

    def __init__(self, documents: Documents, clock: Clock) -> None:
        self._documents = documents
        self._clock = clock
        # By client: when its due jobs were promoted last, all of them.
        self._promoted: dict[str, int] = {}
        self._models: dict[str, _Models] = {}

    async def ids(self, wanted: Wanted, limit: int) -> list[ObjectId]:
        """Return up to `limit` ids of jobs that may be claimed."""
        client_id = wanted.client_id
        if wanted.config.model_filter in wanted.unavailable:
            return []
        now = self._clock()
        if abs(now - self._promoted.get(client_id, 0)) >= _PROMOTED_EVERY_MS:
            await self._promote(client_id, now)
        while True:
            found = await self._find(wanted, now, limit)
            done = self._promoted.get(client_id) == now
            if len(found) >= limit or done:
                return found
            if not await self._promote(client_id, now):
                return found

    async def _find(
        self, wanted: Wanted, now: int, limit: int
    ) -> list[ObjectId]:
        client_id, config = wanted.client_id, wanted.config
        where: Document = {
            **_waiting(client_id),
            "deferredUntil": None,
            **ranks_of(wanted.service_class),
            "availableAt": {"$lte": now},
            **client_reference.filter_of(config.client_reference_filters),
        }
        if config.operation_filter is not None:
            where["operation"] = {"$eq": config.operation_filter}
        if config.model_filter is not None:
            where["model"] = {"$eq": config.model_filter}
        elif wanted.unavailable:
            where["model"] = await self._available(
                client_id, wanted.unavailable
            )
        found = await self._documents.find(
            where, sort=QUEUE_ORDER, limit=limit, fields=["_id"]
        )
        if len(found) < limit:
            # There may be jobs of a model that is not known yet.
            self._models.pop(client_id, None)
        return [document["_id"] for document in found]

    async def _promote(self, client_id: str, now: int) -> int:
        """Make a number of due jobs claimable; return how many."""
        # Others in this process need not do the same meanwhile.
        self._promoted[client_id] = now
        # The lower bound is for servers that sort null below a number.
        where = {
            **_waiting(client_id),
            "deferredUntil": {"$gt": 0, "$lte": now},
        }
        found = await self._documents.find(
            where,
            sort=[("deferredUntil", 1)],
            limit=_PROMOTED_AT_ONCE,
            fields=["_id"],
        )
        if len(found) == _PROMOTED_AT_ONCE:
            self._promoted.pop(client_id, None)
        if found:
            ids = [document["_id"] for document in found]
            await self._documents.patch(
                {"_id": {"$in": ids}, "status": JobStatus.PENDING},
                {"$set": {"deferredUntil": None}},
            )
        return len(found)

    async def _available(
        self, client_id: str, unavailable: Collection[str]
    ) -> Document:
        now, known = self._clock(), self._models.get(client_id)
        if known is None or abs(now - known.read_at) >= _MODELS_KEPT_MS:
            names = await self._waiting_models(client_id)
            known = self._models[client_id] = _Models(names, now)
        if len(known.names) >= _MOST_MODELS:
            return {"$nin": list(unavailable)}
        left = [name for name in known.names if name not in unavailable]
        return {"$eq": left[0]} if len(left) == 1 else {"$in": left}

    async def _waiting_models(self, client_id: str) -> tuple[str, ...]:
        """Read which models have waiting jobs, by one seek for each."""
        names: list[str] = []
        while len(names) < _MOST_MODELS:
            where = {
                **_waiting(client_id),
                "model": {"$gt": names[-1] if names else ""},
            }
            found = await self._documents.find(
                where, sort=[("model", 1)], limit=1, fields=["model"]
            )
            if not found:
                break
            names.append(found[0]["model"])
        return tuple(names)


class Picked:
    """The jobs that one client's claims in this process are about to take.

    Claims that run at once pick different jobs, so that none of them loses
    to another one in the database.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ids: set[ObjectId] = set()
        self._wanted = 0

    @contextmanager
    def announce(self, wanted: int) -> Iterator[int]:
        """Say how many a claim wants; give how many the others want."""
        with self._lock:
            others = self._wanted
            self._wanted += wanted
        try:
            yield others
        finally:
            with self._lock:
                self._wanted -= wanted

    @contextmanager
    def pick(
        self, found: Sequence[ObjectId], limit: int
    ) -> Iterator[list[ObjectId]]:
        """Take the first `limit` that no claim has picked, until the end."""
        with self._lock:
            ids = [each for each in found if each not in self._ids][:limit]
            self._ids.update(ids)
        try:
            yield ids
        finally:
            with self._lock:
                self._ids.difference_update(ids)


def next_width(width: int, *, lost: bool) -> int:
    """Give how far the next claim looks, after one that lost jobs or not."""
    return min(width + 1, _WIDEST) if lost else max(width - 1, 0)


def _waiting(client_id: str) -> Document:
    # `$eq` spelled out: only so does the embedded server see that an
    # index serves this query. Elsewhere it makes no difference.
    return {
        "clientId": {"$eq": client_id},
        "status": {"$eq": JobStatus.PENDING},
    }
