"""What a claim takes, in which order, at what cost, and after errors."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import pytest
from bson import ObjectId
from pymongo.errors import AutoReconnect

from api.models.job_fields import ServiceClass
from api.models.job_status import JobStatus
from api.models.job_update_models import JobUpdate
from api.models.metrics import Metrics
from api.services.jobs.job_filter import JobFilter
from api.services.queue import waiting_jobs
from api.services.queue.job_outcomes import Result
from api.services.queue.job_queue import JobQueue
from api.services.queue.job_work import Claimant, Requeued, Succeeded
from api.services.queue.queue_order import Aging
from api.services.shared.caller import Caller
from api.services.shared.paging import PageRequest
from tests.support.store import CONFIG, ME, Store
from tests.support.timing import slowness
from utilities.cosmos_connector import Document, Documents
from utilities.store.schema import _defer_waiting_jobs

ADMIN = Caller(is_admin=True)
MANY = 8_000


def documents(store: Store) -> Documents:
    return Documents(store.application.clients, "jobs", store.time)


def new_queue(store: Store, jobs: Documents | None = None) -> JobQueue:
    return JobQueue(
        jobs or documents(store),
        lease_seconds=30,
        max_attempts=3,
        clock=store.time,
    )


def job(store: Store, number: int, **fields: object) -> Document:
    return {
        "_id": ObjectId(),
        "clientId": store.client.client_id,
        "status": "PENDING",
        "model": store.model,
        "operation": "o",
        "workingPrompts": [],
        "temperature": 0.0,
        "requestData": "{}",
        "priority": 100,
        "sequence": number,
        "rank": _rank(number, fields),
        "attempts": 0,
        "availableAt": 1,
        **fields,
    }


def _rank(number: int, fields: Mapping[str, Any]) -> int:
    return Aging().rank(
        ServiceClass(fields.get("serviceClass", "bulk")),
        fields.get("priority", 100),
        number,
    )


async def insert(store: Store, *jobs: Document) -> None:
    for start in range(0, len(jobs), 1000):
        await documents(store).insert_many(jobs[start : start + 1000])


async def put_off(store: Store, milliseconds: int) -> None:
    """Claim everything and requeue it for later."""
    results = [
        Result(each, Requeued(store.time.now + milliseconds, False, "r"))
        for each in await store.claim()
    ]
    assert await store.queue.store(results) == len(results)


async def claimed(store: Store, **options: Any) -> list[str]:
    jobs = await store.queue.claim(
        str(store.client.client_id), CONFIG, ME, 100, **options
    )
    return [str(each.job_id) for each in jobs]


async def test_jobs_that_become_due_are_claimed_in_the_queues_order(
    store: Store,
) -> None:
    late = await store.submit(2, priority=500)
    early = await store.submit(2, priority=1)
    await put_off(store, 5000)
    (between,) = await store.submit(priority=100)
    assert await claimed(store) == [between]
    store.time.now += 4999
    assert await claimed(store) == []
    store.time.now += 1
    assert await claimed(store) == [*early, *late]


async def test_due_jobs_do_not_wait_behind_those_of_less_priority(
    store: Store,
) -> None:
    (urgent,) = await store.submit(priority=1)
    await put_off(store, 5000)
    await store.submit(50, priority=500)
    client_id = str(store.client.client_id)
    await store.queue.claim(client_id, CONFIG, ME, 5)
    store.time.now += 6000
    (first, *_) = await store.queue.claim(client_id, CONFIG, ME, 5)
    assert str(first.job_id) == urgent


async def test_more_due_jobs_than_one_update_takes_are_all_found(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_jobs, "_PROMOTED_AT_ONCE", 5)
    due = store.time.now + 1000
    await insert(
        store,
        *(
            job(store, n, availableAt=due, deferredUntil=due, operation="x")
            for n in range(12)
        ),
        job(
            store, 9999, availableAt=due, deferredUntil=due + 1, operation="y"
        ),
    )
    store.time.now += 2000
    config = CONFIG.model_copy(update={"operation_filter": "y"})
    client_id = str(store.client.client_id)
    assert await store.queue.has_work(client_id, config)
    assert len(await store.queue.claim(client_id, config, ME, 5)) == 1


async def test_a_job_set_back_to_pending_is_due_at_once(store: Store) -> None:
    (job_id,) = await store.submit()
    await put_off(store, 60_000)
    jobs = store.application.services.jobs
    for status in (JobStatus.CANCELED, JobStatus.PENDING):
        await jobs.update(job_id, JobUpdate(status=status), ADMIN)
    assert await claimed(store) == [job_id]


async def test_documents_of_an_earlier_version_are_claimed(
    store: Store,
) -> None:
    due = store.time.now + 1000
    now, later = job(store, 1), job(store, 2, availableAt=due)
    await insert(store, now, later)
    assert await claimed(store) == [str(now["_id"])]
    store.time.now += 1000
    assert await claimed(store) == [str(later["_id"])]


async def test_the_schemas_step_defers_what_an_earlier_version_put_off(
    store: Store,
) -> None:
    due = store.time.now + 1000
    ready, later, gone = (
        job(store, n, availableAt=at) for n, at in ((1, 1), (2, due), (3, 1))
    )
    await insert(store, ready, later, gone)
    jobs = documents(store)
    await jobs.soft_delete({"_id": gone["_id"]})
    for _ in range(2):
        await _defer_waiting_jobs(jobs.raw)
    ids = [each["_id"] for each in (ready, later, gone)]
    found = await jobs.raw.find({"_id": {"$in": ids}}).to_list()
    marks = {each["_id"]: each.get("deferredUntil") for each in found}
    assert [marks[each] for each in ids] == [None, due, 2**53 - 1]
    store.time.now += 1000
    assert len(await claimed(store)) == 2


async def test_jobs_of_models_that_are_not_available_stay(
    store: Store,
) -> None:
    a, b, c, d = (
        job(store, n, model=model, priority=priority)
        for n, (model, priority) in enumerate(
            [("a", 5), ("b", 1), ("c", 9), ("b", 7)]
        )
    )
    await insert(store, a, b, c, d)
    assert await claimed(store, unavailable=["a", "x"]) == [
        str(each["_id"]) for each in (b, d, c)
    ]
    assert await claimed(store, unavailable=["a"]) == []
    # A model that nobody had asked for before.
    new = job(store, 5, model="new")
    await insert(store, new)
    assert await claimed(store, unavailable=["a"]) == [str(new["_id"])]
    assert await claimed(store) == [str(a["_id"])]


async def test_with_very_many_models_those_not_available_stay(
    store: Store,
) -> None:
    jobs = [job(store, n, model=f"m{n:03}") for n in range(70)]
    await insert(store, *jobs)
    taken = await claimed(store, unavailable=["m001", "m068"])
    assert len(taken) == 68
    assert taken[:2] == [str(jobs[0]["_id"]), str(jobs[2]["_id"])]


async def test_a_deleted_job_is_not_claimed(store: Store) -> None:
    ids = await store.submit(3)
    jobs = store.application.services.jobs
    await jobs.delete(ids[0], store.client)
    await jobs.delete_batch(ids[1:2], store.client)
    assert await claimed(store) == ids[2:]


async def test_claims_of_one_process_do_not_meet(store: Store) -> None:
    await store.submit(60)
    lost: list[int] = []
    width = store.queue._width
    client_id = str(store.client.client_id)
    blocks = await asyncio.gather(
        *(store.queue.claim(client_id, CONFIG, ME, 10) for _ in range(6))
    )
    lost += [each for each in width.values() if each]
    assert [len(block) for block in blocks] == [10] * 6
    assert lost == []


async def test_a_process_that_meets_another_looks_wider(store: Store) -> None:
    await store.submit(80)
    queues = [new_queue(store) for _ in range(4)]
    client_id = str(store.client.client_id)
    blocks = await asyncio.gather(
        *(queue.claim(client_id, CONFIG, ME, 10) for queue in queues)
    )
    ids = [each.job_id for block in blocks for each in block]
    assert len(ids) == len(set(ids))
    assert sum(len(block) for block in blocks) >= 30


class Failing(Documents):
    """Jobs whose reads of a claimed block fail when the test wants it."""

    fails = 0
    steals: list[ObjectId]

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.steals = []

    async def find(self, where: Any, **options: Any) -> list[Document]:
        if "leaseToken" in where and self.fails:
            self.fails -= 1
            raise AutoReconnect("connection closed")
        found = await super().find(where, **options)
        if options.get("fields") == ["_id"] and found and self.steals:
            # Another process is quicker.
            stolen = {"_id": {"$in": self.steals}}
            self.steals = []
            self.fails = self.fails_after_the_theft
            await self.patch(stolen, {"$set": {"status": "PROCESSING"}})
        return found

    fails_after_the_theft = 0


async def test_what_was_won_is_returned_when_a_later_round_fails(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await store.submit(6)
    jobs = Failing(store.application.clients, "jobs", store.time)
    queue = new_queue(store, jobs)
    jobs.steals = [ObjectId(each) for each in ids[:2]]
    claim_some, rounds = queue._claim_some, 0

    async def second_fails(*arguments: Any) -> Any:
        nonlocal rounds
        rounds += 1
        if rounds == 2:
            raise AutoReconnect("connection closed")
        return await claim_some(*arguments)

    monkeypatch.setattr(queue, "_claim_some", second_fails)
    won = await queue.claim(str(store.client.client_id), CONFIG, ME, 4)
    assert [str(each.job_id) for each in won] == ids[2:4]
    assert rounds == 2


async def test_a_block_that_could_not_be_read_comes_with_the_next_claim(
    store: Store,
) -> None:
    ids = await store.submit(3)
    jobs = Failing(store.application.clients, "jobs", store.time)
    queue = new_queue(store, jobs)
    client_id = str(store.client.client_id)
    jobs.fails = 1
    with pytest.raises(AutoReconnect):
        await queue.claim(client_id, CONFIG, ME, 2)
    # Another worker's claim is no business of it.
    other = await queue.claim(client_id, CONFIG, Claimant("process", "o"), 9)
    assert [str(each.job_id) for each in other] == ids[2:]
    jobs.fails = 1
    with pytest.raises(AutoReconnect):
        await queue.claim(client_id, CONFIG, ME, 2)
    store.time.now += 20_000
    again = await queue.claim(client_id, CONFIG, ME, 2)
    assert [str(each.job_id) for each in again] == ids[:2]
    assert {each.attempts for each in again} == {1}
    # They have another full lease.
    store.time.now += 20_000
    assert await queue.return_expired() == (1, 0)


async def test_a_block_whose_lease_has_ended_is_not_taken_again(
    store: Store,
) -> None:
    await store.submit(2)
    jobs = Failing(store.application.clients, "jobs", store.time)
    queue = new_queue(store, jobs)
    client_id = str(store.client.client_id)
    jobs.fails = 1
    with pytest.raises(AutoReconnect):
        await queue.claim(client_id, CONFIG, ME, 2)
    store.time.now += 31_000
    assert await store.queue.return_expired() == (2, 0)
    (first,) = await store.queue.claim(client_id, CONFIG, ME, 1)
    again = await queue.claim(client_id, CONFIG, ME, 2)
    assert [each.attempts for each in again] == [2]
    assert first.job_id not in {each.job_id for each in again}


@pytest.mark.parametrize(
    "broken",
    [
        {"requestData": None},
        {"workingPrompts": [7]},
        {"temperature": "hot"},
        {"checkpoint": '{"x": 1}'},
        {"checkpoint": "no JSON"},
        {"failures": "many"},
        {"attemptHistory": 5},
        {"spent": "no JSON"},
        {"spent": "{}"},
    ],
    ids=str,
)
async def test_a_job_that_cannot_be_read_ends_alone(
    store: Store, broken: Document
) -> None:
    bad, good = job(store, 1, **broken), job(store, 2)
    await insert(store, bad, good)
    assert await claimed(store) == [str(good["_id"])]
    (ended,) = await documents(store).find({"_id": bad["_id"]})
    assert ended["status"] == "ERROR_PROCESSING"
    (name,) = broken
    assert "UNREADABLE_JOB" in ended["errorData"]
    assert name in ended["errorData"]
    assert "leaseToken" not in ended


async def test_a_broken_lease_is_returned_with_the_others(
    store: Store,
) -> None:
    lease = {
        "status": "PROCESSING",
        "leaseToken": "t",
        "leaseExpiresAt": store.time.now - 1,
    }
    await insert(
        store,
        job(store, 1, **lease, attemptHistory="no JSON"),
        job(store, 2, **{**lease, "attempts": None}),
        job(store, 3, **lease),
        job(store, 4, **lease, attempts=3, spent="no JSON"),
        job(store, 5, **lease, attempts=3, checkpoint="{}"),
    )
    assert await store.queue.return_expired() == (2, 3)


async def test_a_job_that_was_requeued_meanwhile_is_not_claimed_too_soon(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.submit()
    find = waiting_jobs.WaitingJobs.ids

    async def slow(*arguments: Any) -> list[ObjectId]:
        found = await find(*arguments)
        monkeypatch.undo()
        # Another process claims it, and is told to wait.
        await put_off(store, 60_000)
        return found

    monkeypatch.setattr(waiting_jobs.WaitingJobs, "ids", slow)
    assert (
        await new_queue(store).claim(
            str(store.client.client_id), CONFIG, ME, 1
        )
        == []
    )
    store.time.now += 60_001
    assert len(await claimed(store)) == 1


async def test_a_result_whose_answer_was_lost_counts_as_stored(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.submit(2)
    jobs = await store.claim()
    raw = Documents.raw.fget  # type: ignore[attr-defined]
    broken = [True]

    class Line:
        def __init__(self, collection: Any) -> None:
            self._collection = collection

        def __getattr__(self, name: str) -> Any:
            return getattr(self._collection, name)

        async def bulk_write(self, *arguments: Any, **options: Any) -> Any:
            done = await self._collection.bulk_write(*arguments, **options)
            if broken:
                broken.pop()
                raise AutoReconnect("connection closed")
            return done

    monkeypatch.setattr(
        Documents, "raw", property(lambda self: Line(raw(self)))
    )
    results = [Result(each, Succeeded("1", Metrics())) for each in jobs]
    assert await store.queue.store(results) == 2
    assert broken == []
    page = await store.application.services.jobs.page(
        store.client, JobFilter(status=JobStatus.PROCESSED), PageRequest()
    )
    assert len(page.items) == 2


# The other stores go through every document in any case.
@pytest.mark.parametrize("address", ["embedded"], indirect=True)
@pytest.mark.parametrize(
    "kind", ["model", "not due", "deleted", "operation", "bulk"]
)
@pytest.mark.timing
async def test_a_claim_costs_the_same_however_many_jobs_it_skips(
    store: Store, kind: str
) -> None:
    due = store.time.now + 3_600_000
    skipped: dict[str, Document] = {
        "model": {"model": "away"},
        "not due": {"availableAt": due, "deferredUntil": due},
        "deleted": {"deferredUntil": 2**53 - 1},
        "operation": {"operation": "other"},
        "bulk": {},
    }
    config, own = CONFIG, {}
    if kind == "bulk":
        own = {"serviceClass": "interactive"}
    if kind == "operation":
        config = CONFIG.model_copy(update={"operation_filter": "o"})

    async def cost() -> float:
        """The least of claims of one job each, in ms."""
        taken = []
        for _ in range(9):
            started = time.perf_counter()
            won = await store.queue.claim(
                str(store.client.client_id), config, ME, 1, ["away"]
            )
            taken.append((time.perf_counter() - started) * 1000)
            assert len(won) == 1
        return min(taken)

    wanted = [job(store, MANY + n, **own) for n in range(30)]
    await insert(store, *wanted)
    before = await cost()
    many = [job(store, n, **skipped[kind]) for n in range(MANY)]
    await insert(store, *many)
    if kind == "deleted":
        ids = [each["_id"] for each in many]
        await documents(store).soft_delete({"_id": {"$in": ids}})
    assert await cost() < 4 * before + 5 * slowness()
