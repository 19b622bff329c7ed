"""The in-memory store answers what the embedded database answers."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from bson import ObjectId
from bson.errors import InvalidDocument
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pymongo import AsyncMongoClient, UpdateOne
from pymongo.errors import (
    BulkWriteError,
    DocumentTooLarge,
    DuplicateKeyError,
    OperationFailure,
    PyMongoError,
    WriteError,
)

from tests.support.examples import examples
from utilities.embedded.database import EmbeddedDatabase
from utilities.store.database_clock import DatabaseClock
from utilities.store.in_memory import (
    InMemoryClientManager,
    InMemoryCollection,
    InMemoryDatabase,
    InMemoryDocuments,
)

OBJECT_IDS: list[Any] = [ObjectId(f"{n:024x}") for n in range(4)]
SHARED_MEMORY = Path("/dev/shm")
TEXT_IDS: list[Any] = list("pqrs")
NUMBERS = st.integers(-2, 3)
TEXTS = st.sampled_from(["", "a", "b", "ab"])
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "n": NUMBERS | st.none(),
    "clientId": TEXTS,
    "b": st.booleans(),
    "l": st.lists(TEXTS, max_size=2),
    "d": st.fixed_dictionaries({}, optional={"x": NUMBERS}),
}


def comparisons(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    # Not `$ne` and `$nin`: the embedded server passes over documents that
    # do not have the field. Ours use them on fields that all have.
    return st.one_of(
        values,
        values.map(lambda value: {"$eq": value}),
        st.sampled_from(["$gt", "$gte", "$lt", "$lte"]).flatmap(
            lambda name: values.map(lambda value: {name: value})
        ),
        st.lists(values, max_size=3).map(lambda several: {"$in": several}),
    )


def plain_filters(ids: list[Any]) -> st.SearchStrategy[Any]:
    some_id = st.sampled_from(ids)
    several = st.lists(some_id, max_size=3)
    return st.fixed_dictionaries(
        {},
        optional={
            "_id": st.one_of(
                some_id,
                some_id.map(lambda each: {"$gt": each}),
                several.map(lambda found: {"$in": found}),
            ),
            "n": comparisons(NUMBERS) | st.none(),
            "clientId": comparisons(TEXTS),
            "b": st.booleans(),
            "l": TEXTS,
            "d.x": comparisons(NUMBERS),
        },
    )


def any_filters(ids: list[Any]) -> st.SearchStrategy[Any]:
    plain = plain_filters(ids)
    # The embedded server refuses an empty one.
    either = st.lists(plain.filter(bool), min_size=1, max_size=2)
    return plain | either.map(lambda parts: {"$or": parts})


SETTINGS = st.fixed_dictionaries(
    {}, optional={**FIELDS, "d.x": NUMBERS}
).filter(lambda fields: fields and not {"d", "d.x"} <= set(fields))
UPDATES = (
    st.fixed_dictionaries(
        {},
        optional={
            "$set": SETTINGS,
            "$inc": st.fixed_dictionaries({"count": NUMBERS}),
            "$unset": st.sampled_from(["clientId", "l"]).map(
                lambda name: {name: ""}
            ),
        },
    )
    .filter(bool)
    .filter(
        lambda update: (
            not update.get("$set", {}).keys() & update.get("$unset", {}).keys()
        )
    )
)
ORDERS = st.sampled_from(["n", "clientId", "_id"]).flatmap(
    lambda name: st.sampled_from([1, -1]).map(
        lambda way: [(name, way)] + ([("_id", 1)] if name != "_id" else [])
    )
)
GROUPS = st.sampled_from(
    [
        {"_id": "$clientId", "count": {"$sum": 1}},
        {"_id": "$clientId", "least": {"$min": "$d.x"}},
        {"_id": {"$ifNull": ["$clientId", "-"]}, "sum": {"$sum": "$count"}},
        {"_id": {"$concat": ["x", "$clientId"]}, "n": {"$sum": 1}},
    ]
)


def operations_on(ids: list[Any]) -> st.SearchStrategy[Any]:
    plain, filters = plain_filters(ids), any_filters(ids)
    documents = st.fixed_dictionaries(
        {"_id": st.sampled_from(ids)}, optional=FIELDS
    )
    changes = st.lists(st.tuples(plain, UPDATES), min_size=1, max_size=3)
    kinds: dict[str, list[st.SearchStrategy[Any]]] = {
        "insert": [st.lists(documents, min_size=1, max_size=3)],
        "find": [filters, ORDERS, st.integers(0, 3)],
        "fields": [filters, st.just(["n", "clientId"])],
        "update_one": [plain, UPDATES],
        "update_many": [filters, UPDATES],
        "bulk": [changes],
        "delete": [filters],
        "group": [plain, GROUPS],
    }
    if ids is TEXT_IDS:
        # The embedded server would make texts of other ids.
        kinds["upsert"] = [st.sampled_from(ids), SETTINGS]
    return st.one_of(
        *(st.tuples(st.just(name), *parts) for name, parts in kinds.items())
    )


CASES = st.sampled_from([OBJECT_IDS, TEXT_IDS]).flatmap(
    lambda ids: st.tuples(
        st.just(ids), st.lists(operations_on(ids), min_size=1, max_size=8)
    )
)


async def run(collection: Any, operation: Any) -> Any:
    """Run an operation; give its result or the error's type and code."""
    try:
        name, *rest = operation
        return await RUN[name](collection, *rest)
    except BulkWriteError as error:
        return [
            (each["index"], each["code"])
            for each in error.details["writeErrors"]
        ]
    except PyMongoError as error:
        return type(error).__name__, getattr(error, "code", None)


async def _insert(collection: Any, documents: Any) -> Any:
    copies = [dict(each) for each in documents]
    done = await collection.insert_many(copies, ordered=False)
    return done.inserted_ids


async def _find(collection: Any, where: Any, order: Any, limit: int) -> Any:
    cursor = collection.find(where).sort(order).limit(limit)
    return await cursor.batch_size(10).to_list()


async def _fields(collection: Any, where: Any, fields: Any) -> Any:
    return await collection.find(where, fields).sort([("_id", 1)]).to_list()


async def _update_one(collection: Any, where: Any, update: Any) -> Any:
    return (await collection.update_one(where, update)).matched_count


async def _update_many(collection: Any, where: Any, update: Any) -> Any:
    return (await collection.update_many(where, update)).matched_count


async def _upsert(collection: Any, document_id: Any, fields: Any) -> Any:
    done = await collection.update_one(
        {"_id": document_id}, {"$set": fields}, upsert=True
    )
    # The embedded server gives the id as a text.
    return done.matched_count, str(done.upserted_id)


async def _bulk(collection: Any, updates: Any) -> Any:
    operations = [UpdateOne(where, change) for where, change in updates]
    done = await collection.bulk_write(operations, ordered=False)
    return done.matched_count


async def _delete(collection: Any, where: Any) -> Any:
    return (await collection.delete_many(where)).deleted_count


async def _group(collection: Any, where: Any, fields: Any) -> Any:
    stages = [{"$match": where}, {"$group": fields}]
    found = await (await collection.aggregate(stages)).to_list()
    return sorted(found, key=lambda each: str(each["_id"]))


RUN: dict[str, Any] = {
    "insert": _insert,
    "find": _find,
    "fields": _fields,
    "update_one": _update_one,
    "update_many": _update_many,
    "upsert": _upsert,
    "bulk": _bulk,
    "delete": _delete,
    "group": _group,
}


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def server(
    runner: asyncio.Runner,
) -> Iterator[AsyncMongoClient[dict[str, Any]]]:
    async def connect(address: str) -> AsyncMongoClient[dict[str, Any]]:
        return AsyncMongoClient(address)

    # Thousands of writes: where there is a disk in memory, it is used.
    with (
        TemporaryDirectory(
            dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
        ) as directory,
        EmbeddedDatabase(Path(directory)) as database,
    ):
        client = runner.run(connect(database.connection_string))
        yield client
        runner.run(client.close())


@settings(
    max_examples=examples(60),
    # What fails is short as it is; and each try asks a server.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
# `jobs` takes the fast paths; the other does not.
@given(st.sampled_from(["jobs", "others"]), CASES)
def test_random_operations_have_the_same_results(
    runner: asyncio.Runner,
    server: AsyncMongoClient[dict[str, Any]],
    name: str,
    case: tuple[list[Any], list[Any]],
) -> None:
    ids, operations = case
    seeds = [{"_id": ids[0], "n": 1}, {"_id": ids[1], "clientId": "a"}]
    everything: Any = ("find", {}, [("_id", 1)], 0)

    async def compare() -> None:
        embedded = server["differential"][name]
        await embedded.delete_many({})
        memory = InMemoryCollection()
        for operation in [("insert", seeds), *operations]:
            expected = await run(embedded, operation)
            assert await run(memory, operation) == expected, operation
            expected = await run(embedded, everything)
            assert await run(memory, everything) == expected, operation

    runner.run(compare())


async def test_it_hands_out_the_same_database_to_everybody() -> None:
    manager = InMemoryClientManager()
    await manager.database()["things"].insert_one({"_id": 1})
    await manager.close()

    async def read() -> Any:
        return await manager.database()["things"].find_one({"_id": 1})

    assert await asyncio.to_thread(asyncio.run, read()) == {"_id": 1}
    await manager.ping()
    clock = DatabaseClock()
    await clock.measure(manager)
    with pytest.raises(OperationFailure):
        await InMemoryDatabase().command("shutdown")


async def test_documents_need_no_server() -> None:
    documents = InMemoryDocuments()
    stored = await documents.insert({"_id": "a", "n": 1})
    assert await documents.find({"n": 1}) == [stored]
    assert await documents.update({"_id": "a", "n": 2}, {"n": 3}) is None
    assert await documents.soft_delete({"_id": "a"}) == 1
    assert await documents.find_one({"_id": "a"}) is None


async def test_what_is_stored_is_nobody_elses() -> None:
    collection = InMemoryCollection()
    document: dict[str, Any] = {"_id": 1, "list": [1]}
    await collection.insert_one(document)
    document["list"].append(2)
    found = await collection.find_one({"_id": 1})
    assert found == {"_id": 1, "list": [1]}
    found["list"].append(3)
    assert await collection.find_one({"list": 3}) is None


async def test_unique_fields_are_unique() -> None:
    collection = InMemoryCollection()
    await collection.create_index([("a", 1), ("b", 1)], unique=True)
    await collection.insert_many([{"_id": 1, "a": 1}, {"_id": 2, "a": 2}])
    with pytest.raises(DuplicateKeyError):
        await collection.insert_one({"_id": 3, "a": 1})
    with pytest.raises(DuplicateKeyError):
        await collection.update_one({"_id": 2}, {"$set": {"a": 1}})
    await collection.update_one({"_id": 2}, {"$set": {"a": 2, "c": 1}})
    with pytest.raises(BulkWriteError) as told:
        await collection.insert_many(
            [{"_id": 4, "a": 4}, {"_id": 1, "a": 5}, {"_id": 6, "a": 6}],
            ordered=False,
        )
    (problem,) = told.value.details["writeErrors"]
    assert (problem["index"], problem["code"]) == (1, 11000)
    assert await collection.count_documents({}) == 4
    await collection.drop_index([("a", 1), ("b", 1)])
    await collection.insert_one({"_id": 3, "a": 1})
    with pytest.raises(OperationFailure):
        await collection.drop_index([("a", 1), ("b", 1)])


async def test_what_no_database_keeps_is_refused() -> None:
    collection = InMemoryCollection()
    with pytest.raises(InvalidDocument):
        await collection.insert_one({"_id": 1, "x": object()})
    with pytest.raises(DocumentTooLarge):
        await collection.insert_one({"_id": 1, "x": "x" * 17_000_000})
    await collection.insert_one({"_id": 1})
    with pytest.raises(WriteError) as told:
        await collection.update_one(
            {"_id": 1}, {"$set": {"x": "x" * 17_000_000}}
        )
    assert told.value.code == 17419


@pytest.mark.parametrize(
    "where",
    [{"n": {"$regex": "a"}}, {"$where": "1"}, {"n": {"$elemMatch": {}}}],
    ids=str,
)
async def test_what_it_does_not_know_is_an_error(where: Any) -> None:
    """A filter that is passed over would find too much."""
    collection = InMemoryCollection()
    await collection.insert_one({"_id": 1, "n": "a"})
    with pytest.raises(OperationFailure, match="knows no"):
        await collection.find(where).to_list()


async def test_a_missing_field_is_not_equal() -> None:
    collection = InMemoryCollection()
    await collection.insert_many([{"_id": 1}, {"_id": 2, "n": 1}])
    for where in ({"n": {"$ne": 1}}, {"n": {"$nin": [1]}}, {"n": None}):
        assert await collection.find(where).to_list() == [{"_id": 1}]
    present: Any = {"n": {"$exists": True}}
    assert await collection.find(present).to_list() == [{"_id": 2, "n": 1}]


async def test_unknown_changes_and_stages_are_errors_too() -> None:
    collection = InMemoryCollection()
    await collection.insert_one({"_id": 1, "n": "a"})
    with pytest.raises(WriteError):
        await collection.update_one({"_id": 1}, {"$rename": {"n": "m"}})
    with pytest.raises(WriteError):
        await collection.update_one({"_id": 1}, {"$inc": {"n": 1}})
    with pytest.raises(WriteError):
        await collection.update_one({"_id": 1}, {"$set": {"_id": 2}})
    for stages in (
        [{"$out": "x"}],
        [{"$group": {"_id": None, "n": {"$stdDevPop": "$n"}}}],
        [{"$group": {"_id": {"$toString": "$n"}}}],
    ):
        with pytest.raises(OperationFailure, match="knows no"):
            await (await collection.aggregate(stages)).to_list()
