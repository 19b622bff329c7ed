"""What is asked of the driver, and what other servers make of it."""

import json
import subprocess
from typing import Any

import pytest
from pymongo.errors import AutoReconnect, OperationFailure

from tests.support.mongoeco_server import PYTHON
from utilities.cosmos_connector import ClientManager
from utilities.store.change_feed import PIPELINE, Change, ChangeFeed, read


class FakeStream:
    """The driver's open stream."""

    def __init__(self, *events: dict[str, Any]) -> None:
        self._events = list(events)
        self.alive = True

    async def try_next(self) -> dict[str, Any] | None:
        return self._events.pop(0) if self._events else None

    async def close(self) -> None:
        self.alive = False


class FakeDatabase:
    """The driver's database, of a replica set unless told otherwise."""

    def __init__(
        self,
        hello: dict[str, Any] | None = None,
        answer: FakeStream | Exception | None = None,
    ) -> None:
        self._hello = {"setName": "rs0"} if hello is None else hello
        self._answer = answer
        self.asked: dict[str, Any] = {}

    async def command(self, _name: str) -> dict[str, Any]:
        return self._hello

    async def watch(self, pipeline: Any, **options: Any) -> Any:
        self.asked = {"pipeline": pipeline, **options}
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


class FakeClients:
    """Stands for the `ClientManager`."""

    def __init__(self, database: FakeDatabase) -> None:
        self._database = database

    def database(self) -> FakeDatabase:
        return self._database


def feed_of(database: FakeDatabase) -> ChangeFeed:
    clients: Any = FakeClients(database)
    return ChangeFeed(clients)


@pytest.mark.parametrize("hello", [{"setName": "rs0"}, {"msg": "isdbgrid"}])
async def test_replica_sets_and_clusters_are_watched(
    hello: dict[str, Any],
) -> None:
    event = {
        "_id": {"_data": "1"},
        "ns": {"coll": "jobs"},
        "fullDocument": {"clientId": "c", "availableAt": 5},
    }
    database = FakeDatabase(hello, FakeStream(event))
    stream = await feed_of(database).open()
    assert stream is not None
    assert database.asked["full_document"] == "updateLookup"
    assert await stream.next() == Change("jobs", "c", 5)
    assert await stream.next() is None
    await stream.close()
    with pytest.raises(AutoReconnect):
        await stream.next()


async def test_a_single_server_is_not_even_asked() -> None:
    database = FakeDatabase({"isWritablePrimary": True}, FakeStream())
    assert await feed_of(database).open() is None
    assert database.asked == {}


async def test_who_may_not_watch_goes_without() -> None:
    refused = OperationFailure("not authorized", 13)
    assert await feed_of(FakeDatabase(None, refused)).open() is None


async def test_a_server_that_is_away_is_not_taken_for_one_without() -> None:
    with pytest.raises(AutoReconnect):
        await feed_of(FakeDatabase(None, AutoReconnect("away"))).open()


async def test_the_embedded_database_has_no_change_streams(
    database: str,
) -> None:
    clients = ClientManager(database, "test-feed")
    assert await ChangeFeed(clients).open() is None
    await clients.close()


def test_a_document_that_is_gone_is_nobodys() -> None:
    event = {"ns": {"coll": "jobs"}, "fullDocument": None}
    assert read(event) == Change("jobs")


_CHILD = """
import asyncio, json, sys
from mongoeco import AsyncMongoClient

async def main():
    async with AsyncMongoClient() as client:
        database = client["t"]
        stream = database.watch(
            json.load(sys.stdin), full_document="updateLookup",
            max_await_time_ms=300,
        )
        job = {"_id": 1, "clientId": "c", "status": "PENDING",
               "availableAt": 5, "requestData": "large"}
        await database.jobs.insert_one(job)
        await database.prompts.insert_one({"_id": 2})
        await database.jobs.delete_one({"_id": 1})
        await database.workers.insert_one({"_id": 3, "clientId": "c"})
        events = []
        while (event := await stream.try_next()) is not None:
            events.append(event)
        print(json.dumps(events))

asyncio.run(main())
"""


@pytest.mark.skipif(not PYTHON.exists(), reason="mongoeco is not installed")
def test_the_pipeline_does_what_it_should_on_another_engine() -> None:
    """Its updates lack `updateDescription`, so only insertions are shown."""
    child = subprocess.run(
        [str(PYTHON), "-c", _CHILD],
        input=json.dumps(PIPELINE),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert child.returncode == 0, child.stderr
    events = json.loads(child.stdout)
    assert "large" not in child.stdout
    assert [read(event) for event in events] == [
        Change("jobs", "c", 5),
        Change("workers", "c"),
    ]
