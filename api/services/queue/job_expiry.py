"""Ends jobs that still wait when they expire.

A job with `expiresAt` also carries the time at which it must be looked at,
`expiryDue`. Each look takes a job out, or, as long as it runs, puts the
next look off: so a sweep reads what is due, and never what has ended.
Other jobs do not carry the field and are not in its index.
"""

from collections.abc import Sequence

import structlog

from api.models.job_status import JobStatus
from api.services.queue import job_outcomes
from api.services.shared.endings import NO_ENDINGS, Endings
from utilities.clock import Clock, now_ms
from utilities.cosmos_connector import Document, Documents, StoreError
from utilities.signals import JOBS_ENDED, Signals
from utilities.tasks import Loop

# When a job must be looked at (ms).
EXPIRY_DUE = "expiryDue"
_EVERY_SECONDS = 1.0
# A job that runs may come back to the queue.
_NEXT_LOOK_MS = 5000
_AT_ONCE = 500
# Of one sweep; the next one goes on.
_MOST_BLOCKS = 20
_FIELDS = (
    "status",
    "clientId",
    EXPIRY_DUE,
    "expiresAt",
    "spent",
    "checkpoint",
)

log = structlog.get_logger(__name__)


class JobExpiry(Loop):
    """Sweeps the queue, in every process, whoever works on it."""

    name = "jobExpiry"
    vital = False

    def __init__(
        self,
        documents: Documents,
        signals: Signals,
        clock: Clock = now_ms,
        every_seconds: float = _EVERY_SECONDS,
        *,
        endings: Endings = NO_ENDINGS,
    ) -> None:
        super().__init__()
        self._documents = documents
        self._signals = signals
        self._clock = clock
        self._every_seconds = every_seconds
        self._endings = endings

    async def run(self) -> None:
        """Sweep repeatedly until stopped."""
        self.attach()
        while not self.stopping:
            try:
                await self.sweep()
            except StoreError as error:
                log.warning("jobs_not_expired", error=type(error).__name__)
            await self.pause(self._every_seconds)

    async def sweep(self) -> int:
        """End the jobs that have expired; return how many."""
        ended = 0
        for _ in range(_MOST_BLOCKS):
            found = await self._due()
            ended += await self._look_at(found)
            if len(found) < _AT_ONCE:
                break
        if ended:
            self._signals.publish(JOBS_ENDED)
            log.info("jobs_expired", count=ended)
        return ended

    async def _due(self) -> list[Document]:
        # The lower bound is for servers that sort null below a number.
        return await self._documents.find(
            {EXPIRY_DUE: {"$gt": 0, "$lte": self._clock()}},
            sort=[(EXPIRY_DUE, 1)],
            limit=_AT_ONCE,
            fields=_FIELDS,
        )

    async def _look_at(self, found: list[Document]) -> int:
        """End those that wait; take out or put off the others."""
        if not found:
            return 0
        now = self._clock()
        waiting = [job for job in found if job["status"] == JobStatus.PENDING]
        running = [
            job["_id"]
            for job in found
            if job["status"] == JobStatus.PROCESSING
        ]
        ended = await self._end(waiting, now) if waiting else 0
        ids = [job["_id"] for job in found]
        await self._set({"$in": running}, [JobStatus.PROCESSING], now)
        await self._set({"$in": ids}, _ENDED, None)
        return ended

    async def _end(self, waiting: list[Document], now: int) -> int:
        await self._endings.expect_jobs(waiting)
        return await self._documents.update_each(
            [
                (
                    {
                        "_id": job["_id"],
                        "status": JobStatus.PENDING,
                        # Otherwise its client has changed it meanwhile.
                        EXPIRY_DUE: job[EXPIRY_DUE],
                    },
                    {**job_outcomes.expired(job, now), EXPIRY_DUE: None},
                )
                for job in waiting
            ]
        )

    async def _set(
        self, ids: Document, statuses: Sequence[JobStatus], now: int | None
    ) -> None:
        if not ids["$in"]:
            return
        due = None if now is None else now + _NEXT_LOOK_MS
        await self._documents.patch(
            {"_id": ids, "status": {"$in": list(statuses)}},
            {"$set": {EXPIRY_DUE: due}},
        )


_ENDED = [
    status
    for status in JobStatus
    if status not in {JobStatus.PENDING, JobStatus.PROCESSING}
]
