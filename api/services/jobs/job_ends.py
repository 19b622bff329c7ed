"""Lets requests wait until their jobs end.

However many wait, one query at a time asks for all of them: soon after a
job has ended in this process, and otherwise every second, for those that
end in others.
"""

import asyncio
import time
from collections.abc import Collection, Sequence

import structlog

from api.models.job_models import Job
from api.models.job_status import CANCELABLE, has_ended
from utilities.cosmos_connector import Documents, ObjectId, StoreError
from utilities.signals import JOBS_ENDED, Signals
from utilities.slices import blocks
from utilities.tasks import Loop

_EVERY_SECONDS = 1.0
# Ends are gathered for this time. After a question, there is a pause of this
# many times what it took, so that the database has time for others: a long
# one if that is short, since a question that was slow for other reasons must
# not keep everybody waiting.
_GATHER_SECONDS = 0.02
_PAUSE_TIMES, _LONG_PAUSE_SECONDS, _PAUSE_TIMES_AT_LEAST = 20, 0.2, 3
_AT_ONCE = 500
_DELETED_SECONDS = 1.0
# More would slow each look for the others down.
_MOST_WAITED, _FULL_SECONDS = 50_000, 1.0

log = structlog.get_logger(__name__)


class JobEnds(Loop):
    """Knows who waits for which job, in the loop of the requests."""

    name = "jobEnds"
    vital = False

    def __init__(
        self,
        documents: Documents,
        signals: Signals,
        every_seconds: float = _EVERY_SECONDS,
        *,
        going_on: Collection[str] = CANCELABLE,
        topic: str = JOBS_ENDED,
        name: str = "jobEnds",
    ) -> None:
        """Take the statuses that are no ends, and where ends are told."""
        super().__init__()
        self.name = name
        self._going_on = going_on
        self._topic = topic
        self._documents = documents
        self._signals = signals
        self._every_seconds = every_seconds
        self._waiting: dict[ObjectId, list[asyncio.Future[None]]] = {}
        self._released = False
        self._deleted_sought = 0.0
        self._count = 0

    async def wait(self, job: Job, seconds: float) -> None:
        """Return when the job has ended, or after this time."""
        if not has_ended(job.status):
            await self.wait_for(job.job_id, seconds)

    async def wait_for(self, item_id: str, seconds: float) -> None:
        """Do so for what was seen going on, by its id."""
        await self.wait_for_any([item_id], seconds)

    async def wait_for_any(
        self, item_ids: Sequence[str], seconds: float
    ) -> None:
        """Return when the first of these has ended, or after this time."""
        if self._released:
            return
        if self._count + len(item_ids) > _MOST_WAITED:
            # They are not looked for: who waits has to ask again.
            await asyncio.sleep(min(seconds, _FULL_SECONDS))
            return
        await self._wait_for([ObjectId(each) for each in item_ids], seconds)

    async def _wait_for(self, ids: Sequence[ObjectId], seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        self._count += len(ids)
        for job_id in ids:
            self._waiting.setdefault(job_id, []).append(future)
        # One may have ended since it was read.
        self.wake()
        try:
            await asyncio.wait({future}, timeout=seconds)
        finally:
            self._count -= len(ids)
            for job_id in ids:
                self._forget(job_id, future)

    def release(self) -> None:
        """Let nobody wait any longer: the process ends."""
        self._released = True
        for job_id in list(self._waiting):
            self._end(job_id)

    async def run(self) -> None:
        """Look for ends until stopped."""
        self.attach()
        self._signals.subscribe(self._topic, self._hear)
        try:
            while not self.stopping:
                await self.pause(self._every_seconds)
                if self._waiting:
                    await self._look()
        finally:
            self._signals.unsubscribe(self._topic, self._hear)

    def _hear(self) -> None:
        # Called on any thread.
        if self._waiting:
            self.wake_safely()

    async def _look(self) -> None:
        await asyncio.sleep(_GATHER_SECONDS)
        began = time.monotonic()
        try:
            for block in blocks(list(self._waiting), _AT_ONCE):
                for job_id in await self._ended(block):
                    self._end(job_id)
            if began >= self._deleted_sought + _DELETED_SECONDS:
                self._deleted_sought = began
                await self._end_deleted()
        except StoreError as error:
            log.info("job_ends_not_read", error=type(error).__name__)
        await asyncio.sleep(_pause_after(time.monotonic() - began))

    async def _ended(self, ids: Sequence[ObjectId]) -> list[ObjectId]:
        # "Not in", so that no server goes by an index of the status.
        where = {
            "_id": {"$in": list(ids)},
            "status": {"$nin": list(self._going_on)},
        }
        found = await self._documents.find(where, fields=["_id"])
        return [job["_id"] for job in found]

    async def _end_deleted(self) -> None:
        """Let nobody wait for what was deleted; few are."""
        for block in blocks(list(self._waiting), _AT_ONCE):
            found = await self._documents.find_all(
                {"_id": {"$in": list(block)}, "_metadata.isDeleted": True},
                ["_id"],
            )
            for job in found:
                self._end(job["_id"])

    def _end(self, job_id: ObjectId) -> None:
        for future in self._waiting.pop(job_id, ()):
            if not future.done():
                future.set_result(None)

    def _forget(self, job_id: ObjectId, future: asyncio.Future[None]) -> None:
        futures = self._waiting.get(job_id, [])
        if future in futures:
            futures.remove(future)
            if not futures:
                del self._waiting[job_id]


def _pause_after(took: float) -> float:
    long = min(took * _PAUSE_TIMES, _LONG_PAUSE_SECONDS)
    return max(long, took * _PAUSE_TIMES_AT_LEAST)
