"""Batches of 10,000 let other requests and leases run in between."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from api.models.job_models import JobBatchUpdateItem
from api.services.jobs.job_filter import JobFilter
from api.services.shared.paging import PageRequest
from tests.support.store import Store, open_store
from utilities.interpreter import collect_seldom

pytestmark = pytest.mark.timing

# Of the event loop's own thread, so that a busy machine does not count.
LONGEST_SECONDS = 0.05
COUNT = 10_000


@pytest.fixture(autouse=True)
def as_served() -> Iterator[None]:
    """Collect garbage as a process that serves does."""
    before = gc.get_threshold()
    collect_seldom()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


@asynccontextmanager
async def heartbeat() -> AsyncIterator[list[float]]:
    """Measure how long each round of the event loop computes."""
    holds: list[float] = []

    async def beat() -> None:
        while True:
            start = time.thread_time()
            await asyncio.sleep(0)
            holds.append(time.thread_time() - start)

    task = asyncio.create_task(beat())
    yield holds
    task.cancel()


async def longest(work: Awaitable[object]) -> float:
    async with heartbeat() as holds:
        await work
    assert len(holds) > 100
    return max(holds)


@pytest.fixture
async def store(database: str, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(database, tmp_path) as store:
        yield store


async def test_10_000_jobs_hold_the_event_loop_only_for_moments(
    store: Store,
) -> None:
    jobs = store.application.services.jobs
    request = {
        "operation": "o",
        "workingPrompts": [store.prompt],
        "model": store.model,
        "requestData": {"text": "x" * 200},
        "clientReference": {"a": {"b": 1}, "c": "d"},
    }
    made = jobs.create_batch([request] * COUNT, store.client)
    assert await longest(made) < LONGEST_SECONDS
    wanted, everything = JobFilter(), PageRequest(COUNT)
    listed = jobs.page(store.client, wanted, everything)
    assert await longest(listed) < LONGEST_SECONDS
    page = await jobs.page(store.client, wanted, everything)
    ids = [job.job_id for job in page.items]
    assert len(ids) == COUNT
    items = [JobBatchUpdateItem(job_id=i, priority=3) for i in ids]
    changed = jobs.update_batch(items, store.client)
    assert await longest(changed) < LONGEST_SECONDS
    deleted = jobs.delete_batch(ids, store.client)
    assert await longest(deleted) < LONGEST_SECONDS
    assert await store.statuses() == {}
