from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.models.client_models import ClientCreate, ClientUpdate
from api.services.keeping.retention import Retention, days_for, with_own
from api.services.keeping.turns import Turns
from config import RETENTION_KINDS, known_retention
from tests.support.store import IN_MEMORY, Store, Time
from utilities.cosmos_connector import Documents, ObjectId
from utilities.store.in_memory import InMemoryClientManager, InMemoryDocuments

DAY = 24 * 3600 * 1000
NOW = Time.now
KINDS = st.sampled_from(
    [*RETENTION_KINDS]
    + [f"{k}.{s}" for k, states in RETENTION_KINDS.items() for s in states]
)


@pytest.fixture(scope="module", params=["embedded", "memory"])
def address(request: pytest.FixtureRequest) -> str:
    """The other server has these queries in the test of the contract."""
    if request.param == "memory":
        return IN_MEMORY
    return str(request.getfixturevalue("database"))


def document(client_id: str | None, status: str, age: float) -> dict[str, Any]:
    at = NOW - round(age * DAY)
    return {
        "_id": ObjectId(),
        "clientId": client_id,
        "status": status,
        "sequence": at * 1_000_000,
        "startedAt": at,
        "madeAt": at,
        "_metadata": {"isDeleted": False, "createdAt": at, "updatedAt": at},
    }


def line(client_id: str, expired: float) -> dict[str, Any]:
    """Give a line of a batch that expired so many days ago."""
    found = document(client_id, "CONSUMED", 2)
    expires_at = NOW - round(expired * DAY)
    return {**found, "operation": "batch-line", "expiresAt": expires_at}


async def test_what_ended_long_ago_goes_and_the_rest_stays(
    store: Store,
) -> None:
    clients = store.application.clients
    services = store.application.services
    time = Time()
    mine = str(store.client.client_id)
    other = (await services.clients.create(ClientCreate(name="o"))).client_id
    await services.clients.update(
        other, ClientUpdate(retention_days={"jobs": None, "runs": 1})
    )
    old = {
        "jobs": [
            document(mine, "PROCESSED", 11),
            document(mine, "CONSUMED", 2),
            document(mine, "ERROR_PROCESSING", 11),
            line(mine, expired=2),
        ],
        "streams": [document(mine, "completed", 11)],
        "runs": [document(other, "FAILED", 2)],
        "evaluations": [document(mine, "COMPLETED", 11)],
        "batches": [document(mine, "completed", 11)],
        "webhook_deliveries": [document(None, "DELIVERED", 11)],
    }
    deleted = document(mine, "PROCESSED", 11)
    deleted["_metadata"]["isDeleted"] = True
    old["jobs"].append(deleted)
    touched = document(mine, "PROCESSED", 11)
    touched["_metadata"]["updatedAt"] = NOW
    kept = {
        "jobs": [
            touched,
            document(mine, "PROCESSED", 9),
            document(mine, "CONSUMED", 0.5),
            # Its batch may still run.
            line(mine, expired=0.5),
            document(mine, "PENDING", 100),
            document(mine, "PROCESSING", 100),
            document(other, "PROCESSED", 100),
        ],
        "streams": [document(mine, "streaming", 100)],
        "runs": [document(mine, "FAILED", 9), document(mine, "RUNNING", 99)],
        "evaluations": [
            document(mine, "CANCELLED", 9),
            document(mine, "RUNNING", 99),
        ],
        "batches": [document(mine, "in_progress", 99)],
        "webhook_deliveries": [document(mine, "PENDING", 100)],
    }
    # They go with the one whose id they have, whatever their age.
    for name, whole, field in (
        ("run_waves", "runs", "runId"),
        ("run_candidates", "runs", "runId"),
        ("evaluation_results", "evaluations", "evaluationId"),
    ):
        old[name], kept[name] = [
            [document(mine, "", 0) | {field: str(wholes[0]["_id"])}]
            for wholes in (old[whole], kept[whole])
        ]
    for name, gone in old.items():
        raw = Documents(clients, name).raw
        await raw.insert_many([*gone, *kept[name]])

    def documents(name: str) -> Documents:
        return Documents(clients, name)

    rules = {"jobs": 10.0, "jobs.CONSUMED": 1.0, "streams": 10.0}
    rules |= {"runs": 10.0, "evaluations": 10.0, "deliveries": 10.0}
    rules["batches"] = 10.0
    retention = Retention(documents, clients, rules, clock=time)
    removed = await retention.round()
    assert dict(removed) == {
        "jobs": 5,
        "batches": 1,
        "streams": 1,
        "runs": 1,
        "evaluations": 1,
        "deliveries": 1,
    }
    for name, gone in old.items():
        raw = Documents(clients, name).raw
        ids = {each["_id"] for each in gone + kept[name]}
        left = await raw.find({"_id": {"$in": list(ids)}}).to_list()
        assert {x["_id"] for x in left} == {x["_id"] for x in kept[name]}
    assert sum((await retention.round()).values()) == 0


async def test_without_rules_nothing_goes() -> None:
    clients = InMemoryClientManager()

    def documents(name: str) -> Documents:
        return Documents(clients, name)

    await documents("jobs").raw.insert_one(document("c", "PROCESSED", 999))
    retention = Retention(documents, clients, {})
    assert await retention.round() == {}
    assert await documents("jobs").raw.count_documents({}) == 1


@given(
    st.dictionaries(KINDS, st.integers(1, 9)),
    st.dictionaries(KINDS, st.none() | st.integers(1, 9)),
)
def test_a_clients_own_rules_come_first(
    rules: dict[str, int], own: dict[str, int | None]
) -> None:
    merged = with_own(rules, own)
    for kind, statuses in RETENTION_KINDS.items():
        for status in statuses:
            exact = f"{kind}.{status}"
            wanted = days_for(merged, kind, status)
            if exact in own:
                assert wanted == own[exact]
            elif kind in own:
                assert wanted == own[kind]
            else:
                assert wanted == days_for(rules, kind, status)


def test_a_name_that_is_no_kind_is_refused() -> None:
    with pytest.raises(ValueError, match=r"jobs\.PENDING"):
        known_retention({"jobs.PENDING": 1})


async def test_one_process_has_a_turn() -> None:
    time, documents = Time(), InMemoryDocuments("turns")
    one, two = Turns(documents, time), Turns(documents, time)
    assert await one.take("t", 10)
    assert not await two.take("t", 10)
    time.now += 10_000
    assert await two.take("t", 10)
    assert not await one.take("t", 10)
