"""Claims a worker's next jobs, as far as their calls would be admitted."""

from collections.abc import Callable, Collection, Sequence

from api.models.job_fields import ServiceClass
from api.models.worker_models import WorkerConfig
from api.services.limits.claims import LOOK_SECONDS, ClaimGuard
from api.services.limits.share import Share
from api.services.queue.job_outcomes import Result
from api.services.queue.job_queue import JobQueue
from api.services.queue.job_work import Claimant, ClaimedJob
from llm_workers.execution.remembering import Remembering
from utilities.clock import Clock

# Others wait while the embedded database writes a claim down.
_MOST_AT_ONCE = 200


class Claimer:
    """Claims for one worker.

    `take` gets what is claimed, also where a later part of a claim fails;
    `look_at` is told when there may be more (Unix time). With
    `remembering`, `end` gets what needs no call.
    """

    def __init__(
        self,
        claimant: Claimant,
        client_id: str,
        queue: JobQueue,
        claims: ClaimGuard,
        clock: Clock,
        *,
        take: Callable[[Sequence[ClaimedJob]], None],
        look_at: Callable[[float], None],
        end: Callable[[Result], None] | None = None,
        remembering: Remembering | None = None,
    ) -> None:
        self._end = end
        self._remembering = remembering
        self._claimant = claimant
        self._client_id = client_id
        self._queue = queue
        self._claims = claims
        self._clock = clock
        self._take = take
        self._look_at = look_at
        self._left_out: frozenset[str] = frozenset()

    def has_opened(self) -> bool:
        """Tell whether jobs may be claimed that the last claim left out."""
        if not self._left_out:
            return False
        return bool(self._left_out - self._claims.look(self._client_id).closed)

    async def claim(
        self,
        config: WorkerConfig,
        free: int,
        service_class: ServiceClass | None = None,
    ) -> bool | None:
        """Claim up to `free` jobs; with a class, only of that one.

        Tells whether there may be more; None if none was found.

        Raises:
            StoreError: a part of the claim failed.
        """
        limit = min(free, config.max_items_per_batch, _MOST_AT_ONCE)
        claimable = self._claims.look(
            self._client_id,
            limit,
            bulk=service_class is not ServiceClass.INTERACTIVE,
        )
        if service_class is None:
            self._left_out = claimable.closed
        if claimable.wait_seconds is not None:
            # Their jobs wait in the queue; there may be others.
            self._look_after(claimable.wait_seconds)
        if claimable.most is not None and claimable.most < limit:
            limit = claimable.most
            self._look_after(LOOK_SECONDS)
        if limit == 0:
            return None
        found = await self._shares(
            claimable.shares, config, limit, service_class
        )
        if found < limit:
            found += await self._block(
                config, limit - found, service_class, claimable.names
            )
        # A full block says that more may wait.
        return found == limit if found else None

    async def _shares(
        self,
        shares: Sequence[Share],
        config: WorkerConfig,
        limit: int,
        service_class: ServiceClass | None,
    ) -> int:
        """Claim the few jobs that may be claimed of some models."""
        total = 0
        for share in shares:
            if total == limit:
                break
            wanted = config.model_filter
            if wanted is not None and wanted not in share.names:
                continue
            may = min(share.take(limit - total), limit - total)
            found = 0
            try:
                for name in [wanted] if wanted else sorted(share.names):
                    if found >= may:
                        break
                    only = config.model_copy(update={"model_filter": name})
                    found += await self._block(
                        only, may - found, service_class
                    )
            finally:
                if found < may:
                    share.give_back(may - found)
            if found == may:
                self._look_after(share.wait)
            total += found
        return total

    async def _block(
        self,
        config: WorkerConfig,
        limit: int,
        service_class: ServiceClass | None,
        left_out: Collection[str] = frozenset(),
    ) -> int:
        jobs = await self._queue.claim(
            self._client_id,
            config,
            self._claimant,
            limit,
            left_out,
            service_class,
        )
        self._take(await self._without_known(jobs))
        return len(jobs)

    async def _without_known(
        self, jobs: Sequence[ClaimedJob]
    ) -> Sequence[ClaimedJob]:
        """Leave out the jobs that need no call now."""
        if self._remembering is None or self._end is None:
            return jobs
        found = await self._remembering.sort(jobs)
        for result in found.results:
            self._end(result)
        return found.asking

    def _look_after(self, seconds: float) -> None:
        self._look_at(self._clock() / 1000 + seconds)
