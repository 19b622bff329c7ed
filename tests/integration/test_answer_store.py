"""Answers and flights on every store that we can have."""

import asyncio
from dataclasses import replace

from api.models.metrics import Metrics
from api.services.jobs.answer_memory import AnswerMemory
from api.services.keeping.erasure import OWNED
from api.services.keeping.retention import Retention
from api.services.queue.flights import FLIGHTS, Flights
from api.services.queue.job_outcomes import Result
from api.services.queue.job_work import Claimant, ClaimedJob, Succeeded
from api.services.shared.date_range import TimeRange
from tests.support.store import Store
from utilities.cosmos_connector import Documents

OTHER = Claimant("other", "worker")


def documents(store: Store, name: str) -> Documents:
    return Documents(store.application.clients, name)


def flights(store: Store) -> Flights:
    return Flights(
        documents(store, FLIGHTS), documents(store, "jobs"), store.time
    )


async def claimed(
    store: Store, cache: str = "use", sample: int = 0
) -> ClaimedJob:
    """Submit one more job that asks the same, and claim it."""
    await store.submit(cache=cache, sample=sample)
    (job,) = await store.claim()
    return job


async def answered(
    store: Store, answer: str, cache: str = "use", sample: int = 0
) -> ClaimedJob:
    job = await claimed(store, cache, sample)
    await store.queue.store([Result(job, Succeeded(answer, Metrics()))])
    return job


async def test_the_latest_answer_of_each_key_is_found(store: Store) -> None:
    memory = AnswerMemory(documents(store, "jobs"))
    client_id = str(store.client.client_id)
    first = await answered(store, '{"a":1}')
    assert first.answer_key is not None
    other = await answered(store, '{"b":1}', sample=1)
    keys = [first.answer_key, str(other.answer_key), "f" * 64]
    found = await memory.find(keys, client_id)
    assert {key: each.response_json for key, each in found.items()} == {
        keys[0]: '{"a":1}',
        keys[1]: '{"b":1}',
    }
    assert (await memory.find(keys[:1], client_id)).keys() == {keys[0]}
    assert await memory.find(keys, "another") == {}
    store.time.now += 1000
    fresh = await answered(store, '{"a":2}', cache="fresh")
    await memory.trim(keys, client_id)
    found = await memory.find(keys, client_id)
    assert found[keys[0]].job_id == str(fresh.job_id)
    left = {"answerKey": {"$in": keys}}
    assert len(await documents(store, "jobs").find(left)) == 2


async def test_one_of_many_flights_asks(store: Store) -> None:
    one, two = flights(store), flights(store)
    jobs = [await claimed(store) for _ in range(4)]
    boarded = await asyncio.gather(one.board(jobs[:2]), two.board(jobs[2:]))
    asking = [job for each in boarded for job in each.asking]
    assert len(asking) == 1
    waiting = [job for job in jobs if job is not asking[0]]
    assert set(boarded[0].waiting) | set(boarded[1].waiting) == {
        job.job_id for job in waiting
    }
    # Who asks already may ask again; the others still wait.
    assert list((await one.board(asking)).asking) == asking
    assert not (await two.board(waiting)).asking


async def test_a_flight_is_free_when_its_job_has_ended(store: Store) -> None:
    board = flights(store)
    first, second, third = [await claimed(store) for _ in range(3)]
    assert (await board.board([first])).asking
    assert not (await board.board([second])).asking  # negative control
    # Without `end`, as after a kill -9 behind the answer.
    await store.queue.store([Result(first, Succeeded("{}", Metrics()))])
    assert (await board.board([second])).asking
    await board.end([Result(second, Succeeded("{}", Metrics()))])
    assert (await board.board([third])).asking


async def test_a_flight_is_free_when_its_lease_has_expired(
    store: Store,
) -> None:
    board = flights(store)
    dead = await claimed(store)
    assert (await board.board([dead])).asking
    store.time.now += 31_000
    assert await store.queue.return_expired() == (1, 0)
    (again,) = await store.claim(claimant=OTHER)
    second = await claimed(store)
    assert (await board.board([second])).asking
    # The job of the dead one, claimed again, waits now.
    assert not (await board.board([again])).asking
    # And who had it cannot end what is another's.
    late = replace(dead, lease_token="gone")
    await board.end([Result(late, Succeeded("{}", Metrics()))])
    assert not (await board.board([again])).asking


async def test_flights_that_nobody_ended_are_cleared(store: Store) -> None:
    board = flights(store)
    await board.board([await claimed(store)])
    await board.clear()
    found = documents(store, FLIGHTS)
    assert len(await found.find_all({})) == 1
    store.time.now += 25 * 3600 * 1000
    await board.clear()
    assert await found.find_all({}) == []
    assert FLIGHTS in OWNED


async def test_an_earlier_answer_is_taken_and_counted(store: Store) -> None:
    first = await answered(store, '{"a":1}')
    jobs = store.application.services.jobs
    body = {
        "operation": "o",
        "workingPrompts": [store.prompt],
        "model": store.model,
        "requestData": {"n": 0},
        "cache": "use",
    }
    made = await jobs.create_batch([body] * 3, store.client)
    assert [job.response_data for job in made] == [{"a": 1}] * 3
    assert {job.cached_from for job in made} == {str(first.job_id)}
    assert await store.statuses() == {"PROCESSED": 4}
    assert await store.claim() == []
    usage = store.application.services.usage
    report = await usage.report(store.client, TimeRange(), [])
    assert report.total.cached_answers == 3


async def test_answers_that_retention_removes_are_not_found(
    store: Store,
) -> None:
    memory = AnswerMemory(documents(store, "jobs"))
    job = await answered(store, "{}")
    keys, client_id = [str(job.answer_key)], str(store.client.client_id)
    assert await memory.find(keys, client_id)  # negative control

    def in_ten_days() -> int:
        return store.time() + 10 * 24 * 3600 * 1000

    retention = Retention(
        lambda name: documents(store, name),
        store.application.clients,
        {"jobs": 9.0},
        clock=in_ten_days,
    )
    assert (await retention.round())["jobs"] == 1
    assert await memory.find(keys, client_id) == {}
