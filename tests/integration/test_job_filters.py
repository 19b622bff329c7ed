"""Lists, summaries and changes of the jobs that match a filter."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from api.core.errors import InvalidRequestError, RuleError
from api.models.job_bulk_models import JobBulkChange
from api.models.job_status import JobStatus
from api.models.job_update_models import JobUpdate
from api.models.metrics import Metrics
from api.services.jobs import job_bulk
from api.services.jobs.job_filter import JobFilter
from api.services.jobs.job_view import JobView
from api.services.queue.job_outcomes import Result
from api.services.queue.job_work import Failed, Succeeded
from api.services.shared.caller import Caller
from api.services.shared.date_range import TimeRange, read_range
from api.services.shared.paging import PageRequest
from tests.support.api_user import ApiUser, unique
from tests.support.store import Store
from utilities.clock import to_datetime
from utilities.cosmos_connector import Documents
from utilities.store.schema import _error_types

ADMIN = Caller(is_admin=True)
PAGE = PageRequest()


@pytest.fixture
def store(store: Store) -> Store:
    # The services take the time from the test, too.
    jobs = store.application.services.jobs
    jobs._clock = jobs._intake._clock = store.time
    return store


async def listed(
    store: Store, wanted: JobFilter, view: JobView | None = None
) -> list[str]:
    jobs = store.application.services.jobs
    page = await jobs.page(store.client, wanted, PAGE, view or JobView())
    return [job.job_id for job in page.items]


async def fail(store: Store, *kinds: str) -> None:
    jobs = await store.claim(len(kinds))
    await store.queue.store(
        [
            Result(job, Failed({"errorType": kind, "message": "m"}))
            for job, kind in zip(jobs, kinds, strict=True)
        ]
    )


def change(**fields: Any) -> JobBulkChange:
    dry_run = fields.pop("dryRun", False)
    return JobBulkChange.model_validate({"filter": fields, "dryRun": dry_run})


async def test_jobs_are_listed_by_the_time_of_their_submission(
    store: Store,
) -> None:
    first = await store.submit(3)
    moment = to_datetime(store.time.now)
    store.time.now += 1
    second = await store.submit(3)
    until = JobFilter(times=TimeRange(end=moment))
    since = JobFilter(
        times=TimeRange(start=moment + timedelta(milliseconds=1))
    )
    assert await listed(store, until) == first
    assert await listed(store, since) == second
    jobs = store.application.services.jobs
    assert (await jobs.summary(store.client, since)).total == 3
    everything = JobFilter(times=read_range("1000-01-01", "9999-12-31"))
    assert await listed(store, everything) == first + second


@pytest.mark.parametrize("newest_first", [False, True])
async def test_pages_stay_within_the_dates(
    store: Store,
    newest_first: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    ids: list[str] = []
    for _ in range(5):
        ids += await store.submit(2)
        store.time.now += 1000
    base = store.time.now - 5000
    times = TimeRange(to_datetime(base + 1000), to_datetime(base + 3000))
    view = JobView(newest_first=newest_first)
    jobs = store.application.services.jobs
    seen: list[str] = []
    cursor = None
    while True:
        page = await jobs.page(
            store.client, JobFilter(times=times), PageRequest(2, cursor), view
        )
        seen += [job.job_id for job in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    within = ids[2:8]
    assert seen == (within[::-1] if newest_first else within)


async def test_jobs_are_found_by_the_type_of_their_error(
    store: Store,
) -> None:
    ids = await store.submit(4)
    await fail(store, "A", "B", "A")
    assert await listed(store, JobFilter(error_type="A")) == [ids[0], ids[2]]
    jobs = store.application.services.jobs
    told = JobUpdate.model_validate({"errorData": {"errorType": "A"}})
    await jobs.update(ids[1], told, store.client)
    await jobs.update(
        ids[0], JobUpdate(status=JobStatus.PENDING), store.client
    )
    assert await listed(store, JobFilter(error_type="A")) == ids[1:3]
    summary = await jobs.summary(store.client, JobFilter(error_type="A"))
    assert summary.error_processing == summary.total == 2


async def test_failed_jobs_of_earlier_versions_get_their_error_type(
    store: Store,
) -> None:
    ids = await store.submit(3)
    await fail(store, "A", "B", "B")
    documents = Documents(store.application.clients, "jobs")
    own = {"clientId": store.client.client_id}
    await documents.raw.update_many(own, {"$unset": {"errorType": ""}})
    await documents.raw.update_one(
        {**own, "errorData": {"$ne": None}}, {"$set": {"errorData": "{}"}}
    )
    await _error_types(store.application.clients.database())
    found = await listed(store, JobFilter(error_type="B"))
    assert set(found) <= set(ids)
    assert 1 <= len(found) <= 2
    assert len(await listed(store, JobFilter(error_type=""))) == 1


async def test_a_batchs_jobs_are_found_together(store: Store) -> None:
    await store.submit()
    ids = await store.submit(3, batchKey="night")
    wanted = JobFilter(batch_key="night")
    assert await listed(store, wanted) == ids
    jobs = store.application.services.jobs
    assert (await jobs.summary(store.client, wanted)).pending == 3
    item = {
        "operation": "o",
        "workingPrompts": [store.prompt],
        "model": store.model,
        "requestData": {},
    }
    mine = {**item, "batchKey": "night"}
    made = await jobs.create_batch([item, mine], store.client, "the-key")
    assert [job.batch_key for job in made] == ["the-key", "night"]
    again = await jobs.create_batch([item, mine], store.client, "the-key")
    assert again == made


async def test_only_the_fields_that_are_wanted_are_read(
    store: Store,
) -> None:
    await store.submit()
    (job,) = await store.claim()
    await store.queue.store([Result(job, Succeeded("{}", Metrics()))])
    jobs = store.application.services.jobs
    view = JobView.of_text("status,workerId,startedAt", newest_first=False)
    assert "requestData" not in view.stored
    (found,) = (await jobs.page(store.client, JobFilter(), PAGE, view)).items
    assert found.worker_id == "worker"
    assert found.started_at is not None
    (whole,) = (await jobs.page(store.client, JobFilter(), PAGE)).items
    assert whole.worker_id == "worker"
    with pytest.raises(InvalidRequestError, match="no field responsedata"):
        JobView.of_text("responsedata", newest_first=False)


async def test_all_that_wait_or_run_are_canceled(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_bulk, "_SLICE", 3)
    bulk = store.application.services.job_bulk
    waiting = await store.submit(8, priority=7)
    await store.submit(2, priority=9)
    await store.claim(2)
    box = store.application.shared.cancellations
    only = await bulk.cancel(change(priority=7, dryRun=True), store.client)
    assert (only.matched, only.changed) == (8, 0)
    done = await bulk.cancel(change(priority=7), store.client)
    assert (done.matched, done.changed) == (8, 8)
    assert len(await box.take("process")) == 2
    again = await bulk.cancel(change(priority=7), store.client)
    assert (again.matched, again.changed) == (0, 0)
    assert await listed(store, JobFilter(status=JobStatus.CANCELED)) == waiting
    other = Caller("somebody-else")
    assert (await bulk.cancel(change(operation="o"), other)).matched == 0
    with pytest.raises(RuleError, match="not possible"):
        await bulk.cancel(change(status="PROCESSED"), store.client)


async def test_all_that_have_failed_are_retried(store: Store) -> None:
    bulk = store.application.services.job_bulk
    ids = await store.submit(5)
    await fail(store, "A", "B", "A")
    done = await bulk.retry(change(errorType="A"), store.client)
    assert (done.matched, done.changed) == (2, 2)
    claimed = [str(job.job_id) for job in await store.claim()]
    assert sorted(claimed) == sorted([ids[0], ids[2], *ids[3:]])
    with pytest.raises(RuleError, match="only ERROR_PROCESSING"):
        await bulk.retry(change(status="CANCELED"), store.client)
    await bulk.cancel(change(operation="o"), store.client)
    back = await bulk.retry(
        change(status="CANCELED", model=store.model), ADMIN
    )
    assert back.changed == 4


async def test_a_change_that_takes_too_long_goes_on_when_repeated(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.submit(5)
    bulk = store.application.services.job_bulk
    monkeypatch.setattr(bulk, "_longest_seconds", -1.0)
    early = await bulk.cancel(change(operation="o"), store.client)
    assert (early.matched, early.changed) == (5, 0)
    monkeypatch.setattr(bulk, "_longest_seconds", 60.0)
    rest = await bulk.cancel(change(operation="o"), store.client)
    assert (rest.matched, rest.changed) == (5, 5)


async def test_a_job_that_changes_meanwhile_is_left_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.submit(2)
    await fail(store, "A", "A")
    jobs = store.application.services.jobs
    bulk = store.application.services.job_bulk
    changing = bulk._change_slice

    async def late(work: Any, found: Any) -> int:
        note = JobUpdate.model_validate({"clientReference": {"a": 1}})
        await jobs.update(str(found[0]["_id"]), note, store.client)
        return await changing(work, found)

    monkeypatch.setattr(bulk, "_change_slice", late)
    done = await bulk.retry(change(errorType="A"), store.client)
    assert (done.matched, done.changed) == (2, 1)
    monkeypatch.undo()
    rest = await bulk.retry(change(errorType="A"), store.client)
    assert (rest.matched, rest.changed) == (1, 1)


def test_a_list_shows_what_was_asked_for(user: ApiUser) -> None:
    model, prompt = user.model(), user.prompt()
    ids = [user.job(model, prompt)["jobId"] for _ in range(3)]
    newest = user.get("/jobs", sort="-createdAt", fields="status,model")
    assert newest == [
        {"jobId": each, "status": "PENDING", "model": model}
        for each in ids[::-1]
    ]
    page = user.http.get("/jobs?limit=2&fields=id", headers=user.headers)
    assert page.headers["X-Next-Cursor"]
    assert page.json() == [{"jobId": each, "id": None} for each in ids[:2]]
    created = user.get(f"/jobs/{ids[1]}")["_metadata"]["createdAt"]
    before = datetime.fromisoformat(created) - timedelta(days=1)
    assert user.get("/jobs", to=f"{before:%Y-%m-%d}") == []
    assert user.get("/jobs/summary", **{"from": created})["total"] >= 1
    user.get("/jobs", 400, **{"from": "yesterday"})
    refused = user.get("/jobs", 422, fields="jobId,nothing")
    assert refused["detail"][0]["loc"] == ["query", "fields"]
    user.get("/jobs", 422, sort="priority")


def test_many_jobs_are_canceled_and_retried(user: ApiUser) -> None:
    model, prompt = user.model(), user.prompt()
    key = unique("batch")
    items = [user.job_body(model, prompt) for _ in range(3)]
    made = user.post(
        "/jobs/batch", {"jobs": items}, **{"Idempotency-Key": key}
    )
    assert {job["batchKey"] for job in made} == {key}
    wanted = {"filter": {"batchKey": key}}
    dry = user.post("/jobs/cancel", {**wanted, "dryRun": True}, 200)
    assert dry == {"matched": 3, "changed": 0}
    done = user.post("/jobs/cancel", wanted, 200)
    assert done == {"matched": 3, "changed": 3}
    assert user.get("/jobs/summary", batchKey=key)["CANCELED"] == 3
    none = user.post("/jobs/retry", wanted, 200)
    assert none == {"matched": 0, "changed": 0}
    bodies: list[dict[str, Any]] = [
        {},
        {"filter": {}},
        {"filter": {"bathcKey": key}},
        {**wanted, "dry": True},
        {"filter": {"clientReference": 1}},
    ]
    for body in bodies:
        user.post("/jobs/cancel", body, 422)
    refused = user.post("/jobs/retry", {"filter": {"from": "x"}}, 400)
    assert "ISO 8601" in refused["detail"]


def test_a_batch_is_answered_with_the_fields_that_are_wanted(
    user: ApiUser,
) -> None:
    model, prompt = user.model(), user.prompt()
    body = {
        "jobs": [
            {**user.job_body(model, prompt), "idempotencyKey": str(n)}
            for n in range(3)
        ]
    }
    shown = user.post("/jobs/batch?fields=status,responseData", body)
    assert [sorted(job) for job in shown] == [
        ["jobId", "responseData", "status"]
    ] * 3
    # A repetition, too; and without the fields, all are shown.
    again = user.post("/jobs/batch?fields=status", body)
    assert [job["jobId"] for job in again] == [job["jobId"] for job in shown]
    assert user.post("/jobs/batch", body)[0]["requestData"]
    user.post("/jobs/batch?fields=state", body, 422)
    changes = [{"jobId": job["jobId"], "status": "CANCELED"} for job in shown]
    changed = user.request(
        "PATCH", "/jobs/batch?fields=status", 200, json={"jobs": changes}
    )
    assert changed == [
        {"jobId": job["jobId"], "status": "CANCELED"} for job in shown
    ]
