"""What a worker holds beyond its places; the rest is tested as a whole."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from bson import ObjectId

from api.models.job_fields import ServiceClass
from api.models.metrics import Metrics
from api.models.worker_models import WorkerConfig
from api.services.limits.claims import ClaimGuard
from api.services.queue.cancellations import Canceled
from api.services.queue.job_outcomes import Result
from api.services.queue.job_queue import JobQueue
from api.services.queue.job_work import (
    CanceledJob,
    Claimant,
    ClaimedJob,
    Failed,
    Requeued,
    Succeeded,
)
from llm_sdks.resilience.model_gate import ModelGates
from llm_workers.execution.job_runner import JobRunner
from llm_workers.execution.pipeline import Pipeline
from llm_workers.results.result_writer import ResultWriter

CONCURRENCY = 2


def _job() -> ClaimedJob:
    return ClaimedJob(ObjectId(), "c", "token", 1, "m", (), 0.0, "{}")


class _Rig:
    """Gives more jobs than there are places, and ends them when told."""

    def __init__(self, jobs: int) -> None:
        self.waiting = [_job() for _ in range(jobs)]
        self.urgent: list[ClaimedJob] = []
        self.begun: Callable[[ClaimedJob], None] = lambda _: None
        self.given = asyncio.Event()
        self.running: list[asyncio.Event] = []
        self.results: list[Result] = []
        self.pending: list[Result] = []
        self.closed = False
        self.canceled_now: Canceled = {}
        self.runner = JobRunner(
            Claimant("p", "w"),
            "c",
            lambda: WorkerConfig(
                poll_interval=1, max_items_per_batch=CONCURRENCY
            ),
            cast("JobQueue", self),
            cast("Pipeline", SimpleNamespace(run=self._answer)),
            cast(
                "ResultWriter",
                SimpleNamespace(
                    put=self.results.append,
                    run=self._forever,
                    drain=self._drained,
                    pending=self.pending,
                    is_full=False,
                    close=self._closed,
                ),
            ),
            ClaimGuard(ModelGates()),
        )

    lease_seconds = 30.0

    async def extend_leases(self, _tokens: object) -> int:
        return CONCURRENCY - len(self.canceled_now)

    async def canceled(self, _tokens: object) -> Canceled:
        return self.canceled_now

    async def claim(self, *given: object) -> Sequence[ClaimedJob]:
        if given[-1] is ServiceClass.INTERACTIVE:
            urgent, self.urgent = self.urgent, []
            return urgent
        # As if a great many were expected to end during the claim.
        jobs, self.waiting = self.waiting, []
        self.given.set()
        return jobs

    async def _answer(self, job: ClaimedJob) -> Succeeded:
        self.begun(job)
        self.running.append(may_end := asyncio.Event())
        await may_end.wait()
        return Succeeded("{}", Metrics())

    async def _forever(self) -> None:
        await asyncio.Event().wait()

    async def _closed(self) -> None:
        self.closed = True

    async def _drained(self, _seconds: float) -> bool:
        return True


async def _run(rig: _Rig) -> "asyncio.Task[Any]":
    task = asyncio.create_task(rig.runner.run(lambda: 0.0))
    await rig.given.wait()
    await _until(lambda: len(rig.running) == CONCURRENCY)
    return task


async def _until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - looks from outside
            await asyncio.sleep(0.001)


async def test_no_more_run_than_there_are_places() -> None:
    rig = _Rig(jobs=5)
    task = await _run(rig)
    await asyncio.sleep(0)
    assert len(rig.running) == CONCURRENCY
    rig.running[0].set()
    await _until(lambda: len(rig.running) == CONCURRENCY + 1)
    rig.runner.stop()
    await task


async def test_what_is_claimed_ahead_goes_back_when_the_worker_stops() -> None:
    rig = _Rig(jobs=5)
    task = await _run(rig)
    rig.runner.stop()
    await task
    assert len(rig.results) == 5
    for result in rig.results:
        assert isinstance(result.outcome, Requeued)
        assert not result.outcome.counted


async def test_a_job_that_has_expired_is_not_started() -> None:
    rig = _Rig(jobs=CONCURRENCY)
    rig.waiting.append(replace(_job(), expires_at=1))
    task = await _run(rig)
    rig.running[0].set()
    await _until(lambda: len(rig.results) == 2)
    expired = rig.results[1].outcome
    assert isinstance(expired, Failed)
    assert expired.error["errorType"] == "EXPIRED"
    assert not expired.counted
    assert len(rig.running) == CONCURRENCY
    rig.runner.stop()
    await task


class Clock:
    """Milliseconds, which pass when the test says so."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def runner(clock: Clock) -> JobRunner:
    nothing: Any = None
    return JobRunner(
        Claimant("process", "worker"),
        "client",
        lambda: WorkerConfig(poll_interval=10, max_items_per_batch=50),
        nothing,
        nothing,
        nothing,
        ClaimGuard(ModelGates()),
        clock,
    )


def test_every_job_that_was_put_back_is_looked_for_when_it_is_due(
    runner: JobRunner, clock: Clock
) -> None:
    runner._poll_seconds = 10
    for due in (3.0, 1.0, 2.0, 1.02, 1.04):
        runner._remember_due(due)
    waits = []
    for _ in range(8):
        wait = runner._wait_seconds(free=1)
        assert wait is not None
        waits.append(round(wait, 3))
        clock.now += round(wait * 1000)
    # A wait of 0 claims what is due; those of one tick go together.
    assert waits == [1.0, 0.0, 0.1, 0.0, 0.9, 0.0, 1.0, 0.0]
    assert runner._wait_seconds(free=1) == 10


def test_without_a_free_place_only_interactive_jobs_are_looked_for(
    runner: JobRunner,
) -> None:
    runner._remember_due(0.0)
    assert runner._wait_seconds(free=0) == 1.0


async def test_a_full_worker_claims_interactive_jobs_which_begin_next() -> (
    None
):
    rig = _Rig(jobs=6)
    begun: list[ClaimedJob] = []
    rig.begun = begun.append
    task = await _run(rig)
    person = replace(_job(), service_class=ServiceClass.INTERACTIVE)
    rig.urgent.append(person)
    rig.runner.wake()
    await _until(lambda: not rig.urgent)
    rig.running[0].set()
    await _until(lambda: len(begun) == CONCURRENCY + 1)
    assert begun[-1] is person
    # The next place is kept for another one, now that they come.
    rig.running[-1].set()
    rig.urgent.append(replace(person, job_id=ObjectId()))
    rig.runner.wake()
    await _until(lambda: len(begun) == CONCURRENCY + 2)
    assert begun[-1].service_class is ServiceClass.INTERACTIVE
    rig.runner.stop()
    await task


async def test_a_canceled_job_is_stopped_and_its_place_is_used() -> None:
    rig = _Rig(jobs=CONCURRENCY + 2)
    jobs = list(rig.waiting)
    task = await _run(rig)
    gone = {jobs[0].job_id: "token", jobs[2].job_id: "token"}
    stale = {jobs[1].job_id: "the token of an earlier claim"}
    rig.runner.cancel({**gone, **stale})
    await _until(lambda: len(rig.running) == CONCURRENCY + 1)
    assert {each.job.job_id for each in rig.results} == set(gone)
    assert {type(each.outcome) for each in rig.results} == {CanceledJob}
    rig.runner.stop()
    await task


async def test_a_lease_that_is_not_extended_tells_of_a_cancellation() -> None:
    rig = _Rig(jobs=CONCURRENCY)
    rig.lease_seconds = 0.03
    first = rig.waiting[0]
    task = await _run(rig)
    rig.canceled_now = {first.job_id: first.lease_token}
    await _until(lambda: len(rig.results) == 1)
    assert rig.results[0] == Result(first, CanceledJob())
    rig.runner.stop()
    await task
