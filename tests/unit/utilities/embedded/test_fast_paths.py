"""A fast path answers what the package answers, only sooner."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import ObjectId
from bson.int64 import Int64
from nx_27017.handler import NeoSQLiteHandler
from nx_27017.utils import convert_neo_to_bson_objectids

from utilities.embedded import readers
from utilities.embedded.fast_reads import (
    find_plainly,
    group_plainly,
    selection,
)
from utilities.embedded.fast_writes import insert_plainly, update_plainly
from utilities.embedded.handler import DurableHandler

Document = dict[str, Any]

ID, OTHER = ObjectId("0" * 23 + "1"), ObjectId("0" * 23 + "2")
DOCUMENT: Document = {
    "_id": ID,
    "status": "PENDING",
    "leaseToken": "abc",
    "attempts": 1,
    "text": "a",
    "prompts": ["p"],
    "_metadata": {"isDeleted": False, "updatedAt": 1},
}


class Database:
    """Each document is in two collections; one takes the fast paths."""

    def __init__(self, directory: Path) -> None:
        self._handler = DurableHandler(data_dir=str(directory))
        for name in ("jobs", "others"):
            self.command({"insert": name, "documents": [dict(DOCUMENT)]})

    def command(
        self, body: Document, handler: type[Any] = DurableHandler
    ) -> Document:
        body = body | {"$db": "m"}
        message = {"request_id": 1, "sections": [("body", body)]}
        handle = (
            handler.handle_insert
            if "insert" in body
            else handler.handle_command
        )
        answer = handle(self._handler, message)[1]
        # As it goes over the wire.
        return bson.decode(bson.encode(convert_neo_to_bson_objectids(answer)))

    def update(self, name: str, *updates: Document) -> Document:
        return self.command({"update": name, "updates": list(updates)})

    def find(self, name: str, **options: object) -> list[Document]:
        answer = self.command({"find": name, **options})
        return list(answer["cursor"]["firstBatch"])

    def collection(self, name: str) -> Any:
        return self._handler.get_database("m")[name]

    def writing(self) -> AbstractContextManager[object]:
        """Hold up everybody who writes."""
        lock: AbstractContextManager[object] = self._handler._lock_for("m")
        return lock

    def find_plainly(self, options: Document) -> list[Document] | None:
        return find_plainly(self.collection("jobs"), options)

    def group_plainly(self, stages: list[Document]) -> list[Document] | None:
        return group_plainly(self.collection("jobs"), stages)

    def close(self) -> None:
        self._handler.close_all()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path)
    yield database
    database.close()


def by_id(change: Document, **more: object) -> Document:
    return {"q": {"_id": ID, **more}, "u": change}


PLAIN = [
    by_id({"$set": {"status": "PROCESSED", "new": "b"}}),
    by_id({"$set": {"big": Int64(5_000_000_000), "half": 0.5}}),
    by_id({"$set": {"nothing": None, "yes": True, "list": [1, {"a": []}]}}),
    by_id({"$set": {"metrics": {"tokens": 1, "seconds": 0.25}}}),
    by_id({"$set": {"text": 'quoted " \\ \n \u00e9 \U0001f600'}}),
    by_id({"$set": {"_metadata.updatedAt": 2, "_metadata.by": "w"}}),
    by_id({"$unset": {"leaseToken": "", "unknown": ""}}),
    by_id({"$inc": {"attempts": 2, "other": 1}}),
    by_id({"$set": {"a": 1}, "$unset": {"text": ""}, "$inc": {"b": 1}}),
    by_id({"$set": {"a": 1}}, status="PENDING"),
    by_id({"$set": {"a": 1}}, status="PROCESSED"),
    by_id({"$set": {"a": 1}}, status={"$in": ["PENDING", "x"]}),
    by_id({"$set": {"a": 1}}, **{"_metadata.isDeleted": False}),
    by_id({"$set": {"a": 1}}, **{"_metadata.isDeleted": True}),
    by_id({"$set": {"a": 1}}, leaseToken=None),
    by_id({"$set": {"a": 1}}, batchMark=None),
    by_id({"$set": {"a": 1}}, revision=3, status="PENDING"),
    by_id({"$set": {"a": 1}}, revision=None, leaseToken="abc"),
    {"q": {"leaseToken": "abc"}, "u": {"$set": {"a": 1}}, "multi": True},
    {"q": {"_id": {"$in": [OTHER, ID]}}, "u": {"$set": {"a": 1}}},
    {"q": {"_id": OTHER}, "u": {"$set": {"a": 1}}},
]

NOT_PLAIN = [
    {"q": {}, "u": {"$set": {"a": 1}}},
    {"q": {"status": "PENDING"}, "u": {"$set": {"a": 1}}},
    by_id({"$set": {"a": 1}}, prompts="p"),
    by_id({"$set": {"a": 1}}, leaseToken={"$ne": "x"}),
    by_id({"$set": {"when": datetime(2026, 1, 1, tzinfo=UTC)}}),
    by_id({"$set": {"raw": b"bytes"}}),
    by_id({"$set": {"id": OTHER}}),
    by_id({"$set": {"odd": {"$date": "2026"}}}),
    by_id({"$set": {"list.0": 1}}),
    by_id({"$set": {"a b": 1}}),
    by_id({"$inc": {"attempts": 0.5}}),
    by_id({"$push": {"prompts": "q"}}),
    by_id({"$set": {"a": 1}}) | {"upsert": True},
    by_id({"text": "replaced"}),
]


@pytest.mark.parametrize("update", PLAIN, ids=str)
def test_a_plain_update_does_what_the_package_does(
    database: Database, update: Document
) -> None:
    package = database.update("others", update)
    assert database.update("jobs", update)["n"] == package["n"]
    assert database.find("jobs") == database.find("others")
    assert update_plainly(database.collection("jobs"), [update]) is not None


@pytest.mark.parametrize("update", NOT_PLAIN, ids=str)
def test_everything_else_is_the_packages_business(
    database: Database, update: Document
) -> None:
    assert update_plainly(database.collection("jobs"), [update]) is None
    assert database.find("jobs") == [DOCUMENT]


def test_of_many_updates_all_are_made(database: Database) -> None:
    updates = [by_id({"$inc": {"attempts": 1}}) for _ in range(3)]
    assert database.update("jobs", *updates)["n"] == 3
    assert database.find("jobs")[0]["attempts"] == 4


def test_an_update_that_fails_is_left_to_the_package_as_a_whole(
    database: Database,
) -> None:
    answer = database.update(
        "jobs",
        by_id({"$inc": {"attempts": 1}}),
        by_id({"$inc": {"text": 1}}),
    )
    assert answer["writeErrors"][0]["index"] == 1
    assert database.find("jobs")[0]["attempts"] == 2


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"projection": {"_id": 1}},
        {"projection": {"text": 1, "_metadata": 1, "unknown": 1}},
        {"projection": {"_id": 1, "status": 1}, "sort": {"attempts": -1}},
        {"filter": {"status": {"$eq": "PENDING"}}},
        {"filter": {"_id": {"$in": [ID, OTHER]}}, "sort": {"attempts": -1}},
        {"filter": {"prompts": "p"}, "projection": {"_id": 1}, "limit": 1},
        {"filter": {"attempts": {"$gt": 1}}},
        {"filter": {"$or": [{"attempts": {"$gt": 1}}, {"_id": ID}]}},
        {"filter": {"$or": [{"text": "b"}, {"text": "c"}]}},
        {
            "filter": {
                "status": "PENDING",
                "attempts": {"$gte": 1},
                "$or": [{"attempts": {"$gt": 1}}, {"_id": {"$gt": ID}}],
            },
            "sort": {"attempts": 1, "_id": 1},
        },
        {"filter": {"text": "a", "$or": [{"$or": [{"_id": ID}]}]}},
        {"projection": {"status": 1, "prompts": 1, "unknown": 1}},
        {"projection": {"_id": 1, "_metadata": 1}},
        {"filter": {"attempts": None}},
        {"filter": {"unknown": None, "status": {"$eq": "PENDING"}}},
        *(
            {
                "filter": {"status": {"$in": ["x", "PENDING", "PENDING"]}},
                "sort": {"attempts": order, "_id": 1},
                "limit": limit,
                "projection": fields,
            }
            for order in (1, -1)
            for limit in (1, 5)
            for fields in ({}, {"_id": 1}, {"text": 1})
        ),
    ],
    ids=str,
)
def test_a_plain_find_finds_what_the_package_finds(
    database: Database, options: Document
) -> None:
    for name in ("jobs", "others"):
        second = DOCUMENT | {"_id": OTHER, "attempts": 2}
        database.command({"insert": name, "documents": [second]})
    package = database.command({"find": "jobs", **options}, NeoSQLiteHandler)
    expected = package["cursor"]["firstBatch"]
    assert database.find("jobs", **options) == expected
    assert database.find_plainly(options) == expected


def pipeline(key: object, **sums: object) -> list[Document]:
    return [
        {"$match": {"_metadata.isDeleted": False}},
        {"$group": {"_id": key, **sums}},
    ]


CURRENCY = {"$ifNull": ["$metrics.currency", ""]}


@pytest.mark.parametrize(
    "stages",
    [
        pipeline("$status", n={"$sum": 1}),
        pipeline("$unknown", n={"$sum": 2}),
        pipeline("$status", n={"$sum": "$attempts"}),
        pipeline("$status", sum={"$sum": "$_metadata.updatedAt"}),
        pipeline("$status", least={"$min": "$_metadata.updatedAt"}),
        pipeline("$status", least={"$min": "$unknown"}),
        pipeline({"$concat": ["$status", "|", CURRENCY]}, n={"$sum": 1}),
    ],
    ids=str,
)
def test_groups_are_summed_as_the_package_sums_them(
    database: Database, stages: list[Document]
) -> None:
    more = [
        {"_id": OTHER, "attempts": 2, "metrics": {"currency": "EUR"}},
        {"_id": ObjectId(), "status": "DONE", "_metadata": living(0.5)},
        {"_id": ObjectId(), "status": "DONE", "_metadata": living(2)},
        {"_id": ObjectId(), "_metadata": {"isDeleted": True}},
    ]
    documents = [DOCUMENT | document for document in more]
    database.command({"insert": "jobs", "documents": documents})
    aggregate = {"aggregate": "jobs", "pipeline": stages, "cursor": {}}
    package = database.command(aggregate, NeoSQLiteHandler)
    expected = by_key(package["cursor"]["firstBatch"])
    answer = database.command(aggregate)
    assert by_key(answer["cursor"]["firstBatch"]) == expected
    groups = database.group_plainly(stages)
    assert groups is not None
    assert by_key(groups) == expected


def test_what_is_not_there_adds_nothing(database: Database) -> None:
    # As MongoDB has it; the package says None.
    stages = pipeline("$status", n={"$sum": "$unknown"})
    groups = database.group_plainly(stages)
    assert groups == [{"_id": "PENDING", "n": 0}]


def living(updated_at: float) -> Document:
    return {"isDeleted": False, "updatedAt": updated_at}


def by_key(groups: list[Document]) -> list[Document]:
    return sorted(groups, key=lambda group: str(group["_id"]))


@pytest.mark.parametrize(
    "stages",
    [
        [{"$match": {}}],
        [{"$group": {"_id": "$status"}}, {"$match": {}}],
        pipeline({"a": "$status"}, n={"$sum": 1}),
        pipeline("$status", n={"$avg": "$attempts"}),
        pipeline("$list.0", n={"$sum": 1}),
        pipeline(None, n={"$sum": 1}),
        pipeline("$status", n={"$sum": {"$add": [1, 2]}}),
    ],
    ids=str,
)
def test_other_groups_are_the_packages_business(
    database: Database, stages: list[Document]
) -> None:
    assert database.group_plainly(stages) is None


STORED_PLAINLY = [
    DOCUMENT | {"_id": OTHER},
    {"_id": OTHER},
    {"text": '\u00e9 \U0001f600 " \\ \n', "_id": OTHER, "n": Int64(2**40)},
    {"_id": OTHER, "list": [1, 0.5, {"a": [None, True]}], "": "unnamed"},
]


@pytest.mark.parametrize("document", STORED_PLAINLY, ids=str)
def test_a_plain_document_is_kept_as_the_package_keeps_it(
    database: Database, document: Document
) -> None:
    insert = {"insert": "jobs", "documents": [document]}
    assert database.command(insert)["n"] == 1
    insert = {"insert": "others", "documents": [document]}
    assert database.command(insert)["n"] == 1
    rows = "SELECT _id, data FROM"
    kept = [
        list(database.collection(name).db.execute(f"{rows} {name}"))
        for name in ("jobs", "others")
    ]
    assert kept[0][-1] == kept[1][-1]
    again = document | {"_id": ObjectId()}
    assert insert_plainly(database.collection("jobs"), [again]) == 1


@pytest.mark.parametrize(
    "document",
    [
        {"_id": "an id of another kind"},
        {"no": "id"},
        {"_id": OTHER, "when": datetime(2026, 1, 1, tzinfo=UTC)},
        {"_id": OTHER, "raw": b"bytes"},
        {"_id": OTHER, "other": ID},
        {"_id": OTHER, "odd": {"$date": "2026"}},
    ],
    ids=str,
)
def test_any_other_document_is_inserted_by_the_package(
    database: Database, document: Document
) -> None:
    collection = database.collection("jobs")
    assert insert_plainly(collection, [document]) is None
    insert = {"insert": "jobs", "documents": [document]}
    assert database.command(insert)["n"] == 1


def test_a_document_that_is_there_already_is_told_by_the_package(
    database: Database,
) -> None:
    documents = [{"_id": OTHER}, {"_id": ID}, {"_id": ObjectId()}]
    answer = database.command({"insert": "jobs", "documents": documents})
    (error,) = answer["writeErrors"]
    assert (error["index"], error["code"], answer["n"]) == (1, 11000, 1)
    assert [each["_id"] for each in database.find("jobs")] == [ID, OTHER]


def test_a_list_of_one_status_goes_by_its_index(database: Database) -> None:
    for names in (
        ("clientId", "status", "priority", "sequence"),
        ("clientId", "sequence"),
        ("sequence",),
        ("clientId", "status", "sequence"),
    ):
        index = {"key": dict.fromkeys(names, 1), "name": "_".join(names)}
        database.command({"createIndexes": "jobs", "indexes": [index]})
    find = {
        "filter": {"clientId": "c", "status": "PROCESSED", "text": "a"},
        "sort": {"sequence": 1, "_id": 1},
    }
    sql, values = selection(database.collection("jobs"), find)
    plan = database.collection("jobs").db.execute(
        f"EXPLAIN QUERY PLAN {sql}", values
    )
    first = plan.fetchone()[-1]
    by = "USING INDEX idx_jobs_clientId_status_sequence "
    assert first.startswith(f"SEARCH jobs {by}")


def test_the_ranges_of_many_models_are_merged_by_an_index(
    database: Database,
) -> None:
    names = ("clientId", "status", "model", "deferredUntil", "priority")
    index = {"key": dict.fromkeys(names, 1), "name": "claims"}
    database.command({"createIndexes": "jobs", "indexes": [index]})
    find = {
        "filter": {
            "clientId": {"$eq": "c"},
            "status": {"$eq": "PENDING"},
            "model": {"$in": ["a", "b"]},
            "deferredUntil": None,
        },
        "sort": {"priority": 1},
        "limit": 3,
        "projection": {"_id": 1},
    }
    sql, values = selection(database.collection("jobs"), find)
    plan = [
        row[-1]
        for row in database.collection("jobs").db.execute(
            f"EXPLAIN QUERY PLAN {sql}", values
        )
    ]
    ranges = [step for step in plan if step.startswith("SEARCH jobs USING")]
    assert len(ranges) == 2
    assert all(step.count("<expr>=?") == 4 for step in ranges)
    # Only what the ranges gave, at most twice the limit, is sorted.
    assert sum("ORDER BY" in step for step in plan) == 1


def test_a_find_waits_for_no_write(database: Database) -> None:
    with ThreadPoolExecutor() as threads, database.writing():
        found = threads.submit(database.find, "jobs")
        assert found.result(timeout=10) == [DOCUMENT]


def test_what_was_written_is_found_at_once(database: Database) -> None:
    for number in range(50):
        database.update("jobs", by_id({"$set": {"attempts": number}}))
        assert database.find("jobs")[0]["attempts"] == number


@pytest.mark.parametrize(
    "wanted",
    [
        {"when": datetime(2026, 1, 1, tzinfo=UTC)},
        {"when": {"$lt": datetime(2027, 1, 1, tzinfo=UTC)}},
        {"$or": [{"when": {"$lt": datetime(2027, 1, 1, tzinfo=UTC)}}]},
        {"raw": b"bytes"},
    ],
    ids=str,
)
def test_what_sqlite_compares_otherwise_is_the_packages_business(
    database: Database, wanted: Document
) -> None:
    assert database.find_plainly({"filter": wanted}) is None


@pytest.mark.parametrize("projection", [{}, {"_id": 1}])
def test_a_text_that_looks_like_an_id_stays_a_text(
    database: Database, projection: Document
) -> None:
    database.command({"drop": "jobs"})
    database.command({"insert": "jobs", "documents": [{"_id": str(OTHER)}]})
    found = database.find("jobs", projection=projection)
    assert found == [{"_id": str(OTHER)}]


@pytest.mark.parametrize("text_id", ["a text", str(OTHER)])
@pytest.mark.parametrize("projection", [{}, {"_id": 1}, {"ref": 1, "x": 1}])
def test_an_id_in_another_field_leaves_a_text_a_text(
    database: Database, text_id: str, projection: Document
) -> None:
    document = {"_id": text_id, "ref": ID, "x": None}
    database.command({"drop": "jobs"})
    database.command({"insert": "jobs", "documents": [dict(document)]})
    names = projection or document
    expected = {name: document[name] for name in ("_id", *names)}
    assert database.find("jobs", projection=projection) == [expected]


@pytest.mark.parametrize(
    "value",
    [None, "", 0, 1.0, 10**15, [], {}, {"a": [None, "\u2028"]}, '"x"', True],
    ids=repr,
)
def test_fields_alone_are_what_they_are_in_the_document(
    database: Database, value: object
) -> None:
    database.update("jobs", by_id({"$set": {"value": value}}))
    options = {"projection": {"value": 1, "text": 1, "missing": 1}}
    expected = [{"_id": ID, "value": value, "text": "a"}]
    assert database.find_plainly(options) == expected
    (found,) = database.find("jobs", **options)
    assert isinstance(found["value"], type(value))


@pytest.mark.parametrize("value", [b"bytes", ID, '"__neosqlite_', '"$date"'])
def test_fields_with_the_packages_marks_are_its_business(
    database: Database, value: object
) -> None:
    database.update("jobs", by_id({"$set": {"value": value}}))
    (found,) = database.find("jobs", projection={"value": 1})
    assert found["value"] == value
    # Negative control: other fields of it are plain.
    assert database.find_plainly({"projection": {"text": 1}}) is not None


def test_after_a_drop_nothing_waits_or_comes_back(database: Database) -> None:
    assert database.find("jobs") == [DOCUMENT]
    database.command({"dropDatabase": 1})
    assert database.find("jobs") == []
    database.command({"insert": "jobs", "documents": [dict(DOCUMENT)]})
    assert database.find("jobs") == [DOCUMENT]


def test_the_journal_is_kept_short_while_somebody_always_reads(
    database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(readers, "_LONGEST_JOURNAL_BYTES", 100_000)
    for _ in range(20):
        database.update("jobs", by_id({"$set": {"text": "x" * 20_000}}))
        database.find("jobs")
    assert (tmp_path / "m.db-wal").stat().st_size < 200_000


@pytest.mark.parametrize("value", [b"bytes", ID])
def test_documents_of_other_types_are_found_by_the_package(
    database: Database, value: object
) -> None:
    database.update("jobs", by_id({"$set": {"value": value}}))
    assert database.find_plainly({}) is None
    assert database.find("jobs")[0]["value"] == value


def test_what_is_not_there_is_not_made(database: Database) -> None:
    database.command({"drop": "jobs"})
    assert database.find("jobs") == []
    names = database.command({"listCollections": 1})["cursor"]["firstBatch"]
    assert [each["name"] for each in names] == ["others"]


def ids(count: int) -> list[ObjectId]:
    return [ObjectId(f"{number + 256:024x}") for number in range(count)]


def test_updates_that_are_alike_are_made_as_the_package_makes_them(
    database: Database,
) -> None:
    found = ids(250)
    for name in ("jobs", "others"):
        new = [
            {"_id": each, "leaseToken": "t", "n": 0, "status": "PENDING"}
            for each in found
        ]
        database.command({"insert": name, "documents": new})
    changes = [
        {
            # Some have another token by now.
            "q": {"_id": each, "leaseToken": "t" if n % 3 else "x"},
            "u": {
                "$set": {"n": n, "half": n / 2, "list": [n], "text": "?" * n},
                "$inc": {"tries": n},
                "$unset": {"leaseToken": ""},
            },
        }
        for n, each in enumerate(found)
    ]
    answers = [database.update(name, *changes) for name in ("jobs", "others")]
    assert answers[0]["n"] == answers[1]["n"] == 166
    assert database.find("jobs") == database.find("others")


def test_two_updates_of_one_document_come_after_one_another(
    database: Database,
) -> None:
    first, second = (
        by_id({"$set": {"status": new}}, status=old)
        for old, new in (("PENDING", "a"), ("a", "b"))
    )
    assert database.update("jobs", first, second)["n"] == 2
    (found,) = database.find("jobs")
    assert found["status"] == "b"


@pytest.mark.parametrize(
    ("direction", "beyond"), [(1, "$gt"), (-1, "$lt")], ids=["up", "down"]
)
def test_a_later_page_is_found_in_both_directions(
    database: Database, direction: int, beyond: str
) -> None:
    found = ids(9)
    new = [{"_id": each, "sequence": n // 3} for n, each in enumerate(found)]
    database.command({"insert": "jobs", "documents": new})
    options: Document = {
        "filter": {
            "sequence": {f"{beyond}e": 1},
            "$or": [{"sequence": {beyond: 1}}, {"_id": {beyond: found[4]}}],
        },
        "sort": {"sequence": direction, "_id": direction},
    }
    page = database.find_plainly(options)
    assert page is not None
    expected = found[5:] if direction > 0 else found[:4][::-1]
    assert [each["_id"] for each in page] == expected
