"""What is kept of the jobs is what a count of all of them gives."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.utilities.embedded.test_fast_paths import Database
from utilities.embedded import kept_counts

Document = dict[str, Any]

LIVING = {"_metadata.isDeleted": False}
KEYS: list[object] = [
    "$status",
    "$model",
    {
        "$concat": [
            "$status",
            "|",
            {"$ifNull": [f"${kept_counts._CURRENCY}", ""]},
        ]
    },
]
SUMS: Document = {
    "n": {"$sum": 1},
    "inputTokens": {"$sum": "$processingMetrics.inputTokens"},
    "totalCost": {"$sum": "$processingMetrics.totalCost"},
}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path)
    yield database
    database.close()


def id_of(number: int) -> ObjectId:
    # One document is there already.
    return ObjectId(f"{number + 256:024x}")


def job(number: int, **fields: object) -> Document:
    return {
        "_id": id_of(number),
        "clientId": "c-1",
        "status": "PENDING",
        "model": "m",
        "operation": "o",
        "_metadata": {"isDeleted": False},
        **fields,
    }


def metrics(tokens: int, cost: float, currency: str | None) -> Document:
    return {
        "inputTokens": tokens,
        "totalCost": cost,
        "duration": cost / 3,
        "currency": currency,
    }


def rows(database: Database, sql: str) -> list[Any]:
    return sorted(database.collection("jobs").db.execute(sql).fetchall())


def check(database: Database) -> None:
    """Recount everything, and compare."""
    connection = database.collection("jobs").db
    assert kept_counts.are_kept(connection)
    assert rows(database, kept_counts.kept()) == rows(
        database, kept_counts.recount()
    )


def insert(database: Database, *jobs: Document) -> None:
    answer = database.command({"insert": "jobs", "documents": list(jobs)})
    assert answer["n"] == len(jobs)


def group(
    database: Database, where: Document, key: object
) -> list[Document] | None:
    stages = [{"$match": where}, {"$group": {"_id": key, **SUMS}}]
    return database.group_plainly(stages)


NUMBERS = st.integers(0, 5)
STATUS = st.sampled_from(["PENDING", "PROCESSING", "PROCESSED"])
METRICS = st.none() | st.builds(
    metrics,
    st.integers(0, 10**6),
    st.floats(0, 1000).map(lambda cost: round(cost, 10)),
    st.sampled_from(["USD", "EUR", None]),
)
CHANGES = st.one_of(
    st.builds(lambda status: {"$set": {"status": status}}, STATUS),
    st.builds(
        lambda status, used: {
            "$set": {"status": status, "processingMetrics": used},
            "$unset": {"leaseToken": ""},
        },
        STATUS,
        METRICS,
    ),
    st.just({"$set": {"_metadata.isDeleted": True}}),
    st.just({"$set": {"_metadata.isDeleted": False}}),
    st.just({"$set": {"leaseExpiresAt": 5}}),
    st.just({"$set": {"model": "other", "processingMetrics.inputTokens": 7}}),
    # The package's business.
    st.just({"$rename": {"operation": "operation2"}}),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), NUMBERS, METRICS),
        st.tuples(st.just("update"), NUMBERS, CHANGES),
        st.tuples(st.just("delete"), NUMBERS, st.none()),
    ),
    max_size=12,
)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(STEPS)
def test_whatever_is_written_the_counts_are_exact(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any]
) -> None:
    database = Database(tmp_path_factory.mktemp("kept"))
    try:
        for kind, number, what in steps:
            _write(database, kind, number, what)
        check(database)
    finally:
        database.close()


def _write(database: Database, kind: str, number: int, what: Any) -> None:
    one = {"_id": id_of(number)}
    if kind == "insert":
        new = job(number, processingMetrics=what)
        # The same twice is refused.
        database.command({"insert": "jobs", "documents": [new]})
    elif kind == "update":
        database.update("jobs", {"q": one, "u": what})
    else:
        delete = {"q": one, "limit": 1}
        database.command({"delete": "jobs", "deletes": [delete]})


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    "where",
    [
        {"clientId": "c-1"},
        {"clientId": "c-1", "status": {"$in": ["PENDING", "PROCESSED"]}},
        {"clientId": {"$eq": "c-1"}, "model": "m", "operation": "o"},
        {"status": {"$eq": "PENDING"}},
        {},
    ],
)
def test_groups_are_answered_without_reading_a_job(
    database: Database, key: object, where: Document
) -> None:
    used = [metrics(n, n / 7, "USD" if n % 2 else None) for n in range(6)]
    insert(
        database,
        *(job(n, processingMetrics=used[n]) for n in range(6)),
        job(6, clientId="c-10", status="PROCESSED"),
        job(7, clientId="c-1", status="PROCESSED", model="x"),
        job(8, _metadata={"isDeleted": True}),
    )
    found = group(database, {**where, **LIVING}, key)
    connection = database.collection("jobs").db
    first = kept_counts._TRIGGERS[0]
    connection.execute(f"DROP TRIGGER {first}")
    counted = group(database, {**where, **LIVING}, key)
    assert found is not None
    assert counted is not None
    by_key = {row["_id"]: row for row in found}
    for row in counted:
        if row["_id"] is not None:
            assert by_key.pop(row["_id"]) == pytest.approx(row)
    assert set(by_key) <= {None}


@pytest.mark.parametrize(
    "where",
    [
        {"clientId": "c-1"},
        {**LIVING, "priority": 1},
        {**LIVING, "status": {"$gt": "A"}},
        {**LIVING, "clientId": 'c"1'},
    ],
)
def test_what_does_not_follow_from_the_counts_is_counted(
    database: Database, where: Document
) -> None:
    insert(database, job(1, clientId='c"1', priority=1))
    connection = database.collection("jobs").db
    connection.execute(f"UPDATE {kept_counts._TABLE} SET n = 1000")
    found = group(database, where, "$status")
    assert found is not None
    assert all(row["n"] < 10 for row in found)


def test_jobs_of_before_are_counted_once(tmp_path: Path) -> None:
    database = Database(tmp_path)
    insert(database, job(1), job(2))
    connection = database.collection("jobs").db
    kept_counts._remove(connection)
    connection.execute(
        "CREATE TABLE neosqlite_kept_jobs_0 (of_an_earlier_version)"
    )
    connection.commit()
    database.close()
    database = Database(tmp_path)
    insert(database, job(3))
    check(database)
    assert group(database, {**LIVING, "clientId": "c-1"}, "$status") == [
        {"_id": "PENDING", "n": 3, "inputTokens": 0, "totalCost": 0.0}
    ]
    database.close()


def test_a_collection_that_is_made_again_is_counted_again(
    database: Database,
) -> None:
    insert(database, job(1))
    database.command({"drop": "jobs"})
    insert(database, job(2))
    check(database)


def test_a_write_that_is_refused_changes_no_count(database: Database) -> None:
    insert(database, job(1))
    # The second is there already: the package inserts what it can.
    database.command({"insert": "jobs", "documents": [job(2), job(1)]})
    check(database)
