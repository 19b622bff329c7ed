"""The queries of the console and of live events, on every store."""

from typing import Any

import pytest
from starlette.requests import HTTPConnection

from api.core.errors import AuthenticationError
from api.core.login_limits import LoginLimits
from api.models.job_status import JobStatus
from api.models.live_models import Topic
from api.models.webhook_models import EventType
from api.services.jobs.job_errors import JobErrors
from api.services.jobs.job_filter import JobFilter
from api.services.live.changes import Changes
from api.services.live.event_log import (
    INTEREST,
    INTEREST_MS,
    KEPT_MS,
    LOG,
    EventLog,
)
from api.services.live.queue_numbers import QueueNumbers
from api.services.shared.caller import Caller
from api.services.shared.events import Event
from api.web.sessions import COLLECTION, COOKIE, SESSION_HOURS, Sessions
from tests.support.store import Store
from utilities.cosmos_connector import Documents, ObjectId
from utilities.signals import Signals

ADMIN = Caller(is_admin=True)


def documents(store: Store, name: str) -> Documents:
    return Documents(store.application.clients, name, store.time)


async def make_log(store: Store, process: str) -> EventLog:
    return EventLog(
        documents(store, LOG),
        documents(store, INTEREST),
        process,
        Signals(),
        store.time,
    )


def ended(number: int, batch: str | None = None) -> Event:
    data = {"jobId": str(number), "status": "PROCESSED", "batchKey": batch}
    at = 1_000 + number
    return Event(EventType.JOB_PROCESSED, data, at, "a", f"job {number}")


async def test_events_are_written_while_anybody_reads(store: Store) -> None:
    for name in (LOG, INTEREST):
        await documents(store, name).erase({})
    writer = await make_log(store, "w" * 8)
    reader = await make_log(store, "r" * 8)
    start = store.time.now
    assert not await writer.look_for_interest()
    await writer.emit_all([ended(1)])
    await reader.announce()
    assert await writer.look_for_interest()
    await writer.emit_all([ended(2, "night"), ended(3, "night")])
    await writer.emit_all([ended(4)])
    await writer.emit_all([])
    found = await reader.read(start)
    assert [each.data.get("jobId") for each in found] == ["2", "3", None, "4"]
    assert found[2].topic is Topic.BATCH
    assert found[2].data["ended"] == {"PROCESSED": 2}
    # Each is returned once.
    assert await reader.read(start) == []
    store.time.now += INTEREST_MS + 1
    assert not await writer.look_for_interest()
    store.time.now += KEPT_MS
    await reader.prune()
    assert await documents(store, LOG).find({}) == []


def connection(token: str) -> HTTPConnection:
    cookie = f"{COOKIE}={token}".encode()
    return HTTPConnection(
        {"type": "http", "method": "GET", "headers": [(b"cookie", cookie)]}
    )


async def test_sessions_are_kept_and_end(store: Store) -> None:
    await documents(store, COLLECTION).erase({})
    now = 0.0
    sessions = Sessions(
        documents(store, COLLECTION),
        store.application.services.clients,
        LoginLimits(0),
        admin_api_key="the-key",
        pepper="p",
        clock=store.time,
        timer=lambda: now,
    )
    nobody = HTTPConnection({"type": "http", "headers": []})
    tokens = [await sessions.open("the-key", nobody) for _ in range(3)]
    for token in tokens:
        assert await sessions.caller_of(connection(token)) == ADMIN
    await sessions.close(tokens[0])
    with pytest.raises(AuthenticationError):
        await sessions.caller_of(connection(tokens[0]))
    now += 10
    assert await sessions.caller_of(connection(tokens[1])) == ADMIN
    await sessions.close_all(tokens[1])
    for token in tokens:
        with pytest.raises(AuthenticationError):
            await sessions.caller_of(connection(token))
    last = await sessions.open("the-key", nobody)
    store.time.now += SESSION_HOURS * 3_600_000
    with pytest.raises(AuthenticationError):
        await sessions.caller_of(connection(last))
    await sessions.open("the-key", nobody)
    assert len(await documents(store, COLLECTION).find({})) == 1


async def jobs_of(store: Store, client: str, **counts: int) -> None:
    jobs = documents(store, "jobs")
    made: list[dict[str, Any]] = [
        {
            "_id": ObjectId(),
            "clientId": client,
            "status": status.partition("__")[0],
            "errorType": status.partition("__")[2] or None,
        }
        for status, count in counts.items()
        for _ in range(count)
    ]
    await jobs.insert_many(made)


async def test_jobs_are_counted(store: Store) -> None:
    await documents(store, "jobs").erase({})
    await jobs_of(store, "a", PENDING=6, PROCESSED=1)
    await jobs_of(store, "b", ERROR_PROCESSING__B=1, ERROR_PROCESSING__A=2)
    jobs = documents(store, "jobs")
    everybody, own = QueueNumbers(jobs, None), QueueNumbers(jobs, "a")
    first = await everybody.look(0)
    assert first["counts"][JobStatus.PENDING] == 6
    assert first["perSecond"] is None
    await jobs_of(store, "a", PROCESSED=20)
    later = await everybody.look(10_000)
    assert (later["perSecond"], later["secondsLeft"]) == (2.0, 3)
    assert (await own.look(0))["counts"][JobStatus.PROCESSED] == 21
    errors = JobErrors(jobs)
    found = await errors.count(ADMIN, JobFilter())
    assert [(each.error_type, each.count) for each in found] == [
        ("A", 2),
        ("B", 1),
    ]
    one = await errors.count(ADMIN, JobFilter(client_id="b", error_type="B"))
    assert [each.count for each in one] == [1]
    # Nobody sees another client's, whatever is asked for.
    assert await errors.count(Caller("a"), JobFilter(client_id="b")) == []
    await jobs.erase({})


async def test_changes_of_runs_are_found(store: Store) -> None:
    services = store.application.services
    runs = documents(store, "runs")
    changes = Changes(runs, services.models, services.workers)
    run_id = ObjectId()
    assert await changes.look(Topic.RUN, 1) == []
    await runs.insert(
        {
            "_id": run_id,
            "clientId": "a",
            "status": "RUNNING",
            "revision": 1,
        }
    )
    (begun,) = await changes.look(Topic.RUN, 2)
    assert (begun.type, begun.client_id) == ("run.changed", "a")
    assert await changes.look(Topic.RUN, 3) == []
    await runs.update({"_id": run_id}, {"status": "COMPLETED", "revision": 2})
    (over,) = await changes.look(Topic.RUN, 4)
    assert over.data["status"] == "COMPLETED"
    assert over.data["runId"] == str(run_id)
    await runs.erase({"_id": run_id})
    for topic in (Topic.MODEL, Topic.WORKER):
        assert await changes.look(topic, 5) == []
        changes.forget(topic)
