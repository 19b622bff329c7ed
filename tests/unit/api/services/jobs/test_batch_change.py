"""A batch of changes is written as a whole, or leaves no trace."""

import asyncio
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymongo.errors import AutoReconnect

from api.core.errors import ConflictError, RuleError
from api.models.job_status import JobStatus
from api.models.job_update_models import JobBatchUpdateItem, JobUpdate
from api.models.metrics import Metrics
from api.services.jobs import batch_change, job_service
from api.services.jobs.batch_change import BatchChange
from api.services.queue.job_outcomes import Result
from api.services.queue.job_work import (
    ClaimedJob,
    Failed,
    Outcome,
    Requeued,
    Succeeded,
)
from api.services.shared.caller import Caller
from tests.support.examples import examples
from tests.support.store import Store, open_store
from utilities.cosmos_connector import Document, Documents, ObjectId

ADMIN = Caller(is_admin=True)
TRACES = {"revision", "batchMark", "batchHeldUntil", "_metadata"}
PAID = Succeeded('{"paid":true}', Metrics(input_tokens=1))


@pytest.fixture
def address(database: str) -> str:
    return database


async def raw(store: Store) -> dict[str, Document]:
    """Read all jobs, without what no client and no worker sees."""
    found = await store.application.services.jobs._documents.find({})
    return {
        str(job["_id"]): {
            name: value
            for name, value in job.items()
            if name not in TRACES and value is not None
        }
        for job in found
    }


def items(ids: Sequence[str], **change: Any) -> list[JobBatchUpdateItem]:
    return [JobBatchUpdateItem(job_id=job_id, **change) for job_id in ids]


async def patch(
    store: Store,
    ids: Sequence[str],
    caller: Caller | None = None,
    **change: Any,
) -> None:
    jobs = store.application.services.jobs
    await jobs.update_batch(items(ids, **change), caller or store.client)


async def store_result(
    store: Store, job: ClaimedJob, outcome: Outcome = PAID
) -> int:
    return await store.queue.store([Result(job, outcome)])


def between(
    monkeypatch: pytest.MonkeyPatch, when: int, act: Callable[[], Any]
) -> None:
    """Act just before the batch's update number `when`, from 1 on."""
    update_each, calls = Documents.update_each, 0

    async def instead(
        self: Documents, updates: Any, *how: Any, **more: Any
    ) -> int:
        nonlocal calls
        calls += 1
        if calls == when:
            await act()
        return await update_each(self, updates, *how, **more)

    monkeypatch.setattr(Documents, "update_each", instead)


async def requeued_with_checkpoint(store: Store) -> str:
    """Give a waiting job whose first answer is paid for."""
    (job_id,) = await store.submit()
    (claimed,) = await store.claim()
    back = Requeued(store.time.now + 60_000, True, "later", PAID, failures=2)
    assert await store_result(store, claimed, back) == 1
    return job_id


async def test_a_conflict_keeps_the_paid_checkpoint(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    paid = await requeued_with_checkpoint(store)
    ids = [paid, *await store.submit(2)]
    before = await raw(store)
    assert "checkpoint" in before[paid]
    jobs = store.application.services.jobs

    async def cancel_last() -> None:
        canceled = JobUpdate(status=JobStatus.CANCELED)
        await jobs.update(ids[2], canceled, store.client)

    between(monkeypatch, 1, cancel_last)
    with pytest.raises(ConflictError):
        await patch(store, ids, request_data={"n": "new"}, priority=1)
    after = await raw(store)
    assert {i: after[i] for i in ids[:2]} == {i: before[i] for i in ids[:2]}
    assert after[ids[2]]["status"] == "CANCELED"
    assert after[ids[2]]["priority"] == 100


async def test_a_worker_that_claims_in_between_keeps_its_claim(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await store.submit(4)
    before = await raw(store)
    claimed: list[ClaimedJob] = []

    async def claim() -> None:
        claimed.extend(await store.claim(2))

    between(monkeypatch, 1, claim)
    with pytest.raises(ConflictError):
        await patch(store, ids, status=JobStatus.CANCELED)
    after = await raw(store)
    mine = {str(job.job_id) for job in claimed}
    assert len(mine) == 2
    assert {i: after[i] for i in ids if i not in mine} == {
        i: before[i] for i in ids if i not in mine
    }
    assert await store.statuses() == {"PENDING": 2, "PROCESSING": 2}
    for job in claimed:
        assert await store_result(store, job) == 1


async def test_no_worker_claims_a_job_that_is_marked(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await store.submit(3)

    async def claim() -> None:
        assert await store.claim() == []

    between(monkeypatch, 2, claim)
    await patch(store, ids, request_data={"n": "new"})
    claimed = await store.claim()
    assert {str(job.job_id) for job in claimed} == set(ids)
    assert {job.request_json for job in claimed} == {'{"n":"new"}'}
    assert {job.attempts for job in claimed} == {1}


async def test_a_late_answer_is_taken_after_a_conflict(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease ended, nobody has claimed the job since."""
    late, other = await store.submit(2)
    (claimed, _) = await store.claim()
    store.time.now += 31_000
    await store.queue.return_expired()
    before = await raw(store)

    async def delete_other() -> None:
        await store.application.services.jobs.delete(other, store.client)

    between(monkeypatch, 1, delete_other)
    with pytest.raises(ConflictError):
        await patch(store, [late, other], status=JobStatus.CANCELED)
    assert (await raw(store))[late] == before[late]
    assert await store_result(store, claimed) == 1


async def test_an_admins_error_that_is_taken_back_costs_no_answer(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await store.submit(3)
    claimed = {str(job.job_id): job for job in await store.claim()}
    assert await store_result(store, claimed[ids[2]]) == 1
    before = await raw(store)
    jobs = store.application.services.jobs

    async def consume() -> None:
        consumed = JobUpdate(status=JobStatus.CONSUMED)
        await jobs.update(ids[2], consumed, store.client)

    async def answer() -> None:
        assert await store_result(store, claimed[ids[1]]) == 1

    between(monkeypatch, 1, consume)
    between(monkeypatch, 2, answer)
    with pytest.raises(ConflictError):
        await patch(store, ids, ADMIN, status=JobStatus.ERROR_PROCESSING)
    assert (await raw(store))[ids[0]] == before[ids[0]]
    assert await store.statuses() == {
        "PROCESSING": 1,
        "PROCESSED": 1,
        "CONSUMED": 1,
    }
    assert await store_result(store, claimed[ids[0]]) == 1


async def test_an_admin_ends_jobs_that_run(store: Store) -> None:
    ids = await store.submit(2)
    claimed = await store.claim()
    await patch(store, ids, ADMIN, status=JobStatus.ERROR_PROCESSING)
    assert await store.statuses() == {"ERROR_PROCESSING": 2}
    assert await store_result(store, claimed[0]) == 0


async def test_an_answer_between_the_steps_stays(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await store.submit(2)
    claimed = {str(job.job_id): job for job in await store.claim()}

    async def answer() -> None:
        assert await store_result(store, claimed[first]) == 1

    between(monkeypatch, 2, answer)
    await patch(
        store, [first, second], ADMIN, status=JobStatus.ERROR_CONSUMING
    )
    assert await store.statuses() == {"PROCESSED": 1, "ERROR_CONSUMING": 1}
    # Nothing is left of the hold.
    change = JobUpdate(status=JobStatus.CONSUMED)
    await store.application.services.jobs.update(first, change, store.client)


async def test_failed_jobs_run_again_as_a_batch(store: Store) -> None:
    ids = await store.submit(2)
    for job in await store.claim():
        await store_result(store, job, Failed({"errorType": "X"}))
    await patch(store, ids, status=JobStatus.PENDING)
    again = await store.claim()
    assert {job.attempts for job in again} == {1}
    assert len(again) == 2


async def test_a_lost_connection_between_the_steps_releases_the_jobs(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await store.submit(2)
    before = await raw(store)
    update_each, calls = Documents.update_each, 0

    async def instead(
        self: Documents, updates: Any, *how: Any, **more: Any
    ) -> int:
        nonlocal calls
        calls += 1
        written = await update_each(self, updates, *how, **more)
        if calls == 1:
            raise AutoReconnect("the answer was lost")
        return written

    monkeypatch.setattr(Documents, "update_each", instead)
    with pytest.raises(AutoReconnect):
        await patch(store, ids, priority=1)
    assert await raw(store) == before
    assert len(await store.claim()) == 2


async def test_the_hold_of_a_process_that_died_ends(store: Store) -> None:
    ids = await store.submit(2)
    jobs, documents = store.application.services.jobs, _documents(store)
    now = jobs._clock()
    planned = await jobs._plan(ids, items(ids, priority=1), store.client)
    assert await BatchChange(documents, planned, now)._set_marks()
    assert await store.claim() == []
    assert all(
        batch_change.is_marked(job, now)
        and not batch_change.is_marked(job, now + 61_000)
        for job in await documents.find({})
    )
    # The clock of the queue is far ahead.
    assert await store.queue.return_expired() == (2, 0)
    assert len(await store.claim()) == 2


async def test_jobs_that_are_held_are_waited_for_and_not_for_ever(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_service, "_MARKED_PAUSE", 0.02)
    ids = await store.submit(2)
    jobs, documents = store.application.services.jobs, _documents(store)
    planned = await jobs._plan(ids, items(ids, priority=1), store.client)
    other = BatchChange(documents, planned, jobs._clock())
    assert await other._set_marks()
    for change in (
        patch(store, ids, priority=2),
        jobs.delete_batch(ids, store.client),
    ):
        with pytest.raises(ConflictError):
            await change
    waiting = asyncio.create_task(patch(store, ids, priority=3))
    await other._release()
    await waiting
    assert {job["priority"] for job in (await raw(store)).values()} == {3}
    await jobs.delete_batch(ids, store.client)
    assert await raw(store) == {}


async def test_what_is_wrong_with_an_item_is_named(store: Store) -> None:
    ids = await store.submit(2)
    with pytest.raises(RuleError, match="batch item 0: the model 'gone'"):
        await patch(store, ids, model="gone")
    with pytest.raises(RuleError, match="Job not found: batch item 1"):
        await patch(store, [ids[0], str(ObjectId())], priority=1)


@given(st.integers(0, 10_000))
@settings(max_examples=examples(12))
def test_batches_and_claimers_never_mix(database: str, seed: int) -> None:
    """A claimed job is all old or all new, and a batch is 409 or complete."""
    chance = random.Random(seed)

    async def play() -> None:
        async with open_store(database, Path("unused")) as store:
            ids = await store.submit(12)

            async def batch(number: int) -> bool:
                await asyncio.sleep(chance.random() / 50)
                some = chance.sample(ids, 8)
                try:
                    await patch(
                        store,
                        some,
                        operation=f"o{number}",
                        request_data={"n": f"o{number}"},
                    )
                except ConflictError:
                    return False
                return True

            async def claims() -> list[ClaimedJob]:
                claimed = []
                for _ in range(4):
                    await asyncio.sleep(chance.random() / 50)
                    claimed += await store.claim(2)
                return claimed

            claiming = asyncio.create_task(claims())
            await asyncio.gather(*map(batch, range(3)))
            claimed = await claiming
            for document in (await raw(store)).values():
                name, data = document["operation"], document["requestData"]
                assert name == "o" or data == f'{{"n":"{name}"}}'
            for job in claimed:
                assert job.operation in {"o", job.request_json[6:8]}
                assert await store_result(store, job) == 1
            left = await store.statuses()
            assert left.get("PROCESSING", 0) == 0
            assert sum(left.values()) == 12

    asyncio.run(play())


def _documents(store: Store) -> Documents:
    return store.application.services.jobs._documents
