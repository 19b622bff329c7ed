"""When jobs may start, and when they are too late."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId

from api.models.job_models import Job
from api.models.job_status import JobStatus
from api.models.job_update_models import JobBatchUpdateItem, JobUpdate
from api.models.metrics import Metrics
from api.services.queue import job_expiry
from api.services.queue.job_expiry import EXPIRY_DUE, JobExpiry
from api.services.queue.job_outcomes import Result
from api.services.queue.job_work import Requeued, Succeeded
from tests.support.api_user import ApiUser
from tests.support.store import Store
from tests.support.waiting import eventually
from utilities.clock import to_datetime
from utilities.cosmos_connector import Documents
from utilities.signals import Signals


def in_seconds(store: Store, seconds: float) -> str:
    return to_datetime(store.time.now + round(seconds * 1000)).isoformat()


def documents(store: Store) -> Documents:
    return Documents(store.application.clients, "jobs", store.time)


@pytest.fixture
def store(store: Store) -> Store:
    # The services take the time from the test, too.
    jobs = store.application.services.jobs
    jobs._clock = jobs._intake._clock = store.time
    return store


def expiry(store: Store) -> JobExpiry:
    return JobExpiry(documents(store), Signals(), store.time)


async def job(store: Store, job_id: str) -> Job:
    return await store.application.services.jobs.get(job_id, store.client)


async def claimed(store: Store) -> list[str]:
    return [str(each.job_id) for each in await store.claim()]


async def test_a_job_is_not_claimed_before_its_time(store: Store) -> None:
    (late,) = await store.submit(notBefore=in_seconds(store, 60))
    (soon,) = await store.submit(notBefore=in_seconds(store, -60))
    assert await claimed(store) == [soon]
    store.time.now += 59_999
    assert await claimed(store) == []
    store.time.now += 1
    assert await claimed(store) == [late]


async def test_the_time_of_a_waiting_job_can_be_changed(store: Store) -> None:
    jobs = store.application.services.jobs
    (one,) = await store.submit()
    later = JobUpdate.model_validate({"notBefore": in_seconds(store, 60)})
    assert (await jobs.update(one, later, store.client)).not_before
    assert await claimed(store) == []
    items = [JobBatchUpdateItem.model_validate({"jobId": one, "id": "x"})]
    await jobs.update_batch(items, store.client)
    assert await claimed(store) == []
    at_once = JobUpdate.model_validate({"notBefore": None})
    assert (await jobs.update(one, at_once, store.client)).not_before is None
    assert await claimed(store) == [one]


async def test_a_job_that_waits_too_long_ends(store: Store) -> None:
    (one,) = await store.submit(expiresAt=in_seconds(store, 60))
    (other,) = await store.submit()
    store.time.now += 59_999
    assert await expiry(store).sweep() == 0
    store.time.now += 1
    assert await expiry(store).sweep() >= 1
    ended = await job(store, one)
    assert ended.status is JobStatus.ERROR_PROCESSING
    assert ended.error_data is not None
    assert ended.error_data["errorType"] == "EXPIRED"
    assert ended.finished_at == to_datetime(store.time.now)
    assert ended.attempts == 0
    assert await claimed(store) == [other]
    assert await expiry(store).sweep() == 0


async def test_a_running_job_does_not_expire_until_it_is_requeued(
    store: Store,
) -> None:
    (one,) = await store.submit(expiresAt=in_seconds(store, 60))
    (running,) = await store.claim()
    assert running.expires_at == store.time.now + 60_000
    store.time.now += 60_000
    await expiry(store).sweep()
    assert (await job(store, one)).status is JobStatus.PROCESSING
    paid = Succeeded('{"a": 1}', Metrics(3, 4, 0.5))
    later = store.time.now + 30_000
    back = Requeued(later, counted=True, reason="r", checkpoint=paid)
    await store.queue.store([Result(running, back)])
    store.time.now += 5000
    assert await expiry(store).sweep() == 1
    ended = await job(store, one)
    assert ended.error_data is not None
    assert ended.error_data["errorType"] == "EXPIRED"
    # What was paid for is not lost.
    assert ended.error_data["failedResponseData"] == '{"a": 1}'
    assert ended.processing_metrics is not None
    assert ended.processing_metrics.total_tokens == 7


async def test_a_sweep_looks_at_each_job_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_expiry, "_AT_ONCE", 3)
    ids = await store.submit(8, expiresAt=in_seconds(store, 60))
    jobs = store.application.services.jobs
    await jobs.delete(ids[0], store.client)
    await jobs.update(
        ids[1], JobUpdate(status=JobStatus.CANCELED), store.client
    )
    store.time.now += 61_000
    assert await expiry(store).sweep() == 6
    own = {"_id": {"$in": [ObjectId(each) for each in ids]}}
    left = {**own, EXPIRY_DUE: {"$gt": 0}}
    raw = documents(store).raw
    assert await raw.find(left).to_list() == []
    assert (await job(store, ids[1])).status is JobStatus.CANCELED


async def test_a_change_of_the_time_wins_over_a_sweep(store: Store) -> None:
    (one,) = await store.submit(expiresAt=in_seconds(store, 60))
    store.time.now += 61_000
    sweep = expiry(store)
    found = [each for each in await sweep._due() if str(each["_id"]) == one]
    longer = JobUpdate.model_validate({"expiresAt": in_seconds(store, 60)})
    jobs = store.application.services.jobs
    await jobs.update(one, longer, store.client)
    assert await sweep._look_at(found) == 0
    assert (await job(store, one)).status is JobStatus.PENDING


async def test_an_expired_job_that_is_set_to_pending_runs(
    store: Store,
) -> None:
    ids = await store.submit(2, expiresAt=in_seconds(store, 60))
    store.time.now += 61_000
    await expiry(store).sweep()
    jobs = store.application.services.jobs
    first = await jobs.update(
        ids[0], JobUpdate(status=JobStatus.PENDING), store.client
    )
    assert first.expires_at is None
    again = {"status": "PENDING", "expiresAt": in_seconds(store, 60)}
    items = [JobBatchUpdateItem.model_validate({"jobId": ids[1], **again})]
    (second,) = await jobs.update_batch(items, store.client)
    assert second.expires_at is not None
    store.time.now += 61_000
    assert await expiry(store).sweep() == 1
    assert await claimed(store) == [ids[0]]


def _soon(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def test_a_job_expires_although_nobody_works(user: ApiUser) -> None:
    made = user.job(user.model(), user.prompt(), expiresAt=_soon(0.1))
    ended = user.ended(made["jobId"])
    assert ended["errorData"]["errorType"] == "EXPIRED"


def test_a_worker_starts_a_job_when_it_is_due(user: ApiUser) -> None:
    user.worker(pollInterval=1)
    model, prompt = user.model(), user.prompt()
    due = _soon(1.5)
    made = user.job(model, prompt, notBefore=due)
    waiting = user.get(f"/jobs/{made['jobId']}")["waitingFor"]
    assert waiting["kind"] == "NOT_DUE"
    assert datetime.fromisoformat(waiting["until"]) == _in_ms(due)
    ended = user.ended(made["jobId"])
    assert ended["status"] == "PROCESSED"
    started = datetime.fromisoformat(ended["startedAt"])
    assert started >= _in_ms(due)


def _in_ms(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def test_a_job_that_expires_while_its_worker_is_busy_is_not_started(
    user: ApiUser, provider: Any
) -> None:
    provider.delay = 1.0
    model = user.model(sdk="OpenAI", endpoint=provider.url, key="PROVIDER-KEY")
    prompt = user.prompt()
    user.worker(maxItemsPerBatch=1, pollInterval=1)
    first = user.job(model, prompt)
    eventually(lambda: provider.was_asked(1), what="the first call")
    second = user.job(model, prompt, expiresAt=_soon(0.3))
    assert user.ended(first["jobId"])["status"] == "PROCESSED"
    ended = user.ended(second["jobId"])
    assert ended["errorData"]["errorType"] == "EXPIRED"
    assert ended["attempts"] == 0
    assert len(provider.requests) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"notBefore": "2030-01-01T12:00:00"},
        {"notBefore": 1893456000},
        {"notBefore": "0001-01-01T00:00:00+14:00"},
        {"expiresAt": "soon"},
        {
            "notBefore": "2030-01-01T12:00:00Z",
            "expiresAt": "2030-01-01T13:00:00+01:00",
        },
    ],
)
def test_times_without_a_zone_and_impossible_ones_are_refused(
    user: ApiUser, fields: dict[str, object]
) -> None:
    body = user.job_body("m", "p", **fields)
    refused = user.post("/jobs", body, 422)
    assert refused["detail"][0]["loc"][0] == "body"


def test_times_are_answered_in_utc(user: ApiUser) -> None:
    made = user.job(
        user.model(),
        user.prompt(),
        notBefore="2090-01-01T13:00:00+01:00",
        expiresAt="2090-01-02T00:00:00.250Z",
    )
    assert made["notBefore"] == "2090-01-01T12:00:00Z"
    assert made["expiresAt"] == "2090-01-02T00:00:00.250000Z"
