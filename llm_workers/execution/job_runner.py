"""One worker's event loop: claim a block, run its jobs, store results."""

import asyncio
import contextlib
import heapq
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from api.models.job_fields import ServiceClass
from api.models.metrics import Metrics
from api.models.worker_models import WorkerConfig
from api.services.limits.claims import LOOK_SECONDS, ClaimGuard
from api.services.queue import job_outcomes
from api.services.queue.cancellations import Canceled
from api.services.queue.job_outcomes import Result, expiry_error
from api.services.queue.job_queue import JobQueue
from api.services.queue.job_work import (
    CanceledJob,
    Claimant,
    ClaimedJob,
    Failed,
    Requeued,
)
from llm_workers.execution.claimed_jobs import ClaimedJobs
from llm_workers.execution.claimer import Claimer
from llm_workers.execution.pipeline import Pipeline
from llm_workers.execution.prefetch import Prefetch
from llm_workers.execution.remembering import Remembering
from llm_workers.results.result_writer import ResultWriter
from utilities.clock import Clock, now_ms
from utilities.cosmos_connector import ObjectId, StoreError
from utilities.tasks import cancel_until_ended

# How often a worker without free places looks for interactive jobs.
_URGENT_POLL_SECONDS = 1.0
# Jobs that are due within one tick are claimed together.
_TICK_SECONDS = 0.1
# Leases that could not be extended are tried again after this part of the
# time that lies between two extensions.
_SOON = 10

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RunnerTimes:
    """A worker's time constants, in seconds.

    Ended calls are gathered for `gather` before the next claim, so that one
    claim fills several slots. Work submitted through another process is
    looked for `first_poll` after the last work, then less and less often,
    down to the worker's `pollInterval`. At the end, results are stored for
    up to `drain`; what is left is in the spool.
    """

    gather: float = 0.01
    first_poll: float = 0.25
    drain: float = 5.0


class JobRunner:
    """Keeps up to `concurrency` jobs of one client running."""

    def __init__(
        self,
        claimant: Claimant,
        client_id: str,
        config: Callable[[], WorkerConfig],
        queue: JobQueue,
        pipeline: Pipeline,
        writer: ResultWriter,
        claims: ClaimGuard,
        clock: Clock = now_ms,
        *,
        times: RunnerTimes | None = None,
        remembering: Remembering | None = None,
    ) -> None:
        self._times = times or RunnerTimes()
        self._claimant = claimant
        self._read_config = config
        self._queue = queue
        self._pipeline = pipeline
        self._writer = writer
        self._clock = clock
        self._running: dict[asyncio.Task[None], ClaimedJob] = {}
        # Claimed for the places that come free next.
        self._ready = ClaimedJobs(time.monotonic)
        self._claimer = Claimer(
            claimant,
            client_id,
            queue,
            claims,
            clock,
            take=self._ready.add,
            look_at=self._remember_due,
            end=self._end_without_call,
            remembering=remembering,
        )
        self._prefetch = Prefetch()
        self._news = asyncio.Event()
        self._stopping = False
        self._may_be_more = self._may_be_urgent = True
        self._looked = 0.0
        self._poll_seconds = self._times.first_poll
        # When jobs that were requeued are due: ticks of `_TICK_SECONDS`.
        self._due: list[int] = []
        # The running jobs that a client has canceled.
        self._canceled: set[ObjectId] = set()
        self._cancelling: set[asyncio.Task[None]] = set()
        self._last_busy = time.monotonic()

    @property
    def idle_seconds(self) -> float:
        """How long nothing has been running; safe from any thread."""
        if self._running:
            return 0.0
        return time.monotonic() - self._last_busy

    def wake(self) -> None:
        """Look for work now; called in the loop's own thread."""
        self._may_be_more = self._may_be_urgent = True
        self._news.set()

    def stop(self) -> None:
        """Take no more work; called in the loop's own thread."""
        self._stopping = True
        self._news.set()

    def cancel(self, canceled: Canceled) -> None:
        """Stop canceled jobs; called in the loop's own thread."""
        for job in [job for job in self._ready if _is_among(job, canceled)]:
            self._ready.remove(job)
            self._writer.put(Result(job, CanceledJob()))
        found = [
            (task, job)
            for task, job in self._running.items()
            if _is_among(job, canceled)
        ]
        if not found:
            return
        self._canceled |= {job.job_id for _, job in found}
        tasks = [task for task, _ in found]
        ending = asyncio.create_task(cancel_until_ended(tasks))
        self._cancelling.add(ending)
        ending.add_done_callback(self._cancelling.discard)

    async def run(self, grace: Callable[[], float]) -> None:
        """Work until stopped, then give running calls `grace()` seconds."""
        try:
            await self._run(grace)
        finally:
            # Whatever ended it: the answers are stored or on disk.
            await cancel_until_ended([*self._running, *self._cancelling])
            await self._writer.close()

    async def _run(self, grace: Callable[[], float]) -> None:
        async with asyncio.TaskGroup() as helpers:
            tasks = [
                helpers.create_task(self._writer.run()),
                helpers.create_task(self._keep_leases()),
            ]
            try:
                await self._work()
                await self._wind_down(grace)
            finally:
                await cancel_until_ended(tasks)

    async def _work(self) -> None:
        while not self._stopping:
            self._start_ready()
            held = len(self._running) + len(self._ready)
            most = self._read_config().concurrency
            free = most - self._ready.kept(most) + self._prefetch.count - held
            if free > 0 and not self._may_be_more:
                self._may_be_more = self._claimer.has_opened()
            may_claim = free > 0 and self._may_be_more
            may_claim |= self._looks_for_urgent(free)
            if may_claim and not self._writer.is_full:
                await self._claim(free)
            else:
                await self._wait_for_news(free)

    async def _claim(self, free: int) -> None:
        """Claim interactive jobs, if there are such, then any."""
        config = self._read_config()
        try:
            if self._looks_for_urgent(free):
                self._may_be_urgent = False
                self._looked = time.monotonic()
                room = self._ready.urgent_room(config.concurrency)
                found = await self._claimer.claim(
                    config, max(room, 0), ServiceClass.INTERACTIVE
                )
                self._may_be_urgent |= bool(found)
                self._start_ready()
            if free > 0 and self._may_be_more:
                await self._claim_any(config, free)
        except StoreError as error:
            log.warning("claim_failed", error=type(error).__name__)

    def _looks_for_urgent(self, free: int) -> bool:
        """Tell whether to claim interactive jobs on their own.

        A worker whose bulk jobs wait for a model claims no others of that
        model. While interactive jobs come, they are looked for at once,
        otherwise now and then.
        """
        if not self._may_be_urgent:
            return False
        if self._ready.are_mixed:
            return self._ready.urgent_room(self._read_config().concurrency) > 0
        if free > 0 and not self._running:
            return False
        return time.monotonic() - self._looked >= LOOK_SECONDS

    async def _claim_any(self, config: WorkerConfig, free: int) -> None:
        self._may_be_more = False
        started = time.monotonic()
        found = await self._claimer.claim(config, free)
        self._prefetch.claimed(started)
        self._may_be_more |= bool(found)
        if found is not None:
            self._poll_seconds = self._times.first_poll

    async def _wait_for_news(self, free: int) -> None:
        self._news.clear()
        try:
            async with asyncio.timeout(self._wait_seconds(free)):
                await self._news.wait()
        except TimeoutError:
            self._may_be_more = self._may_be_urgent = True
            self._poll_seconds = min(
                self._poll_seconds * 2, self._read_config().poll_interval
            )
            return
        if not self._stopping:
            await asyncio.sleep(self._times.gather if self._running else 0)

    def _wait_seconds(self, free: int) -> float | None:
        if free <= 0:
            # A call that ends is the news, or an interactive job.
            mixed = self._ready.are_mixed
            return self._times.first_poll if mixed else _URGENT_POLL_SECONDS
        wait = self._poll_seconds
        now = self._clock() / 1000
        while self._due and self._due[0] * _TICK_SECONDS <= now:
            heapq.heappop(self._due)
            wait = 0.0
        if self._due:
            wait = min(wait, max(self._due[0] * _TICK_SECONDS - now, 0.0))
        return wait

    def _start_ready(self) -> None:
        most = self._read_config().concurrency
        while job := self._ready.next(most):
            task = asyncio.create_task(self._run_one(job))
            self._running[task] = job
            task.add_done_callback(self._ended)

    async def _run_one(self, job: ClaimedJob) -> None:
        structlog.contextvars.bind_contextvars(
            jobId=str(job.job_id), workerId=self._claimant.worker_id
        )
        try:
            outcome = self._expired(job) or await self._pipeline.run(job)
        except asyncio.CancelledError:
            outcome = self._stopped()
        except StoreError as error:
            # The database went away before the call: no answer is lost.
            outcome = Requeued(
                self._clock(), counted=False, reason=type(error).__name__
            )
        except Exception:
            # A defect of ours must end this job only, and be seen.
            log.exception("pipeline_defect")
            outcome = _defect(job)
        result = Result(job, outcome)
        if job.job_id in self._canceled:
            self._canceled.remove(job.job_id)
            result = job_outcomes.as_canceled(result)
        elif isinstance(outcome, Requeued):
            self._remember_due(outcome.available_at / 1000)
        self._writer.put(result)

    def _end_without_call(self, result: Result) -> None:
        if isinstance(result.outcome, Requeued):
            self._remember_due(result.outcome.available_at / 1000)
        self._writer.put(result)

    def _expired(self, job: ClaimedJob) -> Failed | None:
        if job.expires_at is None or job.expires_at > self._clock():
            return None
        paid = job.checkpoint
        error = expiry_error(job.expires_at, paid)
        metrics = Metrics() if paid is None else paid.metrics
        return Failed(error, metrics, counted=False)

    def _stopped(self) -> Requeued:
        return Requeued(
            self._clock(), counted=False, reason="the worker stopped"
        )

    def _ended(self, task: asyncio.Task[None]) -> None:
        if job := self._running.pop(task, None):
            self._ready.ended(job)
        self._last_busy = time.monotonic()
        self._prefetch.ended()
        if not self._stopping:
            self._start_ready()
        self._news.set()

    def _remember_due(self, due: float) -> None:
        tick = math.ceil(due / _TICK_SECONDS)
        if tick not in self._due:
            heapq.heappush(self._due, tick)

    async def _keep_leases(self) -> None:
        third = self._queue.lease_seconds / 3
        wait = third
        while True:
            await asyncio.sleep(wait)
            tokens = {
                job.lease_token
                for job in (
                    *self._running.values(),
                    *self._ready,
                    *(result.job for result in self._writer.pending),
                )
            }
            if not tokens:
                continue
            try:
                # In time to try once more: the line may be dead, and the
                # next try has another one.
                async with asyncio.timeout(third):
                    await self._extend(list(tokens))
            except (StoreError, TimeoutError) as error:
                log.warning("leases_not_extended", error=type(error).__name__)
                wait = third / _SOON
            else:
                wait = third

    async def _extend(self, tokens: list[str]) -> None:
        extended = await self._queue.extend_leases(tokens)
        if extended < len(self._running) + len(self._ready):
            # Somebody has taken one, or its client has canceled it.
            self.cancel(await self._queue.canceled(tokens))

    async def _wind_down(self, grace: Callable[[], float]) -> None:
        while self._ready:
            self._writer.put(Result(self._ready.pop(), self._stopped()))
        began = time.monotonic()
        while self._running:
            # Asked again each time: less may be granted meanwhile.
            left = began + grace() - time.monotonic()
            if left <= 0:
                break
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._news.wait()
        if self._running:
            log.info("jobs_returned", count=len(self._running))
            await cancel_until_ended(self._running)
        await self._writer.drain(self._times.drain)


def _is_among(job: ClaimedJob, canceled: Canceled) -> bool:
    # A later claim of the same job has another token.
    return canceled.get(job.job_id) == job.lease_token


def _defect(job: ClaimedJob) -> Failed:
    error = {
        "errorType": "INTERNAL_ERROR",
        "message": "Metasync failed on this job; the worker's log has the "
        "details. Set it to PENDING to try again.",
    }
    paid = job.checkpoint
    if paid is None:
        return Failed(error)
    return Failed(
        {**error, "failedResponseData": paid.response_json}, paid.metrics
    )
