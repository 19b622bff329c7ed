from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.utilities.embedded.test_fast_paths import Database
from utilities.embedded.fast_reads import selection

DUE = {"expiryDue": {"$gt": 0, "$lte": 9}, "_metadata.isDeleted": False}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path)
    yield database
    database.close()


def index(*names: str, **options: bool) -> dict[str, object]:
    keys = dict.fromkeys(names, 1)
    return {"key": keys, "name": "_".join(names), **options}


def test_a_sparse_index_has_only_documents_with_the_field(
    database: Database,
) -> None:
    specs = [index("expiryDue", sparse=True), index("priority")]
    answer = database.command({"createIndexes": "jobs", "indexes": specs})
    assert answer["ok"] == 1
    collection = database.collection("jobs")
    made = dict(
        collection.db.execute("SELECT name, sql FROM sqlite_master").fetchall()
    )
    assert made["idx_jobs_expiryDue"].endswith("IS NOT NULL")
    assert "WHERE" not in made["idx_jobs_priority"]
    database.update(
        "jobs", {"q": {}, "u": {"$set": {"expiryDue": 5}}, "multi": True}
    )
    assert len(database.find("jobs", filter=DUE)) == 1


def test_a_query_for_a_range_takes_the_sparse_index(
    database: Database,
) -> None:
    specs = [index("expiryDue", sparse=True)]
    database.command({"createIndexes": "jobs", "indexes": specs})
    find = {"filter": DUE, "sort": {"expiryDue": 1}, "limit": 5}
    collection = database.collection("jobs")
    sql, values = selection(collection, find)
    plan = collection.db.execute(f"EXPLAIN QUERY PLAN {sql}", values)
    assert "idx_jobs_expiryDue" in str(plan.fetchall())


def test_a_choice_of_texts_takes_the_sparse_index(database: Database) -> None:
    """The package alone would read every document."""
    specs = [index("answerKey", sparse=True)]
    database.command({"createIndexes": "jobs", "indexes": specs})
    where = {"answerKey": {"$in": ["a", "b"]}, "_metadata.isDeleted": False}
    find = {
        "filter": where,
        "sort": {"answerKey": 1},
        "projection": {"answerKey": 1, "status": 1},
    }
    collection = database.collection("jobs")
    sql, values = selection(collection, find)
    plan = collection.db.execute(
        f"EXPLAIN QUERY PLAN {sql}", values
    ).fetchall()
    assert "USING INDEX idx_jobs_answerKey" in str(plan)
    database.update(
        "jobs", {"q": {}, "u": {"$set": {"answerKey": "b"}}, "multi": True}
    )
    for fields in (where, {**where, "status": {"$in": ["x", "PENDING"]}}):
        (found,) = database.find("jobs", **{**find, "filter": fields})
        assert found["answerKey"] == "b"
    none = {**where, "answerKey": {"$in": ["c", "d"]}}
    assert database.find("jobs", **{**find, "filter": none}) == []
