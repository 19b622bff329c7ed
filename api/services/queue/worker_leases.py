"""Which process runs which worker: leases of the workers' slots.

A worker of n replicas is n slots, and a lease says which process has one of
them. It ends by itself, so a dead process's slots are free soon. Each
process also reports its number of threads: that only guides assignment
of slots, and may be wrong without harm.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

import structlog
from pymongo.errors import DuplicateKeyError

from utilities.clock import Clock, now_ms
from utilities.cosmos_connector import Document, Documents, Filter, retrying

WORKER_LEASE_SECONDS = 10.0

T = TypeVar("T")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """One of the threads that a worker wants; replicas count from 1."""

    worker_id: str
    replica: int

    @property
    def key(self) -> str:
        """The id of its lease."""
        return f"{self.worker_id}:{self.replica}"


@dataclass(frozen=True, slots=True)
class WorkerLease:
    """A slot that a process has, or had; times in ms."""

    slot: Slot
    pool: str | None
    since: int
    expires_at: int

    @classmethod
    def from_document(cls, document: Document) -> Self:
        """Read a stored one.

        Raises:
            ValueError: it is broken.
        """
        pool = document.get("pool")
        return cls(
            Slot(
                _field(document, "workerId", str),
                _field(document, "replica", int),
            ),
            None if pool is None else _field(document, "pool", str),
            _field(document, "since", int),
            _field(document, "expiresAt", int),
        )


def _field(document: Document, name: str, kind: type[T]) -> T:
    value = document.get(name)
    if not isinstance(value, kind):
        raise ValueError(f"{name} is not of type {kind.__name__}")  # noqa: TRY004 - what the caller expects
    return value


class WorkerLeases:
    """Takes, renews and releases leases, by conditional writes only."""

    def __init__(
        self,
        leases: Documents,
        pools: Documents,
        clock: Clock = now_ms,
        lease_seconds: float = WORKER_LEASE_SECONDS,
    ) -> None:
        self._lease_seconds = lease_seconds
        self._leases = leases
        self._pools = pools
        self._clock = clock

    async def renew(self, pool: str, threads: int) -> None:
        """Renew a process's leases; store how many threads it may run."""
        end = self._end()
        told = {"threads": threads, "expiresAt": end}
        await retrying(
            lambda: self._pools.raw.update_one(
                {"_id": pool}, {"$set": told}, upsert=True
            )
        )
        await retrying(
            lambda: self._leases.raw.update_many(
                {"pool": pool}, {"$set": {"expiresAt": end}}
            )
        )

    async def all(self) -> list[WorkerLease]:
        """Return every lease, also those that have ended."""
        return await self._find({})

    async def of_workers(self, worker_ids: Sequence[str]) -> list[WorkerLease]:
        """Return the living leases of these workers, in order."""
        where = {"workerId": {"$in": list(worker_ids)}}
        found = [
            lease for lease in await self._find(where) if self.is_live(lease)
        ]
        return sorted(found, key=lambda lease: lease.slot)

    def is_live(self, lease: WorkerLease) -> bool:
        """Tell whether a process has it now."""
        return lease.pool is not None and lease.expires_at >= self._clock()

    async def capacities(self) -> dict[str, int]:
        """Return the living processes and how many threads each may run."""
        where = {"expiresAt": {"$gte": self._clock()}}
        found = await retrying(lambda: self._pools.raw.find(where).to_list())
        return {
            document["_id"]: document["threads"]
            for document in found
            if isinstance(document.get("threads"), int)
        }

    async def take(
        self, slot: Slot, pool: str, seen: WorkerLease | None
    ) -> bool:
        """Take a slot that was free when it was seen; False if too late."""
        now = self._clock()
        fields = {"pool": pool, "since": now, "expiresAt": self._end()}
        if seen is None:
            return await self._insert(slot, fields)
        where = {"_id": slot.key, "expiresAt": {"$lt": now}}
        result = await self._leases.raw.update_one(where, {"$set": fields})
        return result.matched_count == 1

    async def release(self, slots: Collection[Slot], pool: str) -> None:
        """Release slots, so that other processes can take them."""
        await self._release(
            {"_id": {"$in": [slot.key for slot in slots]}}, pool
        )

    async def remove(self, slots: Collection[Slot], pool: str) -> None:
        """Forget slots that are no longer wanted."""
        keys = [slot.key for slot in slots]
        where = {"_id": {"$in": keys}, "pool": pool}
        await retrying(lambda: self._leases.raw.delete_many(where))

    async def release_all(self, pool: str) -> None:
        """Release everything of a process that ends or is dead."""
        forgotten = {"expiresAt": {"$lt": self._clock()}}
        for where in ({"_id": pool}, forgotten):
            await self._pools.raw.delete_many(where)
        await self._release({}, pool)

    async def remove_expired(self, slots: Collection[Slot]) -> None:
        """Remove expired leases of slots that are no longer wanted."""
        where = {
            "_id": {"$in": [slot.key for slot in slots]},
            "expiresAt": {"$lt": self._clock()},
        }
        await retrying(lambda: self._leases.raw.delete_many(where))

    async def _insert(self, slot: Slot, fields: Document) -> bool:
        own = {"workerId": slot.worker_id, "replica": slot.replica}
        try:
            await self._leases.raw.insert_one(
                {"_id": slot.key, **own, **fields}
            )
        except DuplicateKeyError:
            return False
        return True

    async def _release(self, which: Filter, pool: str) -> None:
        # One ms ago, so that the next moment is not too early.
        free = {"pool": None, "expiresAt": self._clock() - 1}
        where = {**which, "pool": pool}
        await retrying(
            lambda: self._leases.raw.update_many(where, {"$set": free})
        )

    async def _find(self, where: Filter) -> list[WorkerLease]:
        found = await retrying(lambda: self._leases.raw.find(where).to_list())
        leases, broken = [], []
        for document in found:
            try:
                leases.append(WorkerLease.from_document(document))
            except ValueError:
                broken.append(document["_id"])
        if broken:
            # Otherwise no process could ever take these slots.
            log.warning("worker_leases_broken", count=len(broken))
            await self._leases.raw.delete_many({"_id": {"$in": broken}})
        return leases

    def _end(self) -> int:
        return self._clock() + round(self._lease_seconds * 1000)
