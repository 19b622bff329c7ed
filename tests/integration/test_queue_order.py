"""Which job is claimed first: by class, by priority, by age."""

from typing import Any

from bson import ObjectId

from api.models.job_fields import ServiceClass
from api.models.job_status import JobStatus
from api.models.job_update_models import JobBatchUpdateItem, JobUpdate
from api.services.queue.queue_order import AGING_SECONDS, Aging
from api.services.shared.caller import Caller
from tests.support.store import CONFIG, ME, Store
from utilities.cosmos_connector import Document, Documents
from utilities.store.schema import _rank_jobs

STEP = AGING_SECONDS * 1000
INTERACTIVE = ServiceClass.INTERACTIVE


def documents(store: Store) -> Documents:
    return Documents(store.application.clients, "jobs", store.time)


def job(
    store: Store,
    submitted: int,
    priority: int,
    service_class: ServiceClass = ServiceClass.BULK,
    **fields: object,
) -> Document:
    """Give a job that was submitted some ms after the clock's time."""
    moment = store.time.now + submitted
    return {
        "_id": ObjectId(),
        "clientId": store.client.client_id,
        "status": "PENDING",
        "model": store.model,
        "operation": "o",
        "workingPrompts": [],
        "temperature": 0.0,
        "requestData": "{}",
        "priority": priority,
        "serviceClass": service_class,
        "sequence": moment * 1_000_000,
        "rank": Aging().rank(service_class, priority, moment),
        "attempts": 0,
        "availableAt": 1,
        **fields,
    }


async def claimed(store: Store, limit: int = 100) -> list[str]:
    jobs = await store.queue.claim(
        str(store.client.client_id), CONFIG, ME, limit
    )
    return [str(each.job_id) for each in jobs]


async def order_of(store: Store, *jobs: Document) -> list[int]:
    """Give the positions of the jobs in the order of their claims."""
    await documents(store).insert_many(list(jobs))
    ids = [str(each["_id"]) for each in jobs]
    return [ids.index(each) for each in await claimed(store)]


async def test_in_a_short_time_priority_decides_then_age(
    store: Store,
) -> None:
    jobs = (
        job(store, 0, 7),
        job(store, 1, 100),
        job(store, 2, 7),
        job(store, STEP - 1, 6),
    )
    assert await order_of(store, *jobs) == [3, 0, 2, 1]


async def test_a_job_is_overtaken_for_one_step_of_each_priority(
    store: Store,
) -> None:
    # From 500 to 1 there are 499 steps: the bound, and one ms on each side.
    bound = 499 * STEP
    jobs = (
        job(store, 0, 500),
        job(store, bound - 1, 1),
        job(store, bound + 1, 1),
    )
    assert await order_of(store, *jobs) == [1, 0, 2]


async def test_without_ageing_a_stream_of_urgent_jobs_would_starve_others(
    store: Store,
) -> None:
    """A simulated day, with a job of priority 1 in every minute."""
    waits = job(store, 0, 30)
    await documents(store).insert_many([waits])
    start, claims = store.time.now, []
    while str(waits["_id"]) not in claims:
        await documents(store).insert_many([job(store, 0, 1)])
        claims += await claimed(store, limit=1)
        store.time.now += 60_000
    waited = store.time.now - start
    # One job a minute is claimed; the bound is 29 steps of ten minutes.
    assert 29 * STEP <= waited <= 29 * STEP + 120_000


async def test_interactive_jobs_go_before_all_bulk_jobs(
    store: Store,
) -> None:
    jobs = (
        job(store, -(10**9), 1),
        job(store, 1, 1000, INTERACTIVE),
        job(store, 2, 5, INTERACTIVE),
    )
    assert await order_of(store, *jobs) == [2, 1, 0]


async def test_a_flood_of_interactive_jobs_leaves_bulk_jobs_a_share(
    store: Store,
) -> None:
    many = [job(store, n, 100, INTERACTIVE) for n in range(200)]
    bulk = [job(store, n, 100) for n in range(20)]
    await documents(store).insert_many([*many, *bulk])
    taken = [await claimed(store, limit=10) for _ in range(10)]
    ids = {str(each["_id"]) for each in bulk}
    found = [each for block in taken for each in block if each in ids]
    # One in twenty of the interactive ones, which come first.
    assert len(found) == 4
    assert not ids & {*taken[0], *taken[1]}


async def test_without_bulk_jobs_no_claim_is_lost(store: Store) -> None:
    many = [job(store, n, 100, INTERACTIVE) for n in range(60)]
    await documents(store).insert_many(many)
    taken = [await claimed(store, limit=20) for _ in range(3)]
    assert [len(block) for block in taken] == [20, 20, 20]


async def test_a_class_may_be_left_out_of_a_claim(store: Store) -> None:
    bulk, urgent = job(store, 0, 1), job(store, 0, 9, INTERACTIVE)
    await documents(store).insert_many([bulk, urgent])
    client_id = str(store.client.client_id)
    for wanted, expected in (
        (ServiceClass.BULK, bulk),
        (INTERACTIVE, urgent),
    ):
        found = await store.queue.claim(
            client_id, CONFIG, ME, 10, service_class=wanted
        )
        assert [each.job_id for each in found] == [expected["_id"]]
        assert found[0].service_class is wanted


async def test_a_changed_job_moves_in_the_queue(store: Store) -> None:
    first, second, third = await store.submit(3)
    jobs = store.application.services.jobs
    await jobs.update(third, JobUpdate(priority=1), store.client)
    changes = [JobBatchUpdateItem(job_id=second, service_class=INTERACTIVE)]
    await jobs.update_batch(changes, store.client)
    assert await claimed(store) == [second, third, first]


async def test_a_job_that_is_set_back_keeps_its_age(store: Store) -> None:
    first, second = await store.submit(2)
    jobs, admin = store.application.services.jobs, Caller(is_admin=True)
    await jobs.update(
        first, JobUpdate(status=JobStatus.CANCELED), store.client
    )
    await jobs.update(first, JobUpdate(status=JobStatus.PENDING), admin)
    assert await claimed(store) == [first, second]


async def test_the_schemas_step_ranks_the_jobs_of_earlier_versions(
    store: Store,
) -> None:
    def old(submitted: int, priority: int, status: str) -> Document:
        made: dict[str, Any] = job(store, submitted, priority, status=status)
        del made["rank"], made["serviceClass"]
        return made

    late, early, ended = (
        old(0, 200, "PENDING"),
        old(1, 50, "PENDING"),
        old(2, 1, "PROCESSED"),
    )
    await documents(store).insert_many([late, early, ended])
    for _ in range(2):
        await _rank_jobs(documents(store).raw, "PENDING")
    new = job(store, 3, 100)
    ids = [early, new, late]
    await documents(store).insert_many([new])
    assert await claimed(store) == [str(each["_id"]) for each in ids]
