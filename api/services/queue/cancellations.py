"""Tells the process that runs a job that its job has been canceled.

The job's own document says so first; this is only the way to learn of it
soon. What is lost here is found when the lease is to be extended.
"""

from collections.abc import Iterable, Mapping

from api.models.job_status import JobStatus
from utilities.clock import Clock, now_ms
from utilities.cosmos_connector import Document, Documents, ObjectId
from utilities.signals import Signals

# The topic of a process's own cancellations.
JOBS_CANCELED = "canceled"
# By then, the process that it was for has ended.
_FORGOTTEN_MS = 3_600_000
_AT_ONCE = 500
# What a running job is known by: its id, and the token of its claim.
Canceled = Mapping[ObjectId, str]


class Cancellations:
    """Messages of a few seconds' life, one for each canceled job."""

    def __init__(
        self,
        jobs: Documents,
        messages: Documents,
        signals: Signals,
        clock: Clock = now_ms,
    ) -> None:
        self._jobs = jobs
        self._messages = messages
        self._signals = signals
        self._clock = clock

    async def tell(self, job_ids: Iterable[ObjectId]) -> None:
        """Have the calls of those jobs stopped that are still running.

        Safe to repeat.
        """
        where: Document = {
            "_id": {"$in": list(job_ids)},
            "status": {"$eq": JobStatus.CANCELED},
            # Until its worker has let go of it.
            "leaseToken": {"$ne": None},
        }
        fields = ["leaseToken", "leaseProcess"]
        found = await self._jobs.find(where, fields=fields)
        messages = [
            self._message(job) for job in found if job.get("leaseProcess")
        ]
        if messages:
            await self._messages.put_each(messages)
            self._signals.publish(JOBS_CANCELED)

    async def take(self, process_id: str) -> Canceled:
        """Return, and forget, what a process was told."""
        found = await self._messages.find(
            {"process": process_id},
            limit=_AT_ONCE,
            fields=["jobId", "leaseToken"],
        )
        if found:
            ids = [message["_id"] for message in found]
            await self._messages.erase({"_id": {"$in": ids}})
        return {ObjectId(each["jobId"]): each["leaseToken"] for each in found}

    async def clear(self) -> None:
        """Forget what was for processes that have died."""
        before = self._clock() - _FORGOTTEN_MS
        await self._messages.erase({"at": {"$lt": before}})

    def _message(self, job: Document) -> Document:
        return {
            "_id": ObjectId(),
            "jobId": str(job["_id"]),
            "leaseToken": job["leaseToken"],
            "process": job["leaseProcess"],
            "at": self._clock(),
            "_metadata.isDeleted": False,
        }
