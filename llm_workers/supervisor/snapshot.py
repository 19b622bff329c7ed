"""Which workers are to run and who runs them, at one moment."""

from collections import Counter
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from typing import Any

import structlog

from api.models.worker_models import Worker, WorkerStatus
from api.services.batches.batch_worker import is_built_in
from api.services.queue.worker_leases import Slot, WorkerLease, WorkerLeases
from api.services.shared.client_states import ClientStates
from utilities.cosmos_connector import Document, Documents, ObjectId

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All workers that are to run, and their slots.

    `clients` names the client of each of them. `held` are the slots that
    live processes have; `waiting` those that are free, in the order in
    which they are to be served; `unwanted` have an old lease and no worker
    any more. `capacities` are the processes and their sizes.
    """

    workers: Mapping[str, Worker]
    clients: Mapping[str, str]
    held: Mapping[Slot, str]
    waiting: Sequence[Slot]
    unwanted: Sequence[Slot]
    capacities: Mapping[str, int]
    leases: Mapping[Slot, WorkerLease]

    def wants(self, slot: Slot) -> bool:
        """Tell whether a slot is to run."""
        worker = self.workers.get(slot.worker_id)
        return worker is not None and slot.replica <= worker.config.replicas


class SnapshotSource:
    """Reads workers and their clients; a broken document is set aside."""

    def __init__(
        self,
        workers: Documents,
        clients: ClientStates,
        built_in: Callable[[], Awaitable[Mapping[str, Worker]]] | None = None,
    ) -> None:
        """Take the collections, and what gives the built-in workers."""
        self._built_in = built_in
        self._workers = workers
        self._clients = clients
        self._reported: set[str] = set()

    async def take(self, leases: WorkerLeases) -> Snapshot:
        """Read the workers that are to run, and the leases."""
        running = await self._running()
        if self._built_in is not None:
            running |= await self._built_in()
        workers = await self._of_enabled_clients(running)
        known = {lease.slot: lease for lease in await leases.all()}
        capacities = await leases.capacities()
        wanted = {
            Slot(worker_id, number)
            for worker_id, worker in workers.items()
            for number in range(1, worker.config.replicas + 1)
        }
        held = {
            slot: lease.pool
            for slot, lease in known.items()
            if lease.pool is not None and leases.is_live(lease)
        }
        return Snapshot(
            workers,
            {worker_id: each.client_id for worker_id, each in workers.items()},
            held,
            in_turn(wanted - held.keys(), held, known),
            [slot for slot in known if slot not in wanted | held.keys()],
            capacities,
            known,
        )

    async def enabled(self, client_ids: Collection[str]) -> set[str]:
        """Return those of the given clients that are enabled."""
        return await self._clients.enabled(client_ids)

    async def give_up(self, worker_id: str, info: Mapping[str, Any]) -> None:
        """Show a worker that cannot run as one with an error."""
        if is_built_in(worker_id):
            # It has no document; it is tried again.
            return
        await self._show_error(ObjectId(worker_id), info)

    async def _running(self) -> dict[str, Worker]:
        found = await self._workers.find({"status": WorkerStatus.RUNNING})
        workers = {}
        for document in found:
            try:
                worker = Worker.from_document(document)
            except ValueError as error:
                await self._set_aside(document, error)
            else:
                workers[worker.worker_id] = worker
        return workers

    async def _of_enabled_clients(
        self, workers: Mapping[str, Worker]
    ) -> dict[str, Worker]:
        clients = {worker.client_id for worker in workers.values()}
        enabled = await self._clients.enabled(clients)
        return {
            worker_id: worker
            for worker_id, worker in workers.items()
            if worker.client_id in enabled
        }

    async def _set_aside(self, document: Document, error: ValueError) -> None:
        worker_id = str(document["_id"])
        if worker_id not in self._reported:
            self._reported.add(worker_id)
            log.error(
                "worker_document_broken",
                workerId=worker_id,
                error=type(error).__name__,
            )
        info = {"error": "The stored worker cannot be read; make a new one"}
        await self._show_error(document["_id"], info)

    async def _show_error(
        self, document_id: object, info: Mapping[str, Any]
    ) -> None:
        await self._workers.update_many(
            {"_id": document_id, "status": WorkerStatus.RUNNING},
            {"status": WorkerStatus.ERROR, "threadInfo": dict(info)},
        )


def in_turn(
    waiting: Collection[Slot],
    held: Collection[Slot],
    leases: Mapping[Slot, WorkerLease],
) -> list[Slot]:
    """Sort: workers without a thread first, then who has waited longest."""
    threads = Counter(slot.worker_id for slot in held)

    def turn(slot: Slot) -> tuple[bool, int, int, str]:
        lease = leases.get(slot)
        return (
            threads[slot.worker_id] + slot.replica > 1,
            lease.expires_at if lease is not None else 0,
            slot.replica,
            slot.worker_id,
        )

    return sorted(waiting, key=turn)
