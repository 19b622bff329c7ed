"""`client.map`: rows become jobs, and jobs become results."""

import contextlib
import logging
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
)
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from metasync import tables
from metasync._async import _io
from metasync._async.jobs import AsyncJobs
from metasync._async.submitting import AsyncSubmitter
from metasync.early_stop import EarlyStop
from metasync.errors import MetasyncError, ResultsError, StatusError
from metasync.jobs import (
    FAILED,
    Job,
)
from metasync.progress import Progress
from metasync.questions import Question
from metasync.requests import Json, dump
from metasync.results import FIELDS, Result, refused, result_of
from metasync.rows import RowError, Source
from metasync.window import Entry, Window

T = TypeVar("T")

_BLOCK = 500
# Well below what a server takes in one request.
_BLOCK_BYTES = 8 * 1024 * 1024
_DELETED = "DELETED"
# Without an end for so long, people want to know why; a request between
# that is silent for longer is often cut off.
_PATIENCE_SECONDS = 20.0

log = logging.getLogger("metasync")


class AsyncResults(Generic[T]):
    """The results of `map`, as they end; each can be had once.

    To leave before the end, `aclose` it, or use it in `async with`:
    jobs that have not begun are canceled then. The results of a list or a
    table are kept, for `all` and the tables; those of an iterator are not.
    """

    def __init__(
        self,
        jobs: AsyncJobs,
        question: Question[T],
        source: Source,
        prepare: Callable[[], Awaitable[str]],
    ) -> None:
        """`prepare` gives the id of the prompt's stored text."""
        self._jobs = jobs
        self._question = question
        self._source = source
        self._options = question.options
        self._prepare = prepare
        self._submitter = AsyncSubmitter(jobs, question)  # type: ignore[arg-type] # it only reads it
        self._window: Window[T] = Window(
            question.options.in_flight, question.options.ordered
        )
        self._progress = Progress(None, shown=False)
        self._common: Json = {}
        self._told: set[str] = set()
        self._kept: list[Result[T]] = []
        self._running = self._run()
        self._all_taken = False
        # Nothing is left with the service that somebody could cancel.
        self._is_over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Result[T]:
        return await self._running.__anext__()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    @property
    def cost(self) -> float:
        """What the results so far have cost."""
        return self._progress.cost

    @property
    def ended(self) -> int:
        """How many rows have a result."""
        return self._progress.ended

    @property
    def failed(self) -> int:
        """How many of them have no answer."""
        return self._progress.failed

    @property
    def batch_key(self) -> str | None:
        """What the jobs can be found by; None before the first result."""
        return self._common.get("batchKey")

    async def aclose(self) -> None:
        """End it; jobs that have not begun are canceled.

        The same call of `map` goes on where this one ended.
        """
        await self._running.aclose()
        self._progress.close()
        await self._cancel_what_waits()

    async def all(self) -> list[Result[T]]:
        """Return all results, in the order of the rows."""
        return sorted(await self._rest(), key=lambda result: result.index)

    async def to_pandas(self, *, usage: bool = False) -> Any:
        """Return a DataFrame: the rows' columns, then the answers'.

        A table comes back with its own columns, types and index. `usage`
        adds the tokens and the cost of each row.
        """
        return tables.to_pandas(await self._answers(usage=usage))

    async def to_polars(self, *, usage: bool = False) -> Any:
        """Return the same as a polars DataFrame."""
        return tables.to_polars(await self._answers(usage=usage))

    async def to_arrow(self, *, usage: bool = False) -> Any:
        """Return the same as a pyarrow Table."""
        return tables.to_arrow(await self._answers(usage=usage))

    async def _answers(self, *, usage: bool) -> tables.Answers:
        results = await self.all()
        form = self._question.form
        return tables.answers(results, self._source.table, form, usage=usage)

    async def _rest(self) -> list[Result[T]]:
        if self._source.total is None and self._progress.ended:
            raise ResultsError(
                "The results of an iterator are not kept: ask for all of "
                "them before the first one, or give map a list or a table"
            )
        rest = [result async for result in self]
        return rest if self._source.total is None else list(self._kept)

    async def _run(self) -> AsyncGenerator[Result[T]]:
        self._progress = Progress(
            self._source.total, shown=self._options.progress
        )
        early_stop = EarlyStop(self._options.give_up_after)
        try:
            async for result in self._results():
                self._progress.add(result)
                if self._source.total is not None:
                    self._kept.append(result)
                await self._check(result, early_stop)
                yield result
        finally:
            self._progress.close()

    async def _check(self, result: Result[T], early_stop: EarlyStop) -> None:
        try:
            if result.error and self._options.on_error == "raise":
                raise result.error
            early_stop.watch(result)
        except MetasyncError:
            await self._cancel_what_waits()
            raise

    async def _cancel_what_waits(self) -> None:
        if self._is_over or self.batch_key is None:
            return
        self._is_over = True
        with contextlib.suppress(StatusError):
            await self._jobs.cancel_all(
                batch_key=self.batch_key, status="PENDING"
            )

    async def _results(self) -> AsyncIterator[Result[T]]:
        prompt_id = await self._prepare()
        common = self._question.jobs_fields(prompt_id)
        batch_key = self._question.batch_key(common)
        self._common = {"batchKey": batch_key, **common}
        entries = self._entries()
        while True:
            await self._fill(entries)
            ready = list(self._window.ready())
            for result in ready:
                yield result
            if not self._window.open_ids and self._all_taken and not ready:
                self._is_over = True
                return
            if not ready and self._window.open_ids:
                await self._gather()

    async def _entries(self) -> AsyncIterator[Entry | None]:
        """Give the rows as jobs; None where one has its result at once."""
        async for row in _io.each(self._source.rows()):
            index = self._window.take()
            try:
                job = self._question.job(self._common, row)
                yield Entry(index, row, job, len(dump(job)))
            except (RowError, ValueError) as error:
                self._window.add([refused(index, row, str(error))])
                yield None
        self._all_taken = True

    async def _fill(self, entries: AsyncIterator[Entry | None]) -> None:
        """Submit rows if there is room for a block that is worth it."""
        window = self._window
        worth = min(_BLOCK, max(1, self._options.in_flight // 4))
        if self._all_taken or (window.open_ids and window.room < worth):
            return
        block: list[Entry] = []
        size = 0
        left = min(window.room, _BLOCK)
        while left and size < _BLOCK_BYTES:
            left -= 1
            try:
                entry = await anext(entries)
            except StopAsyncIteration:
                break
            if entry is not None:
                block.append(entry)
                size += entry.size
        if block:
            await self._submit(block)

    async def _submit(self, block: list[Entry]) -> None:
        again = []
        for entry, job in await self._submitter.submit(block):
            if isinstance(job, str):
                self._window.add([refused(entry.index, entry.row, job)])
                continue
            self._window.submitted(job.job_id, entry)
            if self._is_tried_again(job):
                again.append(job.job_id)
            elif job.has_ended:
                self._end(job)
        if again:
            await self._set_pending(list(dict.fromkeys(again)))

    def _is_tried_again(self, job: Job) -> bool:
        # It failed in an earlier run.
        return (
            job.status == FAILED
            and self._options.retry_failed
            and not self._window.has_failed(job.job_id)
        )

    async def _set_pending(self, job_ids: list[str]) -> None:
        try:
            await self._jobs.set_status(job_ids, "PENDING")
        except StatusError:
            # All or none: another program has set one of them already.
            for job_id in job_ids:
                with contextlib.suppress(StatusError):
                    await self._jobs.retry(job_id)

    async def _gather(self) -> None:
        found = await self._jobs.gather(
            self._window.open_ids, _PATIENCE_SECONDS, FIELDS
        )
        for job in found.jobs:
            self._end(job)
        for job_id in found.unknown:
            self._end(Job(job_id=job_id, status=_DELETED))
        if not found.jobs and not found.unknown:
            await self._look_for_trouble()

    def _end(self, job: Job) -> None:
        form = self._question.form
        if job.status == FAILED:
            self._window.remember_failure(job.job_id)
        self._window.add(
            result_of(entry.index, entry.row, job, form)
            for entry in self._window.ended(job.job_id)
        )

    async def _look_for_trouble(self) -> None:
        """Say, once each, why nothing has ended for half a minute."""
        with contextlib.suppress(StatusError):
            job = await self._jobs.get(self._window.open_ids[0])
            history, waiting = job.attempt_history, job.waiting_for
            trouble = history[-1].reason if history else None
            if waiting is not None:
                why = waiting.detail or trouble
                trouble = f"{waiting.kind}: {why}" if why else waiting.kind
            if trouble and trouble not in self._told:
                self._told.add(trouble)
                log.warning("jobs wait: %s", trouble)
                self._progress.tell(f"Jobs wait: {trouble}")
