"""The steps of batches, on every server we can have, with a clock."""

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from api.core.errors import NotFoundError
from api.models.batch_models import Batch, BatchStatus, FileRecord, Vendor
from api.models.metrics import Metrics
from api.services.batches.batch_service import BatchService, NewBatch
from api.services.batches.batch_store import BatchStore
from api.services.batches.file_service import FileService
from api.services.batches.paging import Window
from api.services.keeping.turns import Turns
from api.services.queue.job_expiry import JobExpiry
from api.services.queue.job_outcomes import Result
from api.services.queue.job_work import Failed, Succeeded
from api.services.queue.queue_order import Aging
from api.services.routes.route_names import RouteNames
from llm_sdks.forwarding import Interface
from llm_workers.built_in.batch_keeper import BatchKeeper
from llm_workers.built_in.batch_steps import BatchSteps, StepParts
from tests.support.batch_user import line, lines_of
from tests.support.store import Store

DAY_MS = 86_400_000


class World:
    """Batches of one client, with a clock that the test moves."""

    def __init__(self, store: Store) -> None:
        shared = store.application.shared
        self.store = store
        self.client_id = str(store.client.client_id)
        self.files = FileService(
            shared.documents("files"),
            shared.documents("file_pieces"),
            store.time,
        )
        self.batch_store = BatchStore(
            shared.documents("batches"),
            shared.documents("jobs"),
            shared.signals,
            shared.endings,
            store.time,
        )
        self.batches = BatchService(self.batch_store, self.files, store.time)
        services = store.application.services
        self.steps = BatchSteps(
            StepParts(
                self.batch_store,
                self.files,
                services.models,
                RouteNames(shared.documents("routes")),
                services.job_bulk,
                shared.signals,
                Aging(),
                store.time,
            )
        )

    async def file(
        self, content: bytes, vendor: Vendor = Vendor.OPENAI
    ) -> FileRecord:
        new = await self.files.begin(self.client_id, "f", vendor=vendor)
        await new.add(content)
        return await self.files.finish(new, None)

    async def begin(
        self, rows: Sequence[Any], vendor: Vendor = Vendor.OPENAI
    ) -> Batch:
        is_chat = vendor is Vendor.OPENAI
        new = NewBatch(
            vendor,
            Interface.CHAT if is_chat else Interface.MESSAGES,
            await self.file(lines_of(rows), vendor),
            total=0 if is_chat else len(rows),
        )
        return await self.batches.create(self.client_id, new)

    async def advance(self, batch: Batch, times: int = 1) -> Batch:
        found: Batch | None = batch
        for _ in range(times):
            assert found is not None
            await self.steps.advance(found)
            found = await self.batch_store.get(batch.batch_id)
        assert found is not None
        return found

    async def answer(self, count: int) -> None:
        """Answer some lines as a worker does; the last of them fails."""
        jobs = await self.store.claim(count)
        assert len(jobs) == count
        good = [Succeeded('{"ok":true}', Metrics(input_tokens=2))] * count
        results = [
            Result(job, each) for job, each in zip(jobs, good, strict=True)
        ]
        wrong = Failed({"errorType": "BAD_REQUEST", "message": "no"})
        results[-1] = Result(jobs[-1], wrong)
        await self.store.queue.store(results)

    async def lines(self, file_id: str | None) -> list[dict[str, Any]]:
        if file_id is None:
            return []
        record = await self.files.of_id(file_id)
        assert record is not None
        text = b"".join([each async for each in self.files.content(record)])
        assert record.size == len(text)
        return [json.loads(each) for each in text.splitlines()]


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


def requests(world: World, count: int, url: str = "") -> list[Any]:
    model = world.store.model
    return [
        line(f"r{i}", model, url=url or "/v1/chat/completions")
        for i in range(count)
    ]


async def test_all_steps_can_be_repeated(world: World) -> None:
    batch = await world.begin(requests(world, 7))
    # As after a crash: what was inserted stays as it is.
    await world.steps._insert(batch, await _source(world, batch))
    running = await world.advance(batch)
    assert (running.status, running.total) == (BatchStatus.IN_PROGRESS, 7)
    assert running.model == world.store.model
    await world.answer(4)
    counted = await world.advance(running)
    assert counted.counts.succeeded == 3
    assert counted.counts.errored == 1
    await world.answer(3)
    final = await world.advance(running)
    assert final.status is BatchStatus.FINALIZING
    done = await world.advance(final)
    assert done.status is BatchStatus.COMPLETED
    # Again, it writes the same files, and changes nothing.
    await world.steps.advance(final)
    assert await world.batch_store.get(batch.batch_id) == done
    good = await world.lines(done.output_file_id)
    assert [each["custom_id"] for each in good] == [
        "r0",
        "r1",
        "r2",
        "r4",
        "r5",
    ]
    wrong = await world.lines(done.error_file_id)
    assert [each["custom_id"] for each in wrong] == ["r3", "r6"]
    assert (done.counts.succeeded, done.counts.errored) == (5, 2)
    assert done.usage is not None
    assert done.usage.input_tokens == 10


async def _source(world: World, batch: Batch) -> FileRecord:
    found = await world.files.of_id(batch.input_file_id)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "vendor", list(Vendor), ids=[each.value for each in Vendor]
)
async def test_what_waits_expires_with_the_batch(
    world: World, vendor: Vendor
) -> None:
    url = "/v1/messages" if vendor is Vendor.ANTHROPIC else ""
    batch = await world.begin(requests(world, 6, url), vendor)
    running = await world.advance(batch)
    assert running.status is BatchStatus.IN_PROGRESS
    await world.answer(2)
    world.store.time.now += DAY_MS + 1
    shared = world.store.application.shared
    expiry = JobExpiry(
        shared.documents("jobs"), shared.signals, world.store.time
    )
    assert await expiry.sweep() == 4
    done = await world.advance(running, 2)
    done = await world.advance(done) if not done.has_ended else done
    assert done.status is BatchStatus.EXPIRED
    assert done.expired_at == world.store.time.now
    counts = done.counts
    assert (counts.succeeded, counts.errored, counts.expired) == (1, 1, 4)
    found = await world.lines(done.output_file_id)
    found += await world.lines(done.error_file_id)
    assert sorted(each["custom_id"] for each in found) == [
        f"r{i}" for i in range(6)
    ]
    if vendor is Vendor.OPENAI:
        codes = [(each["error"] or {}).get("code") for each in found]
        assert codes.count("batch_expired") == 4
    else:
        kinds = [each["result"]["type"] for each in found]
        assert kinds.count("expired") == 4


async def test_a_batch_that_is_cancelled_before_its_lines_are_jobs(
    world: World,
) -> None:
    rows = requests(world, 3, "/v1/messages")
    batch = await world.begin(rows, Vendor.ANTHROPIC)
    shown = f"msgbatch_{batch.batch_id}"
    cancelling = await world.batches.cancel(
        world.client_id, Vendor.ANTHROPIC, shown
    )
    # The step that was under way finds that out.
    await world.steps.advance(batch)
    assert await world.store.statuses() == {}
    done = await world.advance(cancelling)
    assert done.status is BatchStatus.CANCELLED
    found = await world.lines(done.output_file_id)
    assert [each["result"]["type"] for each in found] == ["canceled"] * 3


async def test_a_line_that_was_deleted_is_told_too(world: World) -> None:
    batch = await world.begin(requests(world, 2))
    running = await world.advance(batch)
    services = world.store.application.services
    (job,) = await world.store.claim(1)
    await world.store.queue.store([Result(job, Succeeded("{}", Metrics()))])
    await services.jobs.delete(str(job.job_id), world.store.client)
    await world.answer(1)
    done = await world.advance(running, 2)
    assert done.status is BatchStatus.COMPLETED
    found = await world.lines(done.error_file_id)
    assert sorted(each["custom_id"] for each in found) == ["r0", "r1"]


async def test_one_process_at_a_time_has_a_batch(world: World) -> None:
    await world.begin(requests(world, 1))
    (batch,) = await world.batch_store.open()
    mine = await world.batch_store.take(batch, "one")
    assert mine is not None
    assert await world.batch_store.take(batch, "two") is None
    (seen,) = await world.batch_store.open()
    assert await world.batch_store.take(seen, "two") is None
    assert await world.batch_store.take(seen, "one") is not None
    world.store.time.now += 11_000
    (seen,) = await world.batch_store.open()
    assert await world.batch_store.take(seen, "two") is not None
    assert not await world.batch_store.keep(mine, "one")
    assert await world.batch_store.keep(mine, "two")


async def test_expired_and_deleted_files_are_removed_once_unused(
    world: World,
) -> None:
    shared = world.store.application.shared
    batch = await world.begin(requests(world, 1))
    await world.files.hide(batch.input_file_id)
    new = await world.files.begin(world.client_id, "old")
    await new.add(b"x")
    old = await world.files.finish(new, world.store.time.now + 1000)
    kept = await world.file(b"y")
    world.store.time.now += 2000
    keeper = BatchKeeper(
        world.batch_store,
        world.files,
        world.steps,
        Turns(shared.documents("turns"), world.store.time),
        shared.signals,
        "one",
        swept_every=0.001,
    )
    await keeper._sweep()
    assert await world.files.of_id(old.file_id) is None
    pieces = await shared.documents("file_pieces").find({})
    assert old.file_id not in {each["fileId"] for each in pieces}
    # One is still read by a batch, the other one is not old.
    assert await world.files.of_id(batch.input_file_id) is not None
    assert await world.files.of_id(kept.file_id) is not None
    await world.batches.cancel(
        world.client_id, Vendor.OPENAI, f"batch_{batch.batch_id}"
    )
    (cancelling,) = await world.batch_store.open()
    assert (await world.advance(cancelling)).has_ended
    world.store.time.now += 1000
    await keeper._sweep()
    assert await world.files.of_id(batch.input_file_id) is None


async def test_large_files_come_back_as_they_were(world: World) -> None:
    content = bytes(range(256)) * 9000
    record = await world.file(content)
    assert (record.size, record.pieces) == (len(content), 3)
    pieces: AsyncIterator[bytes] = world.files.content(record)
    assert b"".join([each async for each in pieces]) == content
    found = await world.files.page(world.client_id, Window(10))
    assert [each.file_id for each in found.items] == [record.file_id]
    await world.files.discard(record.file_id)
    with pytest.raises(NotFoundError):
        _ = [each async for each in world.files.content(record)]
