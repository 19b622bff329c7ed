import asyncio
from typing import Any

import pytest

from api.core.errors import NotFoundError
from api.services.keeping.erasure import (
    OWNED,
    ErasedClients,
    Eraser,
    EraserTimes,
    ErasureService,
)
from tests.support.store import Time
from utilities.cosmos_connector import Document, Documents, ObjectId
from utilities.signals import Signals
from utilities.store.in_memory import InMemoryClientManager


class World:
    """Two clients with something everywhere, and who erases them."""

    def __init__(self) -> None:
        self.clients, self.time = InMemoryClientManager(), Time()
        self.service = ErasureService(
            self.documents("erasures"),
            self.documents("clients"),
            Signals(),
            self.time,
        )

    def documents(self, name: str) -> Documents:
        return Documents(self.clients, name, self.time)

    async def fill(self) -> None:
        for name in OWNED:
            for client_id in ("a", "b"):
                await self.documents(name).insert(
                    {"_id": ObjectId(), "clientId": client_id}
                )
        await self.documents("workers").update_many(
            {"clientId": "a"}, {"workerId": "w"}
        )
        for worker_id in ("w", "x"):
            lease = {"_id": f"{worker_id}:1", "workerId": worker_id}
            await self.documents("worker_leases").put_each([lease])

    def eraser(self) -> Eraser:
        times = EraserTimes(settle=10, every=0.01)
        return Eraser(
            self.documents, self.clients, Signals(), times, self.time
        )

    async def left(self, client_id: str) -> set[str]:
        return {
            name
            for name in OWNED
            if await self.documents(name).find_all(
                {"clientId": client_id}, ["_id"]
            )
        }

    async def tombstone(self) -> Document:
        found = await self.documents("erasures").find_one({"_id": "a"})
        assert found is not None
        return found


@pytest.fixture
async def world() -> World:
    world = World()
    await world.fill()
    return world


class Running:
    def __init__(self, part: Eraser) -> None:
        self.part = part

    async def __aenter__(self) -> None:
        self.task = asyncio.create_task(self.part.run())

    async def __aexit__(self, *_: object) -> None:
        self.part.stop()
        await self.task


async def until(check: Any) -> None:
    async with asyncio.timeout(5):
        # The store has no event to wait for.
        while not await check():  # noqa: ASYNC110 - as said
            await asyncio.sleep(0.01)


async def test_workers_go_last_when_all_has_settled(world: World) -> None:
    await world.service.begin("a")

    async def all_but_workers() -> bool:
        return await world.left("a") == {"workers"}

    async def done() -> bool:
        return bool((await world.tombstone())["status"] == "DONE")

    async with Running(world.eraser()):
        await until(all_but_workers)
        # A call that was under way stores its answer.
        late = {"_id": ObjectId(), "clientId": "a"}
        await world.documents("prompts").insert(late)
        await until(all_but_workers)
        assert not await done()
        world.time.now += 10_000
        await until(done)
    assert await world.left("a") == set()
    assert await world.left("b") == set(OWNED)
    leases = await world.documents("worker_leases").find_all({}, ["workerId"])
    assert [lease["workerId"] for lease in leases] == ["x"]
    removed = (await world.tombstone())["removed"]
    assert removed == dict.fromkeys(OWNED, 1) | {
        "worker_leases": 1,
        "prompts": 2,
    }


async def test_another_process_goes_on_where_one_died(world: World) -> None:
    await world.service.begin("a")
    erasures = world.documents("erasures")
    taken = {"takenUntil": world.time.now + 60_000}
    await erasures.update({"_id": "a"}, taken)
    async with Running(world.eraser()):
        await asyncio.sleep(0.05)
        assert "jobs" in await world.left("a")
        world.time.now += 60_000

        async def done() -> bool:
            return bool((await world.tombstone())["status"] == "DONE")

        await until(done)
    assert await world.left("a") == set()


async def test_asking_again_does_no_harm(world: World) -> None:
    first = await world.service.begin("a")
    again = await world.service.begin("a")
    assert first.requested_at == again.requested_at
    assert await ErasedClients(world.documents("erasures")).among(
        {"a", "b"}
    ) == {"a"}
    with pytest.raises(NotFoundError):
        await world.service.begin("c")
    with pytest.raises(NotFoundError):
        await world.service.get("b")


async def test_what_a_restored_backup_brings_back_is_removed_again(
    world: World,
) -> None:
    await world.service.begin("a")

    async def done() -> bool:
        return bool((await world.tombstone())["status"] == "DONE")

    world.time.now += 10_000
    async with Running(world.eraser()):
        await until(done)
        await world.fill()
        assert (await world.service.begin("a")).status == "RUNNING"
        world.time.now += 10_000
        await until(done)
    assert await world.left("a") == set()
