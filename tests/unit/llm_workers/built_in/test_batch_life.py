"""Batches in any order of what can happen to them."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from api.core.errors import ConflictError
from api.models.batch_models import Batch, BatchStatus, Vendor
from api.services.queue.job_expiry import JobExpiry
from tests.integration.test_batch_store import DAY_MS, World, requests
from tests.support.examples import examples
from tests.support.store import IN_MEMORY, open_store

LINES = 5
ACTIONS = ("advance", "advance", "answer", "cancel", "expire", "crash")


class Life:
    """One batch, and what happens to it."""

    def __init__(self, world: World, batch: Batch) -> None:
        self.world = world
        self.batch = batch
        # As a process that was killed, or lost its lease, has seen it.
        self.stale = batch

    async def act(self, action: str) -> None:
        await getattr(self, action)()
        self.batch = await self.now()

    async def now(self) -> Batch:
        found = await self.world.batch_store.get(self.batch.batch_id)
        assert found is not None
        return found

    async def advance(self) -> None:
        if not self.batch.has_ended:
            self.stale = self.batch
            await self.world.steps.advance(self.batch)

    async def crash(self) -> None:
        """Have another process repeat the latest step."""
        await self.world.steps.advance(self.stale)

    async def answer(self) -> None:
        jobs = await self.world.store.statuses()
        if waiting := jobs.get("PENDING", 0):
            await self.world.answer(min(waiting, 2))

    async def cancel(self) -> None:
        prefix = {Vendor.OPENAI: "batch_", Vendor.ANTHROPIC: "msgbatch_"}
        vendor = self.batch.vendor
        shown = f"{prefix[vendor]}{self.batch.batch_id}"
        try:
            await self.world.batches.cancel(
                self.world.client_id, vendor, shown
            )
        except ConflictError:
            assert self.batch.status is BatchStatus.FINALIZING or (
                self.batch.has_ended
            )

    async def expire(self) -> None:
        self.world.store.time.now += DAY_MS
        shared = self.world.store.application.shared
        jobs = shared.documents("jobs")
        await JobExpiry(jobs, shared.signals, self.world.store.time).sweep()


@settings(max_examples=examples(60))
@given(
    st.lists(st.sampled_from(ACTIONS), max_size=12),
    st.sampled_from(list(Vendor)),
)
async def test_every_line_is_told_once_whatever_happens(
    actions: Sequence[str], vendor: Vendor
) -> None:
    url = "/v1/messages" if vendor is Vendor.ANTHROPIC else ""
    with TemporaryDirectory() as directory:
        async with open_store(IN_MEMORY, Path(directory)) as store:
            world = World(store)
            rows = requests(world, LINES, url)
            life = Life(world, await world.begin(rows, vendor))
            for action in actions:
                await life.act(action)
            for _ in range(20):
                await life.act("answer")
                await life.act("advance")
            await check(world, life.batch)


async def check(world: World, done: Batch) -> None:
    """Count what is in the files anew."""
    assert done.has_ended
    output = await world.lines(done.output_file_id)
    errors = await world.lines(done.error_file_id)
    counts = done.counts
    if done.status is BatchStatus.CANCELLED and not done.total:
        # OpenAI's has been cancelled before its lines were counted.
        assert (output, errors) == ([], [])
        return
    assert done.total == LINES
    found = Counter(each["custom_id"] for each in output + errors)
    assert found == Counter(f"r{i}" for i in range(LINES))
    assert counts.succeeded + counts.failed == LINES
    if done.vendor is Vendor.OPENAI:
        assert (counts.succeeded, counts.failed) == (len(output), len(errors))
        return
    kinds = Counter(each["result"]["type"] for each in output)
    assert kinds == Counter(
        succeeded=counts.succeeded,
        errored=counts.errored,
        canceled=counts.canceled,
        expired=counts.expired,
    )
