"""A model of a job's life, beside the real store: they must agree.

Hypothesis makes up histories of claims, late and repeated answers, dead
workers, and people who interfere; after each step every job of the store
must be what the model says it is.
"""

import asyncio
import tempfile
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from api.core.errors import NotFoundError, TransitionError
from api.models.job_models import Job
from api.models.job_status import JobStatus, allowed_targets
from api.models.job_update_models import JobUpdate
from api.models.metrics import Metrics
from api.services.jobs.job_filter import JobFilter
from api.services.queue.job_outcomes import Result
from api.services.queue.job_work import (
    Claimant,
    ClaimedJob,
    Failed,
    Requeued,
    Succeeded,
)
from api.services.shared.caller import Caller
from api.services.shared.paging import PageRequest
from tests.support.examples import examples
from tests.support.store import IN_MEMORY, Store, open_store

ADMIN = Caller(is_admin=True)
MAX_ATTEMPTS, LEASE_MS, MOST_JOBS = 3, 30_000, 5
S = JobStatus
T = TypeVar("T")
claimants = st.sampled_from(
    [Claimant(process, "w") for process in ("p", "q", "r")]
)


@dataclass
class Expected:
    """What the model knows of one job."""

    status: JobStatus = S.PENDING
    attempts: int = 0
    # Whose answer would be taken.
    token: str | None = None
    process: str | None = None
    lease_end: int = 0
    available_at: int = 0
    result: str | None = None
    deleted: bool = False


class JobLife(RuleBasedStateMachine):
    """Rules that happen to the store and to the model alike."""

    address: ClassVar[str]
    claims = Bundle("claims")
    ids = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.jobs: dict[str, Expected] = {}
        self.answers = 0

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @initialize(target=ids)
    def open(self) -> Any:
        scratch = self.stack.enter_context(tempfile.TemporaryDirectory())
        opening = open_store(self.address, Path(scratch))
        self.store: Store = self.do(self.stack.enter_async_context(opening))
        made = self.do(self.store.submit(3))
        self.jobs = {job_id: Expected() for job_id in made}
        return multiple(*made)

    def teardown(self) -> None:
        self.do(self.stack.aclose())
        self.runner.close()

    @property
    def now(self) -> int:
        return self.store.time.now

    # Few jobs with long lives: that is where stale claims come from.
    @precondition(lambda self: len(self.jobs) < MOST_JOBS)
    @rule(target=ids)
    def submit(self) -> str:
        (made,) = self.do(self.store.submit())
        self.jobs[made] = Expected()
        return made

    @rule(target=claims, who=claimants, limit=st.integers(1, 4))
    def claim(self, who: Claimant, limit: int) -> Any:
        waiting = [
            job_id
            for job_id, job in self.jobs.items()
            if job.status is S.PENDING
            and not job.deleted
            and job.available_at <= self.now
        ]
        taken = self.do(self.store.claim(limit, who))
        assert [str(job.job_id) for job in taken] == waiting[:limit]
        for claimed in taken:
            job = self.jobs[str(claimed.job_id)]
            job.status, job.token = S.PROCESSING, claimed.lease_token
            job.attempts += 1
            job.process = who.process_id
            job.lease_end = self.now + LEASE_MS
            assert claimed.attempts == job.attempts <= MAX_ATTEMPTS
        return multiple(*taken)

    def _store(self, claimed: ClaimedJob, outcome: Any) -> Expected | None:
        """Store an outcome, twice; return the job if it must be taken."""
        job = self.jobs[str(claimed.job_id)]
        may_be_in = {S.PROCESSING, S.PENDING}
        if not isinstance(outcome, Requeued):
            may_be_in |= {S.ERROR_PROCESSING}
        takes = (
            job.token == claimed.lease_token
            and job.status in may_be_in
            and not job.deleted
        )
        results = [Result(claimed, outcome)]
        assert self.do(self.store.queue.store(results)) == int(takes)
        assert self.do(self.store.queue.store(results)) == 0
        if takes:
            job.token = None
        return job if takes else None

    @rule(claimed=claims)
    def answer(self, claimed: ClaimedJob) -> None:
        self.answers += 1
        said = f'"{self.answers}"'
        if job := self._store(claimed, Succeeded(said, Metrics())):
            assert job.result is None
            job.status, job.result = S.PROCESSED, str(self.answers)

    @rule(claimed=claims)
    def fail(self, claimed: ClaimedJob) -> None:
        failed = Failed({"errorType": "X", "message": "x"})
        if job := self._store(claimed, failed):
            job.status = S.ERROR_PROCESSING

    @rule(
        claimed=claims,
        delay=st.sampled_from([0, 10_000]),
        uncounted=st.booleans(),
    )
    def requeued(
        self, claimed: ClaimedJob, delay: int, *, uncounted: bool
    ) -> None:
        # The pipeline puts no job back that has used its last attempt up.
        counted = not uncounted and claimed.attempts < MAX_ATTEMPTS
        due = self.now + delay
        if job := self._store(claimed, Requeued(due, counted, "why")):
            job.status, job.available_at = S.PENDING, due
            job.attempts = claimed.attempts - (not counted)

    @rule(claimed=claims)
    def extend(self, claimed: ClaimedJob) -> None:
        extended = [
            job
            for job in self.jobs.values()
            if job.token == claimed.lease_token and job.status is S.PROCESSING
        ]
        tokens = [claimed.lease_token]
        self.do(self.store.queue.extend_leases(tokens))
        for job in extended:
            job.lease_end = self.now + LEASE_MS

    @rule(milliseconds=st.sampled_from([1, 10_000, 31_000]))
    def time_passes(self, milliseconds: int) -> None:
        self.store.time.now += milliseconds
        gone = [job for job in self._running() if job.lease_end < self.now]
        assert self.do(self.store.queue.return_expired()) == _freed(gone)

    @rule(process=st.sampled_from(["p", "q", "r"]))
    def process_dies(self, process: str) -> None:
        gone = [job for job in self._running() if job.process == process]
        freed = self.do(self.store.queue.return_of_process(process))
        assert freed == _freed(gone)

    def _running(self) -> Iterator[Expected]:
        for job in self.jobs.values():
            if job.status is S.PROCESSING and not job.deleted:
                yield job

    @rule(
        job_id=ids,
        status=st.sampled_from(list(JobStatus)),
        by_admin=st.booleans(),
    )
    def set_status(
        self, job_id: str, status: JobStatus, *, by_admin: bool
    ) -> None:
        caller = ADMIN if by_admin else self.store.client
        job = self.jobs[job_id]
        change = self.store.application.services.jobs.update(
            job_id, JobUpdate(status=status), caller
        )
        if job.deleted:
            with pytest.raises(NotFoundError):
                self.do(change)
        elif status not in allowed_targets(job.status, caller.actor):
            with pytest.raises(TransitionError):
                self.do(change)
        else:
            self.do(change)
            job.status, job.token = status, None
            if status is S.PENDING:
                job.attempts, job.result, job.available_at = 0, None, 0

    @rule(job_id=ids)
    def change_work(self, job_id: str) -> None:
        job = self.jobs[job_id]
        if job.deleted:
            return
        update = JobUpdate(request_data={"other": self.now})
        service = self.store.application.services.jobs
        self.do(service.update(job_id, update, self.store.client))
        if job.status is S.PENDING:
            job.token = None

    @rule(job_id=ids)
    def delete(self, job_id: str) -> None:
        delete = self.store.application.services.jobs.delete(
            job_id, self.store.client
        )
        if self.jobs[job_id].deleted:
            with pytest.raises(NotFoundError):
                self.do(delete)
        else:
            self.do(delete)
            self.jobs[job_id].deleted = True

    @invariant()
    def store_and_model_agree(self) -> None:
        all_found = self.do(self._all())
        living = {i: job for i, job in self.jobs.items() if not job.deleted}
        assert all_found.keys() == living.keys()
        for job_id, job in living.items():
            found = all_found[job_id]
            assert found.status is job.status
            assert found.attempts == job.attempts <= MAX_ATTEMPTS
            assert found.response_data == job.result

    async def _all(self) -> dict[str, Job]:
        page = await self.store.application.services.jobs.page(
            self.store.client, JobFilter(), PageRequest()
        )
        return {job.job_id: job for job in page.items}


def _freed(gone: list[Expected]) -> tuple[int, int]:
    """Let these jobs go; return how many wait again and how many end."""
    ended = 0
    for job in gone:
        over = job.attempts >= MAX_ATTEMPTS
        ended += over
        job.status = S.ERROR_PROCESSING if over else S.PENDING
    return len(gone) - ended, ended


@pytest.mark.slow
@pytest.mark.parametrize(("where", "tries"), [("memory", 60), ("", 12)])
def test_the_store_is_as_the_model(
    database: str, where: str, tries: int
) -> None:
    class Here(JobLife):
        address = IN_MEMORY if where else database

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=examples(tries),
            stateful_step_count=30,
            suppress_health_check=list(HealthCheck),
        ),
    )
