"""Finds out which of the workers that wait have jobs."""

import time
from collections.abc import Sequence

from api.services.limits.claims import ClaimGuard
from api.services.queue.job_queue import JobQueue
from api.services.queue.worker_leases import Slot
from llm_workers.supervisor.fairness import Rotation
from llm_workers.supervisor.snapshot import Snapshot


class WorkSearch:
    """Asks the queue for worker after worker, some of them in each round."""

    def __init__(
        self, queue: JobQueue, claims: ClaimGuard, seconds: float
    ) -> None:
        """Take how long one round may last; one worker is always asked."""
        self._queue = queue
        self._claims = claims
        self._seconds = seconds
        self._rotation = Rotation()

    async def found(
        self, waiting: Sequence[Slot], snapshot: Snapshot
    ) -> list[Slot]:
        """Return the first slot of each worker that is known to have jobs."""
        first: dict[str, Slot] = {}
        for slot in waiting:
            first.setdefault(slot.worker_id, slot)
        await self._ask(first, snapshot)
        hungry = self._rotation.hungry
        return [slot for one, slot in first.items() if one in hungry]

    async def confirms(self, slot: Slot, snapshot: Snapshot) -> bool:
        """Tell whether a worker has jobs now; asks once in a round."""
        worker_id = slot.worker_id
        if not self._rotation.knows(worker_id):
            worker = snapshot.workers[worker_id]
            has_work = await self._queue.has_work(
                worker.client_id,
                worker.config,
                self._claims.look(worker.client_id).closed,
            )
            self._rotation.asked(worker_id, has_work=has_work)
        return worker_id in self._rotation.hungry

    async def _ask(self, first: dict[str, Slot], snapshot: Snapshot) -> None:
        pairs = [(one, snapshot.clients[one]) for one in first]
        deadline = time.monotonic() + self._seconds
        for worker_id in self._rotation.order(pairs):
            await self.confirms(first[worker_id], snapshot)
            if time.monotonic() > deadline:
                return
