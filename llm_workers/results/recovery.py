"""Stores what dead processes have left on disk, and returns their jobs."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import structlog

from api.services.keeping.erasure import ErasedClients
from api.services.queue.job_outcomes import Result
from api.services.queue.job_queue import JobQueue
from api.services.queue.worker_leases import WorkerLeases
from llm_workers.results.judgement import Judged, store_each
from llm_workers.results.spool import UNREADABLE, Spool, append_lines, encode
from utilities.cosmos_connector import StoreError
from utilities.tasks import Loop

_EVERY_SECONDS = 1.0
_BLOCK = 100

_Found = Iterator[tuple[Path, Sequence[Result]]]

log = structlog.get_logger(__name__)


class SpoolRecovery(Loop):
    """Looks for the directories of dead processes on the same disk."""

    name = "recovery"
    vital = False

    def __init__(
        self,
        spool: Spool,
        queue: JobQueue,
        leases: WorkerLeases,
        erased: ErasedClients,
        every_seconds: float = _EVERY_SECONDS,
        settle: Callable[[str], Awaitable[object]] | None = None,
    ) -> None:
        super().__init__()
        self._spool = spool
        self._queue = queue
        self._leases = leases
        self._erased = erased
        self._every_seconds = every_seconds
        self._settle = settle

    async def run(self) -> None:
        """Check repeatedly until stopped."""
        self.attach()
        while not self.stopping:
            try:
                await self._recover_all()
            except StoreError as error:
                # It stays on disk until the database is back.
                log.warning("recovery_waits", error=type(error).__name__)
            await self.pause(self._every_seconds)

    async def _recover_all(self) -> None:
        found = self._spool.recover()
        try:
            while True:
                directory, results = await asyncio.to_thread(next, found, _END)
                if directory is None:
                    return
                await self._recover(directory, results)
        finally:
            _close(found)

    async def _recover(
        self, directory: Path, results: Sequence[Result]
    ) -> None:
        judged = await self._store(await self._wanted(results))
        if judged.lost:
            await asyncio.to_thread(
                append_lines,
                directory.parent.parent / UNREADABLE,
                directory.name,
                [encode(result) for result in judged.lost],
            )
        # The answers first: they need their leases.
        process = directory.name
        returned, ended = await self._queue.return_of_process(process)
        await self._leases.release_all(process)
        if self._settle is not None:
            await self._settle(process)
        await asyncio.to_thread(self._spool.discard, directory)
        log.warning(
            "dead_process_recovered",
            process=process,
            resultsFound=len(results),
            resultsTaken=judged.taken,
            jobsReturned=returned,
            jobsEnded=ended,
        )

    async def _wanted(self, results: Sequence[Result]) -> Sequence[Result]:
        """Leave out what belongs to clients that are erased."""
        erased = await self._erased.among({r.job.client_id for r in results})
        return [r for r in results if r.job.client_id not in erased]

    async def _store(self, results: Sequence[Result]) -> Judged:
        judged = Judged()
        for start in range(0, len(results), _BLOCK):
            block = results[start : start + _BLOCK]
            # One try: these are not kept in memory for another one.
            judged += await store_each(self._queue, block, patient=False)
        return judged


_END: tuple[None, Sequence[Result]] = (None, ())


def _close(found: _Found) -> None:
    # Releases the lock of the directory at which it has stopped.
    close = getattr(found, "close", None)
    if close is not None:
        close()
