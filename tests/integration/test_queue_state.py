"""The counts behind `/metrics`, on every server we can have."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from bson import ObjectId

from api.services.monitoring.queue_state import QueueState
from tests.support.store import clients_of
from utilities.cosmos_connector import ClientManager, Documents
from utilities.store.schema import migrate


@pytest.fixture
async def clients(address: str) -> AsyncIterator[ClientManager]:
    clients = clients_of(address, f"test-{uuid.uuid4().hex[:12]}")
    await migrate(clients)
    yield clients
    await clients.close()


def job(status: str, model: str, operation: str, since: int) -> dict[str, Any]:
    return {
        "_id": ObjectId(),
        "status": status,
        "model": model,
        "operation": operation,
        "startedAt": since,
    }


async def test_jobs_are_counted_inside_the_database(
    clients: ClientManager,
) -> None:
    def documents(name: str) -> Documents:
        return Documents(clients, name)

    model_id, deleted = ObjectId(), job("PENDING", "deleted", "o", 1)
    await documents("models").insert({"_id": model_id, "name": "gpt"})
    await documents("workers").insert({"_id": 1, "status": "running"})
    jobs = documents("jobs")
    await jobs.insert_many(
        [
            job("PENDING", "gpt", "a", 500),
            job("PENDING", str(model_id), "b", 300),
            job("PENDING", "llama", "a", 700),
            job("PROCESSING", "gpt", "a", 100),
            job("PROCESSED", "gpt", "a", 50),
            job("PROCESSED", str(model_id), "a", 50),
            job("CANCELED", "llama", "b", 50),
            deleted,
        ]
    )
    await jobs.soft_delete({"_id": deleted["_id"]})
    state = QueueState(documents)
    active = await state.active()
    assert active.by_model == {
        ("PENDING", "gpt"): 2,
        ("PENDING", "llama"): 1,
        ("PROCESSING", "gpt"): 1,
    }
    assert active.by_operation == {
        ("PENDING", "a"): 2,
        ("PENDING", "b"): 1,
        ("PROCESSING", "a"): 1,
    }
    assert active.oldest == {"gpt": 300, "llama": 700}
    assert active.workers == {"running": 1}
    ended = await state.ended()
    assert ended.by_model == {
        ("PROCESSED", "gpt"): 2,
        ("CANCELED", "llama"): 1,
    }
    assert ended.by_operation == {("PROCESSED", "a"): 2, ("CANCELED", "b"): 1}
