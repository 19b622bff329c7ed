"""`GET /jobs/{jobId}?wait=...`: no polling for who waits, or for us."""

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from aiohttp import web

from api.models.metrics import Metrics
from api.services.jobs import job_ends
from api.services.jobs.job_ends import JobEnds
from api.services.jobs.job_view import JobView
from api.services.queue.job_outcomes import Result
from api.services.queue.job_work import Succeeded
from api.services.shared.caller import Caller
from tests.support.api_user import ApiUser
from tests.support.fake_provider import Body, FakeProvider, completion
from tests.support.store import Store
from utilities.cosmos_connector import Documents, ObjectId
from utilities.signals import JOBS_ENDED, Signals


class Ends:
    """What lets requests wait, running, and how often it has asked."""

    def __init__(self, store: Store, every_seconds: float) -> None:
        self.signals = Signals()
        self.asked = 0
        documents = Documents(store.application.clients, "jobs")
        self.part = JobEnds(documents, self.signals, every_seconds)
        ended = self.part._ended

        async def counted(ids: Any) -> list[ObjectId]:
            self.asked += 1
            return await ended(ids)

        self.part._ended = counted  # type: ignore[method-assign]
        self.store = store

    async def wait(self, job_id: str, seconds: float) -> None:
        jobs = self.store.application.services.jobs
        await self.part.wait(
            await jobs.get(job_id, self.store.client), seconds
        )


async def answer(store: Store) -> None:
    jobs = await store.claim()
    results = [Result(job, Succeeded("{}", Metrics())) for job in jobs]
    await store.queue.store(results)


@pytest.mark.parametrize("told", [True, False])
async def test_all_who_wait_are_answered_by_a_few_questions(
    store: Store,
    told: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    ids = await store.submit(100)
    ends = Ends(store, 60.0 if told else 0.5)
    running = asyncio.create_task(ends.part.run())
    waiting = [asyncio.create_task(ends.wait(each, 60)) for each in ids]
    while len(ends.part._waiting) < len(ids):  # noqa: ASYNC110 - from outside
        await asyncio.sleep(0.01)
    while (await store.statuses()).get("PENDING"):
        await answer(store)
    ends.signals.publish(JOBS_ENDED)
    async with asyncio.timeout(60):
        await asyncio.gather(*waiting)
    assert ends.asked < 40
    assert not ends.part._waiting
    running.cancel()


async def test_who_waits_too_long_is_answered_all_the_same(
    store: Store,
) -> None:
    (one,) = await store.submit()
    ends = Ends(store, 60.0)
    await ends.wait(one, 0.01)
    assert not ends.part._waiting


async def test_nobody_waits_for_a_job_that_was_deleted(
    store: Store,
) -> None:
    one, other = await store.submit(2)
    ends = Ends(store, 0.1)
    running = asyncio.create_task(ends.part.run())
    waiting = [
        asyncio.create_task(ends.wait(each, 60)) for each in (one, other)
    ]
    while len(ends.part._waiting) < 2:  # noqa: ASYNC110 - looks from outside
        await asyncio.sleep(0.01)
    await store.application.services.jobs.delete(one, store.client)
    async with asyncio.timeout(30):
        await waiting[0]
    # Control: the other one is waited for.
    assert not waiting[1].done()
    ends.part.release()
    await waiting[1]
    running.cancel()


async def test_whoever_waits_beside_too_many_has_to_ask_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_ends, "_MOST_WAITED", 3)
    monkeypatch.setattr(job_ends, "_FULL_SECONDS", 0.01)
    ids = await store.submit(4)
    ends = Ends(store, 60.0)
    waiting = asyncio.create_task(ends.part.wait_for_any(ids[:3], 60))
    while not ends.part._waiting:  # noqa: ASYNC110 - looks from outside
        await asyncio.sleep(0.01)
    async with asyncio.timeout(10):
        await ends.wait(ids[3], 60)
    # Control: those who were there first are waited for.
    assert not waiting.done()
    ends.part.release()
    await waiting
    assert ends.part._count == 0
    assert not ends.part._waiting


async def test_nobody_waits_while_the_process_ends(store: Store) -> None:
    (one,) = await store.submit()
    ends = Ends(store, 60.0)
    waiting = asyncio.create_task(ends.wait(one, 60))
    while not ends.part._waiting:  # noqa: ASYNC110 - looks from outside
        await asyncio.sleep(0.01)
    ends.part.release()
    await waiting
    await ends.wait(one, 60)


def test_an_answer_comes_when_the_job_ends(
    user: ApiUser, provider: FakeProvider
) -> None:
    provider.delay = 0.5
    model = user.model(sdk="OpenAI", endpoint=provider.url, key="PROVIDER-KEY")
    prompt = user.prompt()
    user.worker()
    job_id = user.job(model, prompt)["jobId"]
    with ThreadPoolExecutor(8) as pool:
        waiting = [
            pool.submit(user.get, f"/jobs/{job_id}", wait=30) for _ in range(8)
        ]
        jobs = [each.result() for each in waiting]
    assert {job["status"] for job in jobs} == {"PROCESSED"}
    began = time.monotonic()
    assert user.get(f"/jobs/{job_id}", wait=30)["status"] == "PROCESSED"
    assert time.monotonic() - began < 10


def test_after_its_time_the_job_is_answered_as_it_is(user: ApiUser) -> None:
    job_id = user.job(user.model(), user.prompt())["jobId"]
    waiting = user.get(f"/jobs/{job_id}", wait=0.1)
    assert waiting["status"] == "PENDING"
    assert waiting["waitingFor"]["kind"] == "NO_WORKER"
    user.get(f"/jobs/{job_id}", 422, wait=61)
    user.get("/jobs/" + "0" * 24, 404, wait=1)


def wait_for(user: ApiUser, ids: list[str], **fields: Any) -> Any:
    return user.post("/jobs/wait", {"jobIds": ids, **fields}, 200)


async def test_jobs_are_gathered_with_what_is_unknown_and_what_goes_on(
    store: Store,
) -> None:
    services = store.application.services
    ids = await store.submit(25)
    await answer(store)
    going_on = await store.submit(2)
    names = [*ids, *going_on, "no id", "0" * 24]
    found = await services.job_gathering.gather(
        names, store.client, JobView(), 0
    )
    # The two that go on were claimed by nobody.
    assert {job.job_id for job in found.jobs} == set(ids)
    assert list(found.unknown) == ["no id", "0" * 24]
    assert found.waiting == 2
    # Control: to another client, all are unknown.
    other = await services.job_gathering.gather(
        names, Caller("somebody else"), JobView(), 0
    )
    assert not other.jobs
    assert list(other.unknown) == names


def test_whoever_waits_for_many_is_answered_at_the_first_end(
    user: ApiUser, provider: FakeProvider
) -> None:
    provider.delay = 0.3
    model = user.model(sdk="OpenAI", endpoint=provider.url, key="PROVIDER-KEY")
    prompt = user.prompt()
    later = [
        user.job(model, prompt, notBefore="2090-01-01T00:00:00Z")["jobId"]
        for _ in range(2)
    ]
    user.worker()
    job_id = user.job(model, prompt)["jobId"]
    began = time.monotonic()
    found = wait_for(
        user, [*later, job_id], wait=30, fields=["status", "responseData"]
    )
    assert time.monotonic() - began < 20
    (job,) = found["jobs"]
    assert sorted(job) == ["jobId", "responseData", "status"]
    assert (job["jobId"], job["status"]) == (job_id, "PROCESSED")
    assert (found["unknown"], found["waiting"]) == ([], 2)
    # A job that is deleted ends the waiting, too.
    user.delete(f"/jobs/{later[0]}")
    found = wait_for(user, later, wait=30)
    assert (found["jobs"], found["unknown"]) == ([], [later[0]])
    assert wait_for(user, later[1:], wait=0.1)["waiting"] == 1


def test_a_wait_for_many_is_checked(user: ApiUser) -> None:
    bodies: list[dict[str, Any]] = [
        {"jobIds": []},
        {"jobIds": ["0" * 24] * 5_001},
        {"jobIds": ["0" * 24], "wait": 61},
        {"jobIds": ["0" * 24], "fields": ["state"]},
    ]
    for body in bodies:
        user.post("/jobs/wait", body, 422)


def test_large_answers_come_in_parts(
    user: ApiUser, provider: FakeProvider
) -> None:
    long = json.dumps({"text": "x" * 3_000_000})

    async def reply(_body: Body) -> web.StreamResponse:
        return completion(long)

    provider.handler = reply
    model = user.model(sdk="OpenAI", endpoint=provider.url, key="PROVIDER-KEY")
    prompt = user.prompt()
    user.worker()
    ids = {user.job(model, prompt)["jobId"] for _ in range(8)}
    for job_id in ids:
        user.ended(job_id)
    parts = 0
    while ids:
        found = wait_for(user, sorted(ids), wait=10)
        assert len(found["jobs"]) < 8
        ids -= {job["jobId"] for job in found["jobs"]}
        parts += 1
    assert parts > 1
