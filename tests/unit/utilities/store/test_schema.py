import asyncio
import re
import uuid
from collections.abc import AsyncIterator, MutableMapping
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pymongo.errors import (
    AutoReconnect,
    DuplicateKeyError,
    OperationFailure,
    PyMongoError,
)

from tests.support.live_server import free_port
from tests.support.samples import logged
from utilities.cosmos_connector import ClientManager
from utilities.store import schema
from utilities.store.schema import (
    STEPS,
    DatabaseError,
    migrate,
    migrate_when_up,
)

Indexes = dict[str, dict[str, Any]]
Events = list[MutableMapping[str, Any]]


@pytest.fixture(autouse=True)
def events(monkeypatch: pytest.MonkeyPatch) -> Events:
    """What the migration logs."""
    return logged(monkeypatch, schema)


@pytest.fixture
async def clients(database: str) -> AsyncIterator[ClientManager]:
    clients = ClientManager(database, f"test-{uuid.uuid4().hex[:12]}")
    yield clients
    await clients.close()


async def state_of(clients: ClientManager) -> tuple[Indexes, list[Any]]:
    """Give every index by its collection, and the recorded steps."""
    database = clients.database()
    indexes: Indexes = {}
    for name in sorted(await database.list_collection_names()):
        found = await database[name].index_information()
        indexes[name] = {
            key: (index["key"], bool(index.get("unique")))
            for key, index in found.items()
        }
    steps = await database["schema_steps"].find().sort("_id", 1).to_list()
    return indexes, steps


async def test_indexes_that_have_been_replaced_are_gone(
    clients: ClientManager,
) -> None:
    # Each would cost every write of a job.
    await migrate(clients)
    indexes, _ = await state_of(clients)
    keys = [tuple(dict(key)) for key, _ in indexes["jobs"].values()]
    assert not [each for each in keys if "priority" in each]
    claims = ("clientId", "status", "deferredUntil", "rank", "sequence")
    assert claims in keys


async def test_every_step_is_made_once_and_recorded(
    clients: ClientManager, events: Events
) -> None:
    await migrate(clients)
    _, steps = await state_of(clients)
    numbers = list(range(1, len(STEPS) + 1))
    # Not every server sorts numbers of `_id` as numbers.
    assert sorted(step["_id"] for step in steps) == numbers
    assert all(isinstance(step["appliedAt"], int) for step in steps)
    told = [(event["event"], event["step"]) for event in events]
    assert told == [
        (what, number)
        for number in numbers
        for what in ("schema_step_started", "schema_step_applied")
    ]


async def test_migrating_twice_changes_nothing(
    clients: ClientManager, events: Events
) -> None:
    await migrate(clients)
    before = await state_of(clients)
    events.clear()
    await migrate(clients)
    assert await state_of(clients) == before
    assert events == []


async def test_two_processes_may_migrate_at_once(
    clients: ClientManager,
) -> None:
    await asyncio.gather(*(migrate(clients) for _ in range(3)))
    indexes, steps = await state_of(clients)
    alone = ClientManager(
        clients._connection_string, f"test-{uuid.uuid4().hex[:12]}"
    )
    await migrate(alone)
    expected, _ = await state_of(alone)
    await alone.close()
    assert indexes == expected
    assert len(steps) == len(STEPS)


async def test_a_step_that_was_broken_off_is_made_again(
    clients: ClientManager,
) -> None:
    await migrate(clients)
    before, _ = await state_of(clients)
    # Made, but not recorded any more.
    steps = clients.database()["schema_steps"]
    await steps.delete_one({"_id": len(STEPS)})
    await migrate(clients)
    indexes, recorded = await state_of(clients)
    assert indexes == before
    assert len(recorded) == len(STEPS)


async def test_only_steps_that_are_new_are_made(
    clients: ClientManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    async def old(_database: object) -> None:
        made.append("old")

    async def new(_database: object) -> None:
        made.append("new")

    monkeypatch.setattr(schema, "STEPS", (old,))
    await migrate(clients)
    monkeypatch.setattr(schema, "STEPS", (old, new))
    await migrate(clients)
    assert made == ["old", "new"]


async def test_a_step_that_fails_is_not_recorded(
    clients: ClientManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def works(_database: object) -> None:
        """Do nothing."""

    async def fails(_database: object) -> None:
        raise OperationFailure("no")

    monkeypatch.setattr(schema, "STEPS", (works, fails, works))
    with pytest.raises(OperationFailure):
        await migrate(clients)
    _, steps = await state_of(clients)
    assert [step["_id"] for step in steps] == [1]


@pytest.mark.parametrize(
    ("collection", "field"),
    [("models", "liveKey"), ("prompts", "liveKey"), ("clients", "clientId")],
)
async def test_what_must_be_unique_is(
    clients: ClientManager, collection: str, field: str
) -> None:
    await migrate(clients)
    things = clients.database()[collection]
    await things.insert_one({field: "a"})
    await things.insert_one({field: "b"})
    with pytest.raises(DuplicateKeyError):
        await things.insert_one({field: "a"})


@pytest.mark.parametrize(
    ("collection", "fields"),
    [
        ("jobs", ["clientId", "status", "deferredUntil", "rank", "sequence"]),
        ("jobs", ["clientId", "sequence"]),
        ("jobs", ["leaseToken"]),
        ("jobs", ["status", "leaseExpiresAt"]),
        ("workers", ["status"]),
    ],
)
async def test_what_is_asked_for_all_the_time_has_an_index(
    clients: ClientManager, collection: str, fields: list[str]
) -> None:
    await migrate(clients)
    indexes, _ = await state_of(clients)
    keys = [
        [name for name, _ in key] for key, _ in indexes[collection].values()
    ]
    assert fields in keys


class Scripted:
    """Stands for `migrate`: raises what it is told, then succeeds."""

    def __init__(self, *failures: PyMongoError) -> None:
        self.failures = list(failures)
        self.calls = 0
        self.slept: list[float] = []

    async def migrate(self, _clients: ClientManager) -> None:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def scripted(
    monkeypatch: pytest.MonkeyPatch, *failures: PyMongoError
) -> Scripted:
    script = Scripted(*failures)
    monkeypatch.setattr(schema, "migrate", script.migrate)
    monkeypatch.setattr(schema, "asyncio", SimpleNamespace(sleep=script.sleep))
    return script


NO_CLIENTS = cast("ClientManager", None)


async def test_a_database_that_comes_up_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, events: Events
) -> None:
    away = [AutoReconnect("mongodb://me:hush@db") for _ in range(2)]
    script = scripted(monkeypatch, *away)
    await migrate_when_up(NO_CLIENTS)
    assert script.calls == 3
    assert script.slept == [1, 1]
    assert [event["event"] for event in events] == ["waiting_for_database"] * 2
    assert "hush" not in str(events)


async def test_a_database_that_does_not_come_up_ends_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = scripted(monkeypatch, *[AutoReconnect("no")] * 2)
    monkeypatch.setattr(schema, "_START_SECONDS", -1.0)
    with pytest.raises(DatabaseError) as ended:
        await migrate_when_up(NO_CLIENTS)
    assert script.calls == 1
    assert "did not answer for a minute" in str(ended.value)
    assert "DB_CONNECTION_STRING" in str(ended.value)


async def test_a_database_that_refuses_us_ends_the_start_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refusal = OperationFailure("mongodb://me:hush@db: not authorized", 13)
    script = scripted(monkeypatch, refusal)
    with pytest.raises(DatabaseError) as ended:
        await migrate_when_up(NO_CLIENTS)
    assert script.calls == 1
    message = str(ended.value)
    assert re.search("refuses us: OperationFailure.*user, password", message)
    assert "hush" not in message


async def test_an_unreachable_server_is_told_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(schema, "_START_SECONDS", -1.0)
    uri = f"mongodb://me:hush@127.0.0.1:{free_port()}/?directConnection=true"
    clients = ClientManager(uri, "test-nowhere", timeout_seconds=0.1)
    with pytest.raises(DatabaseError) as ended:
        await migrate_when_up(clients)
    await clients.close()
    assert "DB_CONNECTION_STRING" in str(ended.value)
    assert "hush" not in f"{ended.value} {ended.value.__cause__}"
