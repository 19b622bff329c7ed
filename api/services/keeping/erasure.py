"""Erasure: a client's data is removed from the database for good.

`erasures` has a tombstone for each erased client: its id, times and
counts, nothing else. It stays, so that whoever finds something of the
client later (answers on the disk of a host that was off, say) knows that
it must not come back.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import structlog

from api.core.errors import NotFoundError
from api.models.keeping_models import Erasure, ErasureStatus
from utilities.clock import Clock, now_ms
from utilities.cosmos_connector import (
    ClientManager,
    Document,
    Documents,
    DuplicateKeyError,
    StoreError,
    current_actor,
)
from utilities.signals import WORKERS_CHANGED, Signals
from utilities.tasks import Loop

ERASURES_CHANGED = "erasures"
# Every collection with something of a client, by the field with its id.
# Workers come last: as long as they are there, their threads can be ended.
OWNED: Mapping[str, str] = {
    "console_sessions": "clientId",
    "webhooks": "clientId",
    "webhook_endings": "clientId",
    "webhook_deliveries": "clientId",
    "jobs": "clientId",
    "answer_flights": "clientId",
    "batches": "clientId",
    "files": "clientId",
    "file_pieces": "clientId",
    "streams": "clientId",
    "run_waves": "clientId",
    "run_candidates": "clientId",
    "runs": "clientId",
    "evaluations": "clientId",
    "evaluation_results": "clientId",
    "datasets": "clientId",
    "dataset_blocks": "clientId",
    "prompt_flows": "clientId",
    "prompts": "clientId",
    "workers": "clientId",
    "clients": "clientId",
}
# Its counters stay, since money was spent: see `_forget_operations`.
LEDGER = "ledger"
ERASED = "(erased)"
_SLICE = 200
_EVERY_SECONDS = 2.0
# Others go on while a slice is removed, and between two slices.
_MOST_OF_TIME = 0.5
_TAKEN_MS = 60_000

log = structlog.get_logger(__name__)


class ErasureService:
    """Begins erasures and tells how far they are."""

    def __init__(
        self,
        erasures: Documents,
        clients: Documents,
        signals: Signals,
        clock: Clock = now_ms,
    ) -> None:
        self._erasures = erasures
        self._clients = clients
        self._signals = signals
        self._clock = clock

    async def begin(self, client_id: str) -> Erasure:
        """End the client at once and have its data removed.

        Again, it answers how far the erasure is. What has come to life
        since, by a restored backup for example, is removed again.

        Raises:
            NotFoundError: there is and was no such client.
        """
        known = await self._clients.find_all({"clientId": client_id}, ["_id"])
        tombstone = await self._erasures.find_one({"_id": client_id})
        if not known and tombstone is None:
            raise NotFoundError("Client")
        await self._clients.soft_delete(
            {"clientId": client_id}, {"enabled": False}
        )
        if tombstone is None:
            tombstone = await self._insert(client_id)
        elif known and tombstone["status"] == ErasureStatus.DONE:
            tombstone = await self._again(client_id) or tombstone
        self._signals.publish(WORKERS_CHANGED)
        self._signals.publish(ERASURES_CHANGED)
        return Erasure.from_document(tombstone)

    async def get(self, client_id: str) -> Erasure:
        """Tell how far an erasure is.

        Raises:
            NotFoundError: the client is not being erased.
        """
        found = await self._erasures.find_one({"_id": client_id})
        if found is None:
            raise NotFoundError("Erasure")
        return Erasure.from_document(found)

    async def _insert(self, client_id: str) -> Document:
        new = {"_id": client_id, "removed": {}, **self._fresh()}
        try:
            return await self._erasures.insert(new)
        except DuplicateKeyError:
            # Asked for twice in the same moment.
            return await self._erasures.find_one({"_id": client_id}) or new

    async def _again(self, client_id: str) -> Document | None:
        where = {"_id": client_id, "status": ErasureStatus.DONE}
        return await self._erasures.update(where, self._fresh())

    def _fresh(self) -> Document:
        return {
            "status": ErasureStatus.RUNNING,
            "requestedAt": self._clock(),
            "finishedAt": None,
            "disksCleaned": 0,
            "takenUntil": 0,
        }


class ErasedClients:
    """Which clients are erased, for those who find something of them."""

    def __init__(self, erasures: Documents) -> None:
        self._erasures = erasures

    async def among(self, client_ids: Collection[str]) -> set[str]:
        """Return those of the clients that are erased."""
        if not client_ids:
            return set()
        where = {"_id": {"$in": sorted(client_ids)}}
        found = await self._erasures.find(where, fields=["_id"])
        return {each["_id"] for each in found}

    async def all(self) -> dict[str, str]:
        """Return all of them, each with the status of its erasure."""
        found = await self._erasures.find({}, fields=["status"])
        return {each["_id"]: each["status"] for each in found}

    async def disk_cleaned(self, client_id: str) -> None:
        """Count one more disk that has nothing of a client."""
        await self._erasures.patch(
            {"_id": client_id}, {"$inc": {"disksCleaned": 1}}
        )


@dataclass(frozen=True, slots=True)
class EraserTimes:
    """In seconds: what still runs for the client ends within `settle`."""

    settle: float = 15.0
    every: float = _EVERY_SECONDS


class Eraser(Loop):
    """Removes what clients that are being erased have."""

    name = "erasure"
    vital = False

    def __init__(
        self,
        documents: Callable[[str], Documents],
        clients: ClientManager,
        signals: Signals,
        times: EraserTimes | None = None,
        clock: Clock = now_ms,
    ) -> None:
        super().__init__()
        self._documents = documents
        self._erasures = documents("erasures")
        self._clients = clients
        self._signals = signals
        self._times = times or EraserTimes()
        self._clock = clock

    async def run(self) -> None:
        """Erase until stopped."""
        current_actor.set("erasure")
        self.attach()
        self._signals.subscribe(ERASURES_CHANGED, self.wake_safely)
        try:
            while not self.stopping:
                await self._round()
                await self.pause(self._times.every)
        finally:
            self._signals.unsubscribe(ERASURES_CHANGED, self.wake_safely)

    async def _round(self) -> None:
        try:
            running = {"status": ErasureStatus.RUNNING}
            for erasure in await self._erasures.find(running):
                if await self._take(erasure):
                    await self._erase(erasure)
        except StoreError as error:
            log.warning("erasure_waits", error=type(error).__name__)

    async def _take(self, erasure: Document) -> bool:
        """Have it for a minute, if no other process has it."""
        now = self._clock()
        where = {
            "_id": erasure["_id"],
            "status": ErasureStatus.RUNNING,
            "takenUntil": erasure["takenUntil"],
        }
        if erasure["takenUntil"] > now:
            return False
        changes = {"takenUntil": now + _TAKEN_MS}
        return await self._erasures.update(where, changes) is not None

    async def _erase(self, erasure: Document) -> None:
        """Remove what there is; done if nothing can come any more."""
        client_id = erasure["_id"]
        settled = erasure["requestedAt"] + round(self._times.settle * 1000)
        is_last = self._clock() >= settled
        total = Counter[str](erasure["removed"])
        before = total.total()
        await self._remove_all(client_id, total, last=is_last)
        changes: Document = {"removed": dict(total), "takenUntil": 0}
        done = is_last and total.total() == before
        if done:
            await self._clients.give_space_back()
            changes["finishedAt"] = self._clock()
            changes["status"] = ErasureStatus.DONE
        await self._erasures.update(
            {"_id": client_id, "status": ErasureStatus.RUNNING}, changes
        )
        if done:
            log.info("client_erased", clientId=client_id, removed=dict(total))
            self._signals.publish(ERASURES_CHANGED)

    async def _remove_all(
        self, client_id: str, total: Counter[str], *, last: bool
    ) -> None:
        """Remove what there is; add to `total` how much that was."""
        if last and (count := await self._remove_leases(client_id)):
            total["worker_leases"] += count
        for collection, field in OWNED.items():
            if collection == "workers" and not last:
                continue
            where = {field: client_id}
            if count := await self._remove(collection, where):
                total[collection] += count
                await self._report(client_id, total)
        await self._forget_operations(client_id)

    async def _forget_operations(self, client_id: str) -> None:
        """Keep what was spent in the ledger, but none of the client's words.

        The names of models are the administrator's.
        """
        await self._documents(LEDGER).patch(
            {"clientId": client_id, "operation": {"$ne": ERASED}},
            {"$set": {"operation": ERASED}},
        )

    async def _report(self, client_id: str, total: Counter[str]) -> None:
        """Show the progress, and keep the erasure to this process."""
        until = self._clock() + _TAKEN_MS
        await self._erasures.update(
            {"_id": client_id, "status": ErasureStatus.RUNNING},
            {"removed": dict(total), "takenUntil": until},
        )

    async def _remove_leases(self, client_id: str) -> int:
        """Remove leases, whose ids have the names of workers."""
        workers = await self._documents("workers").find_all(
            {"clientId": client_id}, ["workerId"]
        )
        ids = [str(each.get("workerId") or each["_id"]) for each in workers]
        if not ids:
            return 0
        where = {"workerId": {"$in": ids}}
        return await self._remove("worker_leases", where)

    async def _remove(self, collection: str, where: Document) -> int:
        documents = self._documents(collection)
        total = 0
        while not self.stopping:
            began = time.monotonic()
            count = await documents.erase_some(where, _SLICE)
            total += count
            if count < _SLICE:
                break
            spent = time.monotonic() - began
            await self.rest(spent * (1 / _MOST_OF_TIME - 1))
        return total
