"""What is wanted and who has it, as a process sees it in one look."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from api.models.worker_models import Worker, WorkerStatus
from api.services.queue.worker_leases import Slot, WorkerLease, WorkerLeases
from utilities.cosmos_connector import Documents


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All workers that are to run, and their slots.

    `held` are the slots that live processes have; `waiting` those that
    nobody has, in the order in which they are to be served; `unwanted`
    have an old lease and no worker any more. `capacities` are the
    processes and
    their sizes.
    """

    workers: Mapping[str, Worker]
    held: Mapping[Slot, str]
    waiting: Sequence[Slot]
    unwanted: Sequence[Slot]
    capacities: Mapping[str, int]
    leases: Mapping[Slot, WorkerLease]

    def threads_of(self, worker_id: str) -> int:
        """Count the threads that a worker has anywhere."""
        return sum(slot.worker_id == worker_id for slot in self.held)

    def wants(self, slot: Slot) -> bool:
        """Tell whether a slot is to run."""
        worker = self.workers.get(slot.worker_id)
        return worker is not None and slot.replica <= worker.config.replicas


async def take_snapshot(
    documents: Documents, leases: WorkerLeases
) -> Snapshot:
    """Read the workers and the leases."""
    found = await documents.find({"status": WorkerStatus.RUNNING})
    workers = {str(doc["_id"]): Worker.from_document(doc) for doc in found}
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
    waiting = in_turn(wanted - held.keys(), held, known)
    unwanted = [slot for slot in known if slot not in wanted | held.keys()]
    return Snapshot(workers, held, waiting, unwanted, capacities, known)


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
