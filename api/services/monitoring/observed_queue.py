"""The job queue, with somebody watching; its rules are `JobQueue`'s."""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from api.services.monitoring.observer import Observer
from api.services.queue.job_outcomes import Result
from api.services.queue.job_queue import JobQueue
from api.services.queue.job_work import ClaimedJob
from utilities.cosmos_connector import BulkWriteError, Documents, StoreError

T = TypeVar("T")


class ObservedJobQueue(JobQueue):
    """Reports every claim, store and returned lease to an observer.

    Arguments are passed on as they come: what they are is the business of
    `JobQueue` alone.
    """

    def __init__(
        self,
        documents: Documents,
        observer: Observer,
        **options: Any,  # noqa: ANN401 - see above
    ) -> None:
        super().__init__(documents, **options)
        self._observer = observer

    async def claim(self, *args: Any, **options: Any) -> list[ClaimedJob]:  # noqa: ANN401 - see above
        """Claim, and tell how many and how long it took."""
        jobs, seconds = await self._timed(
            "claim",
            lambda: super(ObservedJobQueue, self).claim(*args, **options),
        )
        self._observer.claimed(len(jobs), seconds)
        return jobs

    async def store(self, *args: Any, **options: Any) -> int:  # noqa: ANN401 - see above
        """Store, and tell what, and how long it took."""
        (results,) = args
        try:
            taken, seconds = await self._timed(
                "store",
                lambda: super(ObservedJobQueue, self).store(*args, **options),
            )
        except BulkWriteError as error:
            self._tell_accepted(results, error)
            raise
        self._observer.stored(taken, len(results) - taken, seconds)
        # If none was taken, other processes report all of them.
        for result in results if taken else ():
            self._observer.job_ended(result.job, result.outcome)
        return taken

    def _tell_accepted(
        self, results: Sequence[Result], error: BulkWriteError
    ) -> None:
        """Report the results that were stored although others were not."""
        problems = error.details.get("writeErrors") or []
        refused = {problem["index"] for problem in problems}
        taken = error.details.get("nMatched", 0)
        for index, result in enumerate(results if taken else ()):
            if index not in refused:
                self._observer.job_ended(result.job, result.outcome)

    async def extend_leases(self, *args: Any, **options: Any) -> int:  # noqa: ANN401 - see above
        """Extend leases, and tell if that failed."""
        extended, _ = await self._timed(
            "extend",
            lambda: super(ObservedJobQueue, self).extend_leases(
                *args, **options
            ),
        )
        return extended

    async def return_expired(self) -> tuple[int, int]:
        """Return what has expired, and tell how much that was."""
        returned, ended = await super().return_expired()
        self._observer.taken_over(returned, ended)
        return returned, ended

    async def return_of_process(self, process_id: str) -> tuple[int, int]:
        """Return a dead process's jobs, and tell how many."""
        returned, ended = await super().return_of_process(process_id)
        self._observer.taken_over(returned, ended)
        return returned, ended

    async def _timed(
        self, operation: str, run: Callable[[], Awaitable[T]]
    ) -> tuple[T, float]:
        started = time.perf_counter()
        try:
            done = await run()
        except StoreError:
            self._observer.store_failed(operation)
            raise
        return done, time.perf_counter() - started
