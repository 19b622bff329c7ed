"""After whatever happened to a job, it can be claimed exactly if it is due."""

import asyncio
import contextlib
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from api.core.errors import MetasyncError
from api.models.job_status import JobStatus
from api.models.job_update_models import JobBatchUpdateItem, JobUpdate
from api.models.metrics import Metrics
from api.services.jobs.batch_change import MARK_SECONDS, BatchChange
from api.services.jobs.job_service import JobService
from api.services.queue.job_outcomes import Result
from api.services.queue.job_queue import JobQueue
from api.services.queue.job_work import (
    Claimant,
    ClaimedJob,
    Failed,
    Outcome,
    Requeued,
    Succeeded,
)
from api.services.shared.caller import Caller
from tests.support.examples import examples
from tests.support.store import CONFIG, IN_MEMORY, Store, open_store
from utilities.cosmos_connector import Document, Documents
from utilities.signals import Signals

ADMIN = Caller(is_admin=True)
JOBS = 3
PROCESSES = ("p", "q")
DAY_MS = 86_400_000
PAID = Metrics(1, 1, 1.0)
DONE = Succeeded("{}", PAID)

Step = tuple[Any, ...]


class World:
    """Some jobs of one client, and all that touches them."""

    def __init__(self, store: Store) -> None:
        services = store.application.services
        self.store = store
        self.documents = Documents(
            store.application.clients, "jobs", store.time
        )
        self.queues = {name: self.new_queue() for name in PROCESSES}
        self.jobs = JobService(
            self.documents,
            services.models,
            services.prompts,
            services.prompt_flows,
            Signals(),
            store.time,
        )
        self.ids: list[str] = []
        self.marked: list[ClaimedJob] = []

    def new_queue(self) -> JobQueue:
        return JobQueue(
            self.documents,
            lease_seconds=30,
            max_attempts=3,
            clock=self.store.time,
        )

    async def stored(self) -> list[Document]:
        return await self.documents.raw.find({}).to_list()

    async def claim(self, process: str, limit: int) -> None:
        self.marked += await self.queues[process].claim(
            str(self.store.client.client_id),
            CONFIG,
            Claimant(process, "w"),
            limit,
        )

    async def end(self, outcome: Outcome, index: int) -> None:
        """Store an outcome of a claim, however old; it is kept."""
        if self.marked:
            job = self.marked[index % len(self.marked)]
            await self.queues["p"].store([Result(job, outcome)])

    async def requeue(self, wait: int, index: int, *, paid: bool) -> None:
        due = self.store.time.now + wait
        checkpoint = DONE if paid else None
        await self.end(Requeued(due, not paid, "x", checkpoint), index)

    async def wait(self, milliseconds: int) -> None:
        self.store.time.now += milliseconds

    async def expire(self) -> None:
        await self.queues["q"].return_expired()

    async def die(self, process: str) -> None:
        await self.queues["q"].return_of_process(process)

    async def change(
        self, index: int, fields: dict[str, Any], *, admin: bool
    ) -> None:
        caller = ADMIN if admin else self.store.client
        await self.jobs.update(self.ids[index], JobUpdate(**fields), caller)

    async def cancel(self, index: int) -> None:
        await self.jobs.cancel_waiting(self.ids[index], self.store.client)

    async def delete(self, index: int, *, batch: bool) -> None:
        if batch:
            await self.jobs.delete_batch([self.ids[index]], ADMIN)
        else:
            await self.jobs.delete(self.ids[index], ADMIN)

    async def claimed_after_the_hold(self) -> None:
        await self.wait(MARK_SECONDS * 1000 + 1)
        await self.expire()
        await self.claim("p", JOBS)

    async def batch(
        self, fields: dict[str, Any], between: Step, *, crash: bool
    ) -> None:
        """Change all jobs in a batch, with a step in its middle."""
        items = [
            JobBatchUpdateItem(job_id=job_id, **fields) for job_id in self.ids
        ]
        planned = await self.jobs._plan(self.ids, items, ADMIN)
        batch = BatchChange(self.documents, planned, self.store.time.now)
        hold = batch._set_marks

        async def interrupted() -> bool:
            marked = await hold()
            await self.take(between)
            if crash:
                raise SystemExit
            return marked

        batch._set_marks = interrupted  # type: ignore[method-assign]
        if crash:
            batch._release = _nothing  # type: ignore[method-assign]
        with contextlib.suppress(SystemExit):
            await batch.free(await batch.write())
        if crash:
            await self.wait(MARK_SECONDS * 1000 + 1)

    async def take(self, step: Step) -> None:
        name, *arguments = step
        options = {}
        if arguments and isinstance(arguments[-1], dict):
            options = arguments.pop()
        operation: Callable[..., Awaitable[None]] = getattr(self, name)
        with contextlib.suppress(MetasyncError):
            await operation(*arguments, **options)


async def _nothing() -> None:
    pass


indexes = st.integers(0, JOBS - 1)
processes = st.sampled_from(PROCESSES)
waits = st.sampled_from((0, 1, 1_000, 31_000, 100_000))
changes = st.sampled_from(
    [
        *({"status": status} for status in JobStatus),
        {"priority": 7},
        {"temperature": 0.5},
    ]
)
outcomes = st.sampled_from([DONE, Failed({"errorType": "X"}, PAID)])
singles: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("claim"), processes, st.integers(1, JOBS)),
    st.tuples(st.just("end"), outcomes, st.integers(0, 9)),
    st.builds(
        lambda wait, index, paid: ("requeue", wait, index, {"paid": paid}),
        waits,
        st.integers(0, 9),
        st.booleans(),
    ),
    st.tuples(st.just("wait"), waits),
    st.just(("expire",)),
    st.tuples(st.just("die"), processes),
    st.builds(
        lambda index, fields, admin: (
            "change",
            index,
            fields,
            {"admin": admin},
        ),
        indexes,
        changes,
        st.booleans(),
    ),
    st.tuples(st.just("cancel"), indexes),
    st.builds(
        lambda index, batch: ("delete", index, {"batch": batch}),
        indexes,
        st.booleans(),
    ),
)
batches = st.builds(
    lambda fields, between, crash: (
        "batch",
        fields,
        between,
        {"crash": crash},
    ),
    changes,
    # A deletion waits until the batch has ended.
    singles.filter(lambda step: step[0] not in {"delete", "change"}),
    st.booleans(),
)
steps = st.lists(st.one_of(singles, singles, batches), max_size=25)


@settings(max_examples=examples(150))
@given(steps)
def test_every_job_that_is_due_can_be_claimed_and_no_other(
    taken: list[Step],
) -> None:
    asyncio.run(_check(taken))


async def _check(taken: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with open_store(IN_MEMORY, Path(directory)) as store:
            world = World(store)
            world.ids = await store.submit(JOBS)
            for step in taken:
                await world.take(step)
            await _only_due_jobs_are_claimed(world)
            # What was claimed by a process that is gone comes back, too.
            await world.wait(DAY_MS)
            await world.expire()
            await _only_due_jobs_are_claimed(world)


async def _only_due_jobs_are_claimed(world: World) -> None:
    now = world.store.time.now
    due = {
        job["_id"]
        for job in await world.stored()
        if job["status"] == JobStatus.PENDING
        if job["availableAt"] <= now
        if not job["_metadata"]["isDeleted"]
    }
    world.queues["p"] = world.new_queue()
    before = len(world.marked)
    await world.claim("p", 2 * JOBS)
    assert {job.job_id for job in world.marked[before:]} == due


async def test_a_job_that_a_batch_holds_belongs_to_no_dead_process(
    tmp_path: Path,
) -> None:
    async with open_store(IN_MEMORY, tmp_path) as store:
        world = World(store)
        world.ids = await store.submit(JOBS)
        await world.claim("p", JOBS)
        for index in range(JOBS):
            await world.requeue(0, index, paid=False)
        await world.batch({"priority": 7}, ("die", "p"), crash=False)
        assert {job["priority"] for job in await world.stored()} == {7}
        await _only_due_jobs_are_claimed(world)


async def test_a_job_whose_hold_has_ended_stays_with_its_worker(
    tmp_path: Path,
) -> None:
    async with open_store(IN_MEMORY, tmp_path) as store:
        world = World(store)
        world.ids = await store.submit(JOBS)
        late = ("claimed_after_the_hold",)
        await world.batch({"priority": 7}, late, crash=False)
        assert await store.statuses() == {"PROCESSING": JOBS}
        await world.end(DONE, 0)
        statuses = await store.statuses()
        assert statuses == {"PROCESSING": JOBS - 1, "PROCESSED": 1}
