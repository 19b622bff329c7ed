"""Stores results in bulk, some tens of milliseconds at a time.

While the database is away, results wait in memory and in the spool; no
answer that was paid for is thrown away.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from api.services.queue.job_outcomes import Result
from api.services.queue.job_queue import JobQueue
from api.services.queue.job_work import Failed, Requeued, Succeeded
from llm_workers.results.judgement import store_each
from llm_workers.results.spool import SpoolFile, encode
from utilities.cosmos_connector import ObjectId, StoreError
from utilities.tasks import cancel_until_ended

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WriterTimes:
    """How long the writer waits, in seconds.

    `gather` is how long results are collected for one bulk; a database
    that takes longer than `slow` may be gone, so the answers go to disk.
    """

    gather: float = 0.03
    first_retry: float = 0.1
    last_retry: float = 2.0
    slow: float = 1.0


@dataclass(frozen=True, slots=True)
class WriterLimits:
    """How much is stored at once, and how much may wait.

    While more waits than `results` or `characters`, the worker claims no
    jobs. After `tries` an error that should have passed is a refusal.
    """

    # Others wait while the embedded database stores a batch.
    at_once: int = 200
    results: int = 2_000
    characters: int = 64 * 1024 * 1024
    tries: int = 10


class ResultWriter:
    """One worker's buffer of results, emptied by its own task."""

    def __init__(
        self,
        queue: JobQueue,
        spool: SpoolFile,
        times: WriterTimes | None = None,
        limits: WriterLimits | None = None,
    ) -> None:
        self._queue = queue
        self._spool = spool
        self._times = times or WriterTimes()
        self._limits = limits or WriterLimits()
        self._buffer: list[Result] = []
        self._characters = 0
        self._tries: Counter[ObjectId] = Counter()
        self._filled = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._saving = asyncio.Lock()
        # The results that are in the spool's file now.
        self._spooled: tuple[Result, ...] = ()

    @property
    def pending(self) -> Sequence[Result]:
        """The results that are not stored yet."""
        return self._buffer

    @property
    def is_full(self) -> bool:
        """Whether so much waits that no more work should be claimed."""
        return (
            len(self._buffer) > self._limits.results
            or self._characters > self._limits.characters
        )

    def put(self, result: Result) -> None:
        """Take a result; returns at once."""
        self._buffer.append(result)
        self._characters += _size(result)
        self._empty.clear()
        self._filled.set()

    async def run(self) -> None:
        """Store what comes, until cancelled."""
        wait = self._times.first_retry
        while True:
            await self._filled.wait()
            if len(self._buffer) < self._limits.at_once:
                await asyncio.sleep(self._times.gather)
            try:
                all_well = await self._store_some()
            except StoreError as error:
                # Whatever the server's reason: the answers are kept.
                await self._keep_on_disk(type(error).__name__)
                all_well = False
            if all_well:
                wait = self._times.first_retry
                continue
            await asyncio.sleep(wait)
            wait = min(wait * 2, self._times.last_retry)

    async def drain(self, seconds: float) -> bool:
        """Wait until everything is stored; False if it took too long."""
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Write to the spool what could not be stored; log where it is.

        For the end, when nothing is stored any more.
        """
        if not self._buffer:
            return
        count = len(self._buffer)
        if await self._save():
            log.warning("results_left_in_spool", count=count)
        else:
            log.error("results_lost", count=count)

    async def _store_some(self) -> bool:
        """Store the first results; tell whether none has to be repeated."""
        batch = self._buffer[: self._limits.at_once]
        storing = asyncio.create_task(self._store(batch))
        try:
            while not storing.done():
                await asyncio.wait({storing}, timeout=self._times.slow)
                if not storing.done():
                    # Also what came since the last time.
                    await self._keep_on_disk("slow")
        finally:
            await cancel_until_ended([storing])
        later = storing.result()
        self._forget(batch, later)
        if not self._buffer:
            self._filled.clear()
            await self._clear_spool()
            self._settle()
        return not later

    def _settle(self) -> None:
        if not self._buffer:
            self._empty.set()

    async def _store(self, batch: list[Result]) -> Sequence[Result]:
        """Store a batch; return what has to be tried again."""
        worn_out = [r for r in batch if self._is_worn_out(r)]
        fresh = [r for r in batch if not self._is_worn_out(r)]
        judged = await store_each(self._queue, fresh)
        judged += await store_each(self._queue, worn_out, patient=False)
        for result in judged.later:
            self._tries[result.job.job_id] += 1
        if judged.lost:
            await self._keep_aside(judged.lost)
        settled = len(batch) - len(judged.later) - len(judged.lost)
        if judged.taken < settled:
            # Another worker has the job by now, or somebody deleted it.
            log.warning("results_not_taken", count=settled - judged.taken)
        return judged.later

    def _is_worn_out(self, result: Result) -> bool:
        return self._tries[result.job.job_id] >= self._limits.tries

    def _forget(self, batch: list[Result], later: Sequence[Result]) -> None:
        del self._buffer[: len(batch)]
        # Retried results do not delay others: they go to the end.
        self._buffer += later
        repeated = {id(result) for result in later}
        for result in batch:
            if id(result) not in repeated:
                self._characters -= _size(result)
                self._tries.pop(result.job.job_id, None)

    async def _keep_on_disk(self, why: str) -> None:
        if self._spooled == tuple(self._buffer):
            return
        log.warning(
            "results_wait_for_database", count=len(self._buffer), why=why
        )
        await self._save()

    async def _save(self) -> bool:
        """Write all that waits to the spool; False if that failed."""
        async with self._saving:
            waiting = tuple(self._buffer)
            if self._spooled == waiting:
                return True
            try:
                await asyncio.to_thread(_write, self._spool, waiting)
            except OSError:
                # A full disk, say: the answers wait in memory.
                log.exception("spool_not_written", count=len(waiting))
                return False
            self._spooled = waiting
            return True

    async def _clear_spool(self) -> None:
        async with self._saving:
            if self._spooled:
                await asyncio.to_thread(self._spool.clear)
                self._spooled = ()

    async def _keep_aside(self, results: Sequence[Result]) -> None:
        try:
            await asyncio.to_thread(self._spool.keep_aside, results)
        except OSError:
            log.exception("results_lost", count=len(results))


def _size(result: Result) -> int:
    match result.outcome:
        case Succeeded() as answer:
            return len(answer.response_json)
        case Failed() as failed:
            return len(str(failed.error.get("failedResponseData", "")))
        case Requeued(checkpoint=Succeeded() as done):
            return len(done.response_json)
    return 0


def _write(spool: SpoolFile, results: Sequence[Result]) -> None:
    try:
        spool.write(results)
    except ValueError:
        # One of them cannot be written as JSON; the others can.
        spool.write([result for result in results if _is_writable(result)])


def _is_writable(result: Result) -> bool:
    try:
        encode(result)
    except ValueError:
        log.exception("result_not_spooled", jobId=str(result.job.job_id))
        return False
    return True
