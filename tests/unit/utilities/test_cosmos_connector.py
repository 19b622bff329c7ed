import asyncio
import logging
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import stamina
from bson import ObjectId
from pymongo import AsyncMongoClient
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    DuplicateKeyError,
    OperationFailure,
    ServerSelectionTimeoutError,
)

from tests.support.live_server import free_port
from utilities.cosmos_connector import (
    ClientManager,
    Document,
    Documents,
    current_actor,
    is_unavailable,
    retrying,
)
from utilities.store.retries import _Pause

CREATED, LATER = 1_000, 2_000


class Line:
    """A collection behind a line that breaks when the test wants it."""

    def __init__(self, collection: Any, plan: list[str | Exception]) -> None:
        self._collection = collection
        self._plan = plan

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._collection, name)
        step = self._plan.pop(0) if self._plan else "works"
        if isinstance(step, Exception):
            raise step
        if step == "breaks before":
            raise AutoReconnect("connection closed")
        if step == "breaks after":
            return self._broken_after(operation)
        return operation

    @staticmethod
    def _broken_after(operation: Callable[..., Any]) -> Callable[..., Any]:
        async def run(*arguments: Any, **options: Any) -> None:
            await operation(*arguments, **options)
            raise AutoReconnect("connection closed")

        return run


class Things(Documents):
    """Documents behind a line; `plan` says how its next uses end."""

    def __init__(self, clients: ClientManager) -> None:
        self.time = CREATED
        self.plan: list[str | Exception] = []
        super().__init__(clients, "things", lambda: self.time)

    @property
    def raw(self) -> Any:
        return Line(super().raw, self.plan)

    @property
    def steady(self) -> Any:
        """The collection without the line."""
        return super().raw

    async def everything(self) -> list[Document]:
        found: list[Document] = await self.steady.find().to_list()
        return found


def bare(document: Document | None) -> Document:
    """Give a document without what tells one write from another."""
    assert document is not None
    metadata = dict(document["_metadata"])
    assert len(metadata.pop("writeId")) == 16
    return {**document, "_metadata": metadata}


@pytest.fixture(autouse=True)
def without_waiting() -> Iterator[None]:
    with stamina.set_testing(True, attempts=100, cap=True):
        yield


@pytest.fixture
async def clients(database: str) -> AsyncIterator[ClientManager]:
    clients = ClientManager(database, f"test-{uuid.uuid4().hex[:12]}")
    yield clients
    await clients.close()


@pytest.fixture
async def things(clients: ClientManager) -> Things:
    return Things(clients)


def thing(**fields: Any) -> Document:
    return {"_id": ObjectId(), **fields}


async def test_a_new_document_tells_who_made_it_and_when(
    things: Things,
) -> None:
    made = thing(name="a")
    before = dict(made)
    token = current_actor.set("client-1")
    stored = await things.insert(made)
    current_actor.reset(token)
    assert bare(stored) == {
        **before,
        "_metadata": {
            "isDeleted": False,
            "createdAt": CREATED,
            "updatedAt": CREATED,
            "deletedAt": None,
            "archivedAt": None,
            "createdBy": "client-1",
            "updatedBy": "client-1",
            "deletedBy": None,
        },
    }
    assert await things.everything() == [stored]
    assert made == before


async def test_without_an_actor_nobody_is_named(things: Things) -> None:
    stored = await things.insert(thing())
    assert stored["_metadata"]["createdBy"] is None


@pytest.mark.parametrize(
    "plan",
    [
        ["breaks before"],
        ["breaks before", "breaks before"],
        ["breaks after"],
        ["breaks before", "breaks after"],
    ],
)
async def test_an_insert_over_a_broken_line_is_made_once(
    things: Things, plan: list[str | Exception]
) -> None:
    things.plan = plan
    stored = await things.insert(thing(name="a"))
    assert await things.everything() == [stored]
    assert things.plan == []


async def test_an_id_that_is_taken_is_refused(things: Things) -> None:
    stored = await things.insert(thing(name="first"))
    with pytest.raises(DuplicateKeyError):
        await things.insert({"_id": stored["_id"], "name": "second"})
    assert await things.everything() == [stored]


@pytest.mark.parametrize("plan", [[], ["breaks before"]])
async def test_a_field_that_is_taken_is_refused_also_on_a_retry(
    things: Things, plan: list[str | Exception]
) -> None:
    await things.steady.create_index([("name", 1)], unique=True)
    stored = await things.insert(thing(name="a"))
    things.plan = plan
    with pytest.raises(DuplicateKeyError):
        await things.insert(thing(name="a"))
    assert await things.everything() == [stored]


async def test_many_documents_are_stored_in_one_message(
    things: Things,
) -> None:
    made = [thing(n=number) for number in range(3)]
    stored, taken = await things.insert_many(made)
    assert taken == []
    assert [document["n"] for document in stored] == [0, 1, 2]
    assert await things.everything() == stored
    assert all("_metadata" not in document for document in made)
    assert stored[0]["_metadata"] is not stored[1]["_metadata"]


async def test_of_many_those_whose_id_is_taken_are_told_by_index(
    things: Things,
) -> None:
    first = await things.insert(thing(name="first"))
    new = [thing(name=name) for name in "abc"]
    again = {"_id": first["_id"], "name": "again"}
    twice = {"_id": new[0]["_id"], "name": "twice"}
    _, taken = await things.insert_many([new[0], again, new[1], twice, new[2]])
    assert sorted(taken) == [1, 3]
    names = [found["name"] for found in await things.everything()]
    assert sorted(names) == ["a", "b", "c", "first"]


async def test_of_many_any_other_refusal_is_raised(things: Things) -> None:
    errors = [
        {"index": 0, "code": 11000, "errmsg": "duplicate"},
        {"index": 1, "code": 2, "errmsg": "bad value"},
    ]
    things.plan = [BulkWriteError({"writeErrors": errors})]
    with pytest.raises(BulkWriteError):
        await things.insert_many([thing(), thing()])


@pytest.mark.parametrize("plan", [["breaks before"], ["breaks after"]])
async def test_many_over_a_broken_line_are_stored_once(
    things: Things, plan: list[str | Exception]
) -> None:
    things.plan = plan
    stored, _ = await things.insert_many([thing(n=1), thing(n=2)])
    assert await things.everything() == stored


async def test_one_is_found_by_its_fields_and_order(things: Things) -> None:
    await things.insert_many([thing(n=n, kind="x") for n in (2, 3, 1)])
    found = await things.find_one({"kind": "x"}, [("n", -1)])
    assert found is not None
    assert found["n"] == 3
    assert await things.find_one({"kind": "y"}) is None


async def test_many_are_found_in_order_with_limit_and_fields(
    things: Things,
) -> None:
    await things.insert_many([thing(n=n, kind="x") for n in (2, 3, 1)])
    found = await things.find(
        {"kind": "x"}, sort=[("n", 1)], limit=2, fields=["n"]
    )
    assert [set(document) for document in found] == [{"_id", "n"}] * 2
    assert [document["n"] for document in found] == [1, 2]
    assert len(await things.find({})) == 3


async def test_a_pipeline_runs_over_what_matches(things: Things) -> None:
    await things.insert_many([thing(n=n) for n in range(5)])
    stages = [{"$group": {"_id": None, "sum": {"$sum": "$n"}}}]
    assert await things.aggregate({"n": {"$gte": 2}}, stages) == [
        {"_id": None, "sum": 9}
    ]


async def test_reading_is_repeated_when_the_line_breaks(
    things: Things,
) -> None:
    stored = await things.insert(thing(n=1))
    things.plan = ["breaks before"]
    assert await things.find_one({"n": 1}) == stored
    things.plan = ["breaks before", "breaks before"]
    assert await things.find({}) == [stored]
    things.plan = ["breaks before"]
    assert await things.aggregate({}, []) == [stored]
    assert things.plan == []


async def test_an_update_gives_the_document_as_it_is_then(
    things: Things,
) -> None:
    stored = await things.insert(thing(name="a", n=1))
    things.time = LATER
    token = current_actor.set("admin")
    updated = await things.update(
        {"_id": stored["_id"], "n": 1}, {"n": 2, "_metadata.archivedAt": 7}
    )
    current_actor.reset(token)
    assert bare(updated) == {
        **stored,
        "n": 2,
        "_metadata": {
            **bare(stored)["_metadata"],
            "archivedAt": 7,
            "updatedAt": LATER,
            "updatedBy": "admin",
        },
    }
    assert await things.everything() == [updated]


async def test_an_update_of_what_does_not_match_gives_none(
    things: Things,
) -> None:
    stored = await things.insert(thing(n=1))
    where = {"_id": stored["_id"], "n": 7}
    assert await things.update(where, {"n": 2}) is None
    assert await things.update({"_id": ObjectId()}, {"n": 2}) is None
    assert await things.everything() == [stored]


async def test_an_update_to_the_same_values_has_matched(
    things: Things,
) -> None:
    stored = await things.insert(thing(n=1))
    updated = await things.update({"_id": stored["_id"]}, {"n": 1})
    assert bare(updated) == bare(stored)


async def test_an_update_to_a_value_that_is_taken_is_refused(
    things: Things,
) -> None:
    await things.steady.create_index([("name", 1)], unique=True)
    await things.insert(thing(name="a"))
    other = await things.insert(thing(name="b"))
    with pytest.raises(DuplicateKeyError):
        await things.update({"_id": other["_id"]}, {"name": "a"})
    assert await things.find_one({"name": "b"}) == other


async def test_of_two_that_compare_and_set_one_wins(things: Things) -> None:
    stored = await things.insert(thing(n=0))
    where = {"_id": stored["_id"], "n": 0}
    results = await asyncio.gather(
        *(things.update(where, {"n": number}) for number in range(1, 9))
    )
    (won,) = [result for result in results if result is not None]
    assert await things.everything() == [won]


async def test_an_update_is_repeated_when_the_line_breaks_before(
    things: Things,
) -> None:
    stored = await things.insert(thing(n=1))
    things.plan = ["breaks before"]
    updated = await things.update({"_id": stored["_id"], "n": 1}, {"n": 2})
    assert updated is not None
    assert updated["n"] == 2


async def test_an_update_whose_answer_is_lost_has_not_lost_to_another(
    things: Things,
) -> None:
    stored = await things.insert(thing(n=1))
    things.plan = ["breaks after"]
    updated = await things.update({"_id": stored["_id"], "n": 1}, {"n": 2})
    assert (await things.everything())[0]["n"] == 2
    assert updated is not None


async def test_a_deletion_whose_answer_is_lost_has_not_lost_to_another(
    things: Things,
) -> None:
    stored = await things.insert(thing())
    things.plan = ["breaks after"]
    deleted = await things.soft_delete({"_id": stored["_id"]})
    assert (await things.everything())[0]["_metadata"]["isDeleted"]
    assert deleted == 1


@pytest.mark.parametrize(
    "plan", [["breaks after"], ["breaks before", "breaks after"]]
)
async def test_many_updates_whose_answer_is_lost_are_counted(
    things: Things, plan: list[str | Exception]
) -> None:
    stored, _ = await things.insert_many([thing(n=n) for n in range(3)])
    things.plan = plan
    updates = [
        ({"_id": stored[0]["_id"], "n": 0}, {"n": 10}),
        # Somebody else was first.
        ({"_id": stored[1]["_id"], "n": 7}, {"n": 11}),
        ({"_id": stored[2]["_id"], "n": 2}, {"n": 12}),
    ]
    assert await things.update_each(updates) == 2
    assert [each["n"] for each in await things.everything()] == [10, 1, 12]


async def test_a_change_of_many_whose_answer_is_lost_is_counted(
    things: Things,
) -> None:
    await things.insert_many([thing(n=n % 2, kind="x") for n in range(5)])
    await things.insert_many([thing(n=1, kind="y")])
    things.plan = ["breaks after"]
    assert await things.update_many({"n": 1, "kind": "x"}, {"n": 7}) == 2
    things.plan = ["breaks after"]
    assert await things.soft_delete({"kind": "x", "n": 0}) == 3


async def test_a_repeated_insert_does_not_take_anothers_for_its_own(
    things: Things,
) -> None:
    """Ids are made of idempotency keys: two requests may have the same."""
    first = await things.insert(thing(name="first"))
    things.plan = ["breaks before"]
    with pytest.raises(DuplicateKeyError):
        await things.insert({"_id": first["_id"], "name": "second"})
    assert await things.everything() == [first]


async def test_a_repeated_insert_of_many_knows_its_own(
    things: Things,
) -> None:
    first = await things.insert(thing(name="first"))
    new = [thing(name=name) for name in "ab"]
    again = {"_id": first["_id"], "name": "again"}
    twice = {"_id": new[0]["_id"], "name": "twice"}
    things.plan = ["breaks after"]
    _, taken = await things.insert_many([new[0], again, new[1], twice])
    assert sorted(taken) == [1, 3]
    names = [found["name"] for found in await things.everything()]
    assert sorted(names) == ["a", "b", "first"]


CONFLICT = OperationFailure("write conflict", 112)
RATE = OperationFailure("Error=16500, RetryAfterMs=34, Details='", 16500)
DEADLOCK = OperationFailure("deadlock detected", 1)
LABELLED = OperationFailure(
    "aborted", 251, {"errorLabels": ["TransientTransactionError"]}
)
BULK = BulkWriteError(
    {"writeErrors": [{"index": 0, "code": 112, "errmsg": "conflict"}]}
)


@pytest.mark.parametrize("error", [CONFLICT, RATE, DEADLOCK, LABELLED, BULK])
async def test_what_passes_is_tried_again(
    things: Things, error: Exception
) -> None:
    stored = await things.insert(thing(n=1))
    things.plan = [error, error, error]
    assert (
        await things.update_each([({"_id": stored["_id"], "n": 1}, {"n": 2})])
        == 1
    )
    assert things.plan == []
    things.plan = [error]
    _, taken = await things.insert_many([thing(n=3)])
    assert taken == []
    assert [each["n"] for each in await things.everything()] == [2, 3]


@pytest.mark.parametrize("error", [CONFLICT, RATE, BULK])
async def test_what_does_not_pass_is_told_in_the_end(error: Exception) -> None:
    tries = Tries(*[error] * 200)
    with pytest.raises(type(error)):
        await retrying(tries)
    assert 1 < tries.count <= 100
    assert is_unavailable(error)


def test_a_rate_limits_pause_is_kept_to_and_bounded() -> None:
    pause = _Pause()
    assert pause.after(RATE) == pytest.approx(0.044)
    assert pause.after(CONFLICT) is True
    long = OperationFailure("RetryAfterMs=9999999", 16500)
    assert pause.after(long) == pytest.approx(2)
    assert pause.after(OperationFailure("no", 13)) is False


async def test_a_patch_leaves_the_metadata(things: Things) -> None:
    stored = await things.insert(thing(n=1))
    things.time = LATER
    things.plan = ["breaks before"]
    update = {"$set": {"a": 1}, "$inc": {"n": 1}}
    assert await things.patch({"n": 1}, update) == 1
    assert await things.everything() == [{**stored, "a": 1, "n": 2}]


async def test_short_lived_records_are_put_and_erased(things: Things) -> None:
    await things.put_each([{"_id": "a", "n": 1}])
    things.plan = ["breaks after"]
    await things.put_each([{"_id": "a", "n": 2}, {"_id": "b", "n": 3}])
    found = [(each["_id"], each["n"]) for each in await things.everything()]
    assert sorted(found) == [("a", 2), ("b", 3)]
    things.plan = ["breaks after"]
    await things.erase({"n": {"$lt": 3}})
    assert [each["_id"] for each in await things.everything()] == ["b"]


async def test_the_driver_itself_repeats_no_write() -> None:
    uri = "mongodb://127.0.0.1/?retryWrites=true"
    clients = ClientManager(uri, "test")
    assert clients.database().client.options.retry_writes is False
    await clients.close()


async def test_the_driver_logs_no_texts(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("pymongo").setLevel(logging.NOTSET)
    with caplog.at_level(logging.DEBUG):
        clients = ClientManager(database, "test-quiet")
        await Documents(clients, "things").insert(thing(prompt="hush"))
        await clients.close()
    assert "hush" not in caplog.text


async def test_many_are_updated_and_counted(things: Things) -> None:
    await things.insert_many([thing(n=n, kind=n % 2) for n in range(5)])
    things.time = LATER
    assert await things.update_many({"kind": 1}, {"n": 7}) == 2
    found = await things.find({"n": 7})
    assert [each["_metadata"]["updatedAt"] for each in found] == [LATER] * 2
    assert await things.update_many({"kind": 9}, {"n": 7}) == 0


async def test_each_is_updated_in_its_own_way_and_counted(
    things: Things,
) -> None:
    stored, _ = await things.insert_many([thing(n=n) for n in range(3)])
    things.time = LATER
    updates = [
        ({"_id": stored[0]["_id"], "n": 0}, {"n": 10}),
        ({"_id": stored[1]["_id"], "n": 9}, {"n": 11}),
        ({"_id": stored[2]["_id"], "n": 2}, {"n": 12}),
    ]
    assert await things.update_each(updates) == 2
    found = await things.everything()
    assert [document["n"] for document in found] == [10, 1, 12]
    times = [document["_metadata"]["updatedAt"] for document in found]
    assert times == [LATER, CREATED, LATER]


async def test_a_deletion_tells_who_and_when_and_keeps_the_document(
    things: Things,
) -> None:
    stored = await things.insert(thing(name="a", n=1))
    things.time = LATER
    token = current_actor.set("admin")
    deleted = await things.soft_delete({"n": 1}, {"name": "deleted"})
    current_actor.reset(token)
    assert deleted == 1
    (kept,) = await things.everything()
    assert bare(kept) == {
        **stored,
        "name": "deleted",
        "_metadata": {
            **bare(stored)["_metadata"],
            "isDeleted": True,
            "deletedAt": LATER,
            "deletedBy": "admin",
            "updatedAt": LATER,
            "updatedBy": "admin",
        },
    }


async def test_what_is_deleted_is_never_seen_or_changed(
    things: Things,
) -> None:
    gone = await things.insert(thing(n=1))
    stays = await things.insert(thing(n=1))
    where = {"_id": gone["_id"]}
    assert await things.soft_delete(where) == 1
    (before,) = await things.steady.find(where).to_list()
    assert await things.find_one(where) is None
    assert await things.find({"n": 1}) == [stays]
    assert await things.aggregate({}, []) == [stays]
    assert await things.update(where, {"n": 2}) is None
    assert await things.update_many(where, {"n": 2}) == 0
    assert await things.update_each([(where, {"n": 2})]) == 0
    assert await things.soft_delete(where) == 0
    assert await things.steady.find(where).to_list() == [before]


async def test_a_filter_cannot_ask_for_deleted_documents(
    things: Things,
) -> None:
    await things.insert(thing(n=1))
    await things.soft_delete({"n": 1})
    assert await things.find({"_metadata.isDeleted": True}) == []


class Tries:
    """An operation that fails some times before it succeeds."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.count = 0

    async def __call__(self) -> str:
        self.count += 1
        if self.failures:
            raise self.failures.pop(0)
        return "done"


@pytest.mark.parametrize("failures", [0, 1, 2])
async def test_a_broken_line_is_tried_up_to_three_times(
    failures: int,
) -> None:
    tries = Tries(*[AutoReconnect("gone")] * failures)
    assert await retrying(tries) == "done"
    assert tries.count == failures + 1


async def test_the_third_broken_line_is_told() -> None:
    last = AutoReconnect("third")
    tries = Tries(AutoReconnect("1"), AutoReconnect("2"), last)
    with pytest.raises(AutoReconnect) as gone:
        await retrying(tries)
    assert gone.value is last
    assert tries.count == 3


@pytest.mark.parametrize(
    "error",
    [
        ServerSelectionTimeoutError("nowhere"),
        OperationFailure("no"),
        DuplicateKeyError("taken"),
        ValueError("ours"),
    ],
)
async def test_what_will_not_get_better_is_not_tried_again(
    error: Exception,
) -> None:
    tries = Tries(error)
    with pytest.raises(type(error)):
        await retrying(tries)
    assert tries.count == 1


async def test_a_loop_has_one_client(clients: ClientManager) -> None:
    first = clients.database()
    assert clients.database().client is first.client
    assert clients.database() == first


async def test_tasks_of_one_loop_share_its_client(
    clients: ClientManager,
) -> None:
    async def client() -> AsyncMongoClient[Document]:
        return clients.database().client

    found = await asyncio.gather(*(client() for _ in range(5)))
    assert len({id(each) for each in found}) == 1


async def test_every_loop_has_a_client_of_its_own(
    clients: ClientManager,
) -> None:
    made: list[AsyncMongoClient[Document]] = []
    lock = threading.Lock()

    async def use() -> None:
        await clients.ping()
        with lock:
            made.append(clients.database().client)
        await clients.close()

    threads = [
        threading.Thread(target=lambda: asyncio.run(use())) for _ in range(4)
    ]
    mine = clients.database().client
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join, 30)
    assert len({id(client) for client in [mine, *made]}) == 5
    # The others closed theirs, not this one.
    assert clients.database().client is mine
    await clients.ping()


async def test_a_closed_client_is_replaced_when_it_is_needed(
    clients: ClientManager,
) -> None:
    before = clients.database().client
    await clients.close()
    await clients.close()
    assert clients.database().client is not before
    await clients.ping()


def test_there_is_no_client_without_a_loop(database: str) -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        ClientManager(database, "test").database()


async def test_a_server_that_is_not_there_is_looked_for_for_a_while() -> None:
    nowhere = f"mongodb://127.0.0.1:{free_port()}/?directConnection=true"
    clients = ClientManager(nowhere, "test", timeout_seconds=0.2)
    started = time.monotonic()
    with pytest.raises(ServerSelectionTimeoutError):
        await clients.ping()
    assert time.monotonic() - started >= 0.2
    await clients.close()
