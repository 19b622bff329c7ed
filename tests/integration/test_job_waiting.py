"""Why jobs wait, for whole lists at once."""

from typing import Any

import pytest

from api.models.job_status import JobStatus
from api.models.job_update_models import JobUpdate
from api.models.worker_models import WorkerConfigInput, WorkerCreate
from api.services.jobs.job_filter import JobFilter
from api.services.queue.job_outcomes import Result
from api.services.queue.job_work import Requeued
from api.services.shared.caller import Caller
from api.services.shared.paging import PageRequest
from tests.support.api_user import ApiUser
from tests.support.store import Store
from utilities.clock import to_datetime
from utilities.cosmos_connector import Documents


async def kinds(store: Store) -> list[str]:
    services = store.application.services
    page = await services.jobs.page(store.client, JobFilter(), PageRequest())
    explained = await services.job_waiting.explain_all(page.items)
    waits = [job.waiting_for for job in explained]
    return [wait.kind.value if wait else "" for wait in waits]


async def worker(store: Store, **config: Any) -> None:
    fields = {"pollInterval": 1, "maxItemsPerBatch": 1, **config}
    made = WorkerCreate(
        worker_id="w", config=WorkerConfigInput.model_validate(fields)
    )
    await store.application.services.workers.create(made, store.client)


async def requeue(store: Store, *kinds: str | None) -> None:
    jobs = await store.claim(len(kinds))
    later = store.time.now + 60_000
    await store.queue.store(
        [
            Result(job, Requeued(later, False, "r", waits_for=kind))
            for job, kind in zip(jobs, kinds, strict=True)
        ]
    )


@pytest.fixture
def store(store: Store) -> Store:
    services = store.application.services
    services.jobs._clock = services.job_waiting._clock = store.time
    services.jobs._intake._clock = store.time
    return store


async def test_a_job_that_was_not_admitted_says_why(store: Store) -> None:
    ids = await store.submit(5)
    await requeue(store, "limit", "budget", "suspended", None)
    assert await kinds(store) == [
        "LIMIT",
        "BUDGET",
        "SUSPENDED",
        "NOT_DUE",
        "NO_WORKER",
    ]
    services = store.application.services
    job = await services.jobs.get(ids[0], store.client)
    found = (await services.job_waiting.explain(job)).waiting_for
    assert found is not None
    assert found.until == to_datetime(store.time.now + 60_000)
    # Once it is due, it waits for something else.
    store.time.now += 60_000
    assert await kinds(store) == ["NO_WORKER"] * 5


async def test_a_job_that_starts_anew_waits_for_nothing_of_before(
    store: Store,
) -> None:
    (one,) = await store.submit()
    await requeue(store, "budget")
    jobs = store.application.services.jobs
    admin = Caller(is_admin=True)
    for status in (JobStatus.CANCELED, JobStatus.PENDING):
        await jobs.update(one, JobUpdate(status=status), admin)
    due = to_datetime(store.time.now + 1000).isoformat()
    later = JobUpdate.model_validate({"notBefore": due})
    await jobs.update(one, later, store.client)
    assert await kinds(store) == ["NOT_DUE"]


async def test_each_job_of_a_list_has_its_own_reason(store: Store) -> None:
    await store.submit(operation="a", clientReference={"n": 1})
    await store.submit(operation="b", clientReference={"n": 2})
    await worker(store, operationFilter="a")
    assert await kinds(store) == ["WORKER_STOPPED", "FILTER_MISMATCH"]
    await worker(store, clientReferenceFilters={"n": 2})
    assert await kinds(store) == ["WORKER_STOPPED"] * 2


async def test_a_list_asks_the_store_as_often_as_one_job(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await worker(store)
    asked = 0
    find = Documents.find

    async def counted(*args: Any, **options: Any) -> Any:
        nonlocal asked
        asked += 1
        return await find(*args, **options)

    services = store.application.services
    counts = []
    for count in (1, 30):
        await store.submit(count)
        page = await services.jobs.page(
            store.client, JobFilter(), PageRequest()
        )
        with monkeypatch.context() as patched:
            patched.setattr(Documents, "find", counted)
            asked = 0
            await services.job_waiting.explain_all(page.items)
        counts.append(asked)
    # What is kept for a second may be read again in between.
    assert max(counts) < 15


def test_a_list_tells_why_its_jobs_wait(user: ApiUser) -> None:
    model, prompt = user.model(), user.prompt()
    for _ in range(2):
        user.job(model, prompt)
    kinds = [job["waitingFor"]["kind"] for job in user.get("/jobs")]
    assert kinds == ["NO_WORKER"] * 2
    only = user.get("/jobs", fields="waitingFor")
    assert [job["waitingFor"]["kind"] for job in only] == kinds
    assert "waitingFor" not in user.get("/jobs", fields="status")[0]
