"""From a note to a delivery, on every store."""

from datetime import UTC, datetime

import pytest
from pymongo.errors import AutoReconnect, BulkWriteError, OperationFailure
from standardwebhooks import Webhook as Library

from api.models.job_status import JobStatus
from api.models.metrics import Metrics
from api.models.webhook_models import EventType
from api.services.queue.job_outcomes import Result
from api.services.queue.job_work import Requeued, Succeeded
from api.services.shared.endings import EndingKind
from api.services.shared.events import NO_EVENTS, Event
from api.services.webhooks.delivery_store import (
    Attempted,
    pause_ms,
)
from api.services.webhooks.sender import Answer
from api.services.webhooks.signing import Signer, new_salt
from tests.support.outbox import HOOK, Parts, make_parts
from tests.support.store import IN_MEMORY, Store
from utilities.cosmos_connector import Documents

HOUR = 3600 * 1000


@pytest.fixture(scope="module", params=["embedded", "memory"])
def address(request: pytest.FixtureRequest) -> str:
    """The other server has these queries in the test of the contract."""
    if request.param == "memory":
        return IN_MEMORY
    return str(request.getfixturevalue("database"))


@pytest.fixture
async def parts(store: Store) -> Parts:
    return await make_parts(store)


async def answered(store: Store, count: int = 1) -> list[Result]:
    await store.submit(count)
    jobs = await store.claim()
    return [Result(job, Succeeded("{}", Metrics())) for job in jobs]


async def test_ended_jobs_are_told_once(store: Store, parts: Parts) -> None:
    results = await answered(store, 3)
    await parts.queue.store(results)
    # Two processes that look at the same moment, and another store.
    await parts.collect()
    await parts.queue.store(results)
    await parts.collect()
    told = await parts.told()
    ids = {str(result.job.job_id) for result in results}
    assert {each["type"] for each in told} == {"job.processed"}
    assert len(told) == len({each["eventId"] for each in told}) == 3
    assert all(any(i in each["payload"] for i in ids) for each in told)
    assert await parts.notes() == 0


async def test_a_process_that_dies_before_or_after_its_write_loses_nothing(
    store: Store, parts: Parts
) -> None:
    (result,) = await answered(store)
    job_id, client = result.job.job_id, result.job.client_id
    # It died after the note: the job has not ended, and nothing is told.
    await parts.endings.expect(EndingKind.JOB, [(client, job_id)])
    await parts.collect()
    assert await parts.told() == []
    assert await parts.notes() == 1
    # Another one stores it, and dies before anybody is told.
    await parts.documents("jobs").update(
        {"_id": job_id}, {"status": JobStatus.PROCESSED}
    )
    await parts.collect()
    assert len(await parts.told()) == 1
    assert await parts.notes() == 0


async def test_notes_of_what_never_ended_are_forgotten_after_a_day(
    store: Store, parts: Parts
) -> None:
    (result,) = await answered(store)
    ending = [(result.job.client_id, result.job.job_id)]
    await parts.endings.expect(EndingKind.JOB, ending)
    await parts.collect()
    parts.time.now += 24 * HOUR
    await parts.collect()
    assert await parts.notes() == 0


async def test_jobs_of_dead_workers_that_are_given_up_are_told(
    store: Store, parts: Parts
) -> None:
    await answered(store)
    parts.time.now += 31_000
    assert (await parts.queue.return_expired())[1] == 1
    await parts.collect()
    assert [each["type"] for each in await parts.told()] == ["job.failed"]


async def test_what_nobody_wants_is_not_noted(
    store: Store, parts: Parts
) -> None:
    (result,) = await answered(store)
    await parts.queue.store(
        [Result(result.job, Requeued(0, counted=False, reason="later"))]
    )
    parts.endings.watch({EndingKind.JOB: frozenset({"another"})})
    await parts.queue.store([result])
    parts.endings.watch({})
    assert not parts.endings.is_watched(EndingKind.JOB)
    await parts.queue.store([result])
    assert await parts.notes() == 0


async def test_events_without_a_client_are_for_all(parts: Parts) -> None:
    event = Event(EventType.MODEL_RESUMED, {"model": "m"}, 1)
    await parts.outbox.emit(event)
    await parts.outbox.emit(event)
    await NO_EVENTS.emit(event)
    # Without a key, each is another one.
    assert len(await parts.told()) == 2


async def test_two_processes_share_deliveries_by_leases(parts: Parts) -> None:
    event = Event(EventType.MODEL_RESUMED, {}, 1)
    await parts.outbox.emit_all([event] * 5)
    assert await parts.deliveries.due({HOOK, "b" * 24}) == {HOOK}
    assert await parts.deliveries.due([]) == set()
    first = await parts.deliveries.claim(HOOK, 3)
    second = await parts.deliveries.claim(HOOK, 3)
    assert (len(first), len(second)) == (3, 2)
    ids = {each.delivery.delivery_id for each in first + second}
    assert len(ids) == 5
    await parts.deliveries.hasten(HOOK)
    assert await parts.deliveries.claim(HOOK, 9) == []
    # Their process died: another one attempts them.
    parts.time.now += 26_000
    again = await parts.deliveries.claim(HOOK, 9)
    assert {each.delivery.attempts for each in again} == {2}
    # What the dead one says of them no longer counts.
    done = Attempted(first[0], Answer(0.1, 200), parts.time.now)
    await parts.deliveries.record([done])
    assert {each["status"] for each in await parts.told()} == {"PENDING"}


async def test_a_delivery_is_given_up_after_a_day(parts: Parts) -> None:
    await parts.outbox.emit(Event(EventType.MODEL_RESUMED, {}, 1))
    start, attempts = parts.time.now, 0
    failed = Answer(0.1, 500, "no", "status 500")
    while claimed := await parts.deliveries.claim(HOOK, 1):
        attempts += 1
        attempt = Attempted(claimed[0], failed, parts.time.now)
        await parts.deliveries.record([attempt])
        (delivery,) = await parts.told()
        if delivery["nextAttemptAt"] is not None:
            parts.time.now = delivery["nextAttemptAt"]
    assert delivery["status"] == "FAILED"
    assert delivery["lastAttempt"]["answer"] == "no"
    assert 24 * HOUR <= parts.time.now - start < 26 * HOUR
    assert 20 < attempts < 50


async def test_what_waits_for_a_receiver_that_is_back_is_due(
    parts: Parts,
) -> None:
    event = Event(EventType.MODEL_RESUMED, {}, 1)
    await parts.outbox.emit_all([event] * 2)
    claimed = await parts.deliveries.claim(HOOK, 2)
    failed = Answer(0.1, error="it cannot be connected to")
    await parts.deliveries.record(
        [Attempted(each, failed, parts.time.now) for each in claimed]
    )
    assert await parts.deliveries.due({HOOK}) == set()
    await parts.deliveries.hasten(HOOK)
    assert len(await parts.deliveries.claim(HOOK, 9)) == 2


def test_pauses_grow_to_an_hour_and_are_spread() -> None:
    firsts = [pause_ms(1) for _ in range(50)]
    assert 4_000 <= min(firsts) < max(firsts) <= 6_000
    assert 2_880_000 <= pause_ms(500) <= 4_320_000


def test_signatures_are_those_of_the_standard() -> None:
    signer, salt = Signer("pepper"), new_salt()
    secret = signer.secret(HOOK, salt)
    now = 1_700_000_000
    body = '{"type":"x","data":"ä"}'
    headers = signer.headers(HOOK, salt, ("msg_1", now, body))
    library = Library(secret)
    signed = library.sign("msg_1", datetime.fromtimestamp(now, UTC), body)
    assert headers["webhook-signature"] == signed
    assert signer.secret(HOOK, new_salt()) != secret
    assert Signer("other").secret(HOOK, salt) != secret


async def test_the_note_is_there_before_the_end_is_stored(
    store: Store, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    (result,) = await answered(store)

    async def dies(*_: object, **__: object) -> int:
        assert await parts.notes() == 1
        raise AutoReconnect("gone")

    monkeypatch.setattr(Documents, "update_each", dies)
    with pytest.raises(AutoReconnect):
        await parts.queue.store([result])
    assert await parts.notes() == 1


async def test_without_its_note_an_end_is_not_stored(
    store: Store, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    (result,) = await answered(store)

    async def dies(*_: object) -> None:
        raise AutoReconnect("gone")

    monkeypatch.setattr(Documents, "insert_many", dies)
    with pytest.raises(AutoReconnect):
        await parts.queue.store([result])
    assert (await store.statuses()) == {"PROCESSING": 1}


async def test_a_disabled_client_is_not_told(
    store: Store, parts: Parts
) -> None:
    assert parts.endings.is_watched(EndingKind.JOB)
    clients = store.application.services.clients
    await clients.toggle(str(store.client.client_id))
    await parts.directory.refresh()
    assert not parts.endings.is_watched(EndingKind.JOB)
    assert parts.directory.get(HOOK) is None
    await clients.toggle(str(store.client.client_id))
    await parts.directory.refresh()
    assert parts.directory.get(HOOK) is not None


async def test_a_refused_note_is_not_taken_for_a_refused_result(
    store: Store, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    (result,) = await answered(store)

    async def refuses(*_: object) -> None:
        raise BulkWriteError({"writeErrors": [{"index": 0, "code": 14031}]})

    monkeypatch.setattr(Documents, "insert_many", refuses)
    with pytest.raises(OperationFailure) as raised:
        await parts.queue.store([result])
    assert not isinstance(raised.value, BulkWriteError)
