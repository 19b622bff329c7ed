"""`POST /jobs/{jobId}/cancel`, whatever the job is doing."""

import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from api.core.errors import TransitionError
from api.models.job_status import JobStatus
from api.models.job_update_models import JobUpdate
from api.models.metrics import Metrics
from api.services.queue.job_outcomes import Result, as_canceled
from api.services.queue.job_work import (
    CanceledJob,
    Requeued,
    Spent,
    Succeeded,
)
from api.services.shared.caller import Caller
from llm_workers.results.spool import decode, encode
from tests.conftest import PROVIDER_KEY
from tests.support.api_user import ADMIN, ApiUser
from tests.support.fake_provider import FakeProvider
from tests.support.live_server import live_server, make_settings
from tests.support.store import ME, Store
from tests.support.waiting import eventually


async def test_a_waiting_job_is_canceled_for_good(store: Store) -> None:
    cancel = store.application.services.job_cancel
    (one,) = await store.submit()
    canceled = await cancel.cancel(one, store.client)
    assert canceled.status is JobStatus.CANCELED
    assert canceled.finished_at is not None
    assert await store.claim() == []
    again = await cancel.cancel(one, store.client)
    assert again == canceled


async def test_a_process_is_told_of_its_own_jobs_only(store: Store) -> None:
    services = store.application.services
    box = store.application.shared.cancellations
    ids = await store.submit(2)
    jobs = await store.claim()
    await services.job_cancel.cancel(ids[0], store.client)
    assert await box.take("another") == {}
    assert await box.take(ME.process_id) == {
        jobs[0].job_id: jobs[0].lease_token
    }
    assert await box.take(ME.process_id) == {}
    # A repeated request tells it again: the first may have been lost.
    await services.job_cancel.cancel(ids[0], store.client)
    assert len(await box.take(ME.process_id)) == 1
    # The leases say the same, though later.
    tokens = [job.lease_token for job in jobs]
    assert await store.queue.extend_leases(tokens) == 1
    assert list(await store.queue.canceled(tokens)) == [jobs[0].job_id]
    await box.clear()


async def test_what_a_canceled_job_has_cost_is_noted(store: Store) -> None:
    services = store.application.services
    ids = await store.submit(3)
    jobs = await store.claim()
    for job_id in ids[:2]:
        await services.job_cancel.cancel(job_id, store.client)
    paid = Metrics(5, 2, 0.5)
    late = Result(jobs[0], Succeeded('{"late": 1}', paid))
    stopped = Result(jobs[1], CanceledJob(paid))
    other = Result(jobs[2], Succeeded("{}", paid))
    await store.queue.store([late, stopped, other])
    for job_id in ids[:2]:
        job = await services.jobs.get(job_id, store.client)
        assert job.status is JobStatus.CANCELED
        assert job.response_data is None
        assert job.processing_metrics is not None
        assert job.processing_metrics.total_tokens == 7
    tokens = [job.lease_token for job in jobs]
    assert await store.queue.canceled(tokens) == {}


async def test_an_answer_does_not_change_a_job_that_starts_again(
    store: Store,
) -> None:
    services = store.application.services
    (one,) = await store.submit()
    (job,) = await store.claim()
    await services.job_cancel.cancel(one, store.client)
    admin = Caller(is_admin=True)
    await services.jobs.update(one, JobUpdate(status=JobStatus.PENDING), admin)
    await store.queue.store([Result(job, CanceledJob(Metrics(5, 2, 0.5)))])
    found = await services.jobs.get(one, store.client)
    assert found.status is JobStatus.PENDING
    assert found.processing_metrics is None


async def test_a_job_that_has_ended_stays(store: Store) -> None:
    services = store.application.services
    (one,) = await store.submit()
    (job,) = await store.claim()
    await store.queue.store([Result(job, Succeeded("{}", Metrics()))])
    with pytest.raises(TransitionError, match="transition from PROCESSED"):
        await services.job_cancel.cancel(one, store.client)


async def test_costs_of_earlier_steps_and_tries_are_kept(
    store: Store,
) -> None:
    await store.submit()
    (job,) = await store.claim()
    paid = Succeeded("{}", Metrics(1, 1, 0.5))
    spent = Spent(Metrics(2, 2, 0.5)).dump()
    back = Requeued(1, False, "r", checkpoint=paid, spent=spent)
    result = as_canceled(Result(job, back))
    assert result.outcome == CanceledJob(paid.metrics)
    assert result.job.spent == spent
    assert decode(encode(result)) == result


def provider_model(user: ApiUser, provider: FakeProvider) -> str:
    return user.model(sdk="OpenAI", endpoint=provider.url, key="PROVIDER-KEY")


@pytest.mark.timing
def test_a_running_call_is_stopped(
    user: ApiUser, provider: FakeProvider
) -> None:
    provider.delay = 30
    model, prompt = provider_model(user, provider), user.prompt()
    user.worker(maxItemsPerBatch=1)
    first = user.job(model, prompt)
    eventually(lambda: provider.was_asked(1), what="the first call")
    second = user.job(model, prompt)
    started = time.monotonic()
    canceled = user.post(f"/jobs/{first['jobId']}/cancel", None, 200)
    assert canceled["status"] == "CANCELED"
    eventually(lambda: provider.disconnected == 1, what="the end of the call")
    # Its place is free again.
    eventually(lambda: provider.was_asked(2), what="the second call")
    assert time.monotonic() - started < 2
    user.post(f"/jobs/{second['jobId']}/cancel", None, 200)
    eventually(lambda: provider.disconnected == 2, what="the end of the call")
    assert user.get(f"/jobs/{first['jobId']}")["status"] == "CANCELED"


@pytest.mark.timing
def test_a_call_in_another_process_is_stopped(
    own: ApiUser,
    database: str,
    fresh: Any,
    provider: FakeProvider,
    tmp_path: Path,
) -> None:
    provider.delay = 30
    settings = make_settings(
        tmp_path / "other", db_name=fresh.application.settings.db_name
    )
    keys = {"PROVIDER_KEY": PROVIDER_KEY}
    own.worker(maxItemsPerBatch=1)
    job = own.job(provider_model(own, provider), own.prompt())
    eventually(lambda: provider.was_asked(1), what="the call")
    with (
        live_server(settings, database, keys, run_workers=False) as other,
        httpx2.Client(base_url=other.url, timeout=60) as client,
    ):
        started = time.monotonic()
        answer = client.post(f"/jobs/{job['jobId']}/cancel", headers=ADMIN)
        assert answer.json()["status"] == "CANCELED"
        eventually(
            lambda: provider.disconnected == 1, what="the end of the call"
        )
        assert time.monotonic() - started < 3


def test_another_clients_job_does_not_exist(
    user: ApiUser, http: httpx2.Client
) -> None:
    job = user.job(user.model(), user.prompt())
    path = f"/jobs/{job['jobId']}/cancel"
    assert "not found" in ApiUser(http).post(path, None, 404)["detail"]
    user.post(path, None, 200)
