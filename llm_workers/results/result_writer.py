"""Stores results in bulk, some tens of milliseconds at a time.

While the database is away, results wait in memory and in the spool; no
answer that was paid for is thrown away.
"""

import asyncio
from collections.abc import Sequence

import structlog

from api.models.metrics import Metrics
from api.services.queue.job_outcomes import Result
from api.services.queue.job_queue import JobQueue
from api.services.queue.job_work import Failed, Outcome, Requeued
from llm_workers.results.spool import SpoolFile
from utilities.cosmos_connector import BSONError, DocumentTooLarge, StoreError
from utilities.payload import PayloadError

_GATHER_SECONDS = 0.03
_FIRST_RETRY_SECONDS = 0.1
_LAST_RETRY_SECONDS = 2.0
# Others wait while the embedded database stores a batch.
_MOST_AT_ONCE = 100
# A database that takes longer may be gone: the answers go to disk.
_SLOW_SECONDS = 1.0

# What the driver raises for a document that it will never send.
_NOT_STORABLE = (DocumentTooLarge, BSONError, OverflowError, PayloadError)

log = structlog.get_logger(__name__)


class ResultWriter:
    """One worker's buffer of results, emptied by its own task."""

    def __init__(self, queue: JobQueue, spool: SpoolFile) -> None:
        self._queue = queue
        self._spool = spool
        self._buffer: list[Result] = []
        self._filled = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._spooled = False

    @property
    def pending(self) -> Sequence[Result]:
        """The results that are not stored yet."""
        return self._buffer

    def put(self, result: Result) -> None:
        """Take a result; returns at once."""
        self._buffer.append(result)
        self._empty.clear()
        self._filled.set()

    async def run(self) -> None:
        """Store what comes, until cancelled."""
        wait = _FIRST_RETRY_SECONDS
        while True:
            await self._filled.wait()
            if len(self._buffer) < _MOST_AT_ONCE:
                await asyncio.sleep(_GATHER_SECONDS)
            try:
                await self._store_some()
            except StoreError as error:
                # Whatever the server's reason: the answers are kept.
                self._keep_on_disk(type(error).__name__)
                await asyncio.sleep(wait)
                wait = min(wait * 2, _LAST_RETRY_SECONDS)
            else:
                wait = _FIRST_RETRY_SECONDS

    async def drain(self, seconds: float) -> bool:
        """Wait until everything is stored; False if it took too long."""
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True

    async def _store_some(self) -> None:
        batch = self._buffer[:_MOST_AT_ONCE]
        storing = asyncio.create_task(self._store(batch))
        await asyncio.wait({storing}, timeout=_SLOW_SECONDS)
        if not storing.done():
            self._keep_on_disk("slow")
        await storing
        del self._buffer[: len(batch)]
        if not self._buffer:
            self._filled.clear()
            self._empty.set()
            if self._spooled:
                self._spool.clear()
                self._spooled = False

    async def _store(self, batch: list[Result]) -> None:
        try:
            taken = await self._queue.store(batch)
        except _NOT_STORABLE:
            # One of them cannot be stored at all: find out which.
            for result in batch:
                await self._store_one(result)
            return
        if taken < len(batch):
            # Another worker has the job by now, or somebody deleted it.
            log.warning("results_not_taken", count=len(batch) - taken)

    async def _store_one(self, result: Result) -> None:
        try:
            await self._queue.store([result])
        except _NOT_STORABLE as error:
            log.exception("result_not_storable", jobId=str(result.job.job_id))
            failed = _unstorable(result.outcome, error)
            await self._queue.store([Result(result.job, failed)])

    def _keep_on_disk(self, why: str) -> None:
        log.warning(
            "results_wait_for_database",
            count=len(self._buffer),
            why=why,
        )
        # A blocking write on purpose: the answers come first. It happens
        # only while the database is away.
        try:
            self._spool.write(self._buffer)
            self._spooled = True
        except OSError:
            # A full disk, say: the answers wait in memory.
            log.exception("spool_not_written", count=len(self._buffer))


def _unstorable(outcome: Outcome, error: Exception) -> Failed:
    metrics = Metrics() if isinstance(outcome, Requeued) else outcome.metrics
    return Failed(
        {
            "errorType": "RESULT_NOT_STORABLE",
            "message": "The answer cannot be stored: "
            f"{type(error).__name__}. It may be larger than the database "
            "takes in one document.",
        },
        metrics,
    )
