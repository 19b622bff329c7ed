"""Which batches are worked on, and that no broken one stops the others."""

import asyncio
from pathlib import Path

from api.models.batch_models import Batch, BatchStatus
from api.models.client_models import ClientCreate
from api.services.keeping.turns import Turns
from llm_workers.built_in.batch_keeper import BatchKeeper
from tests.integration.test_batch_store import World, requests
from tests.support.store import IN_MEMORY, open_store
from tests.support.waiting import eventually_so


class Steps:
    """Steps that note whose they are, and wait until they may end."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.may_end = asyncio.Event()
        self.broken: str | None = None

    async def advance(self, batch: Batch) -> float:
        self.begun.append(batch.client_id)
        if batch.client_id == self.broken:
            raise TypeError("a defect")
        await self.may_end.wait()
        return 60.0


def keeper_of(world: World, steps: Steps) -> BatchKeeper:
    shared = world.store.application.shared
    return BatchKeeper(
        world.batch_store,
        world.files,
        steps,  # type: ignore[arg-type] # as much of them as it uses
        Turns(shared.documents("turns"), world.store.time),
        shared.signals,
        "process",
    )


async def another_client(world: World) -> str:
    services = world.store.application.services
    made = await services.clients.create(ClientCreate(name="other"))
    return made.client_id


async def test_a_client_with_many_batches_leaves_room_for_others(
    tmp_path: Path,
) -> None:
    async with open_store(IN_MEMORY, tmp_path) as store:
        world, steps = World(store), Steps()
        first = world.client_id
        for _ in range(9):
            await world.begin(requests(world, 1))
        world.client_id = await another_client(world)
        await world.begin(requests(world, 1))
        keeper = keeper_of(world, steps)
        running = asyncio.create_task(keeper.run())
        await eventually_so(lambda: world.client_id in steps.begun)
        assert steps.begun.count(first) == 2
        # In the end, all have had their turn.
        steps.may_end.set()
        await eventually_so(lambda: steps.begun.count(first) == 9)
        keeper.stop()
        await running


async def test_a_batch_that_fails_in_an_unknown_way_stops_no_other(
    tmp_path: Path,
) -> None:
    async with open_store(IN_MEMORY, tmp_path) as store:
        world, steps = World(store), Steps()
        steps.may_end.set()
        steps.broken = world.client_id
        await world.begin(requests(world, 1))
        world.client_id = await another_client(world)
        await world.begin(requests(world, 1))
        # One whose document cannot be read is passed over.
        broken = await world.begin(requests(world, 1))
        await world.batch_store.change(broken, total="many")
        keeper = keeper_of(world, steps)
        running = asyncio.create_task(keeper.run())
        await eventually_so(
            lambda: {*steps.begun} == {steps.broken, world.client_id}
        )
        await eventually_so(lambda: keeper.problem is not None)
        assert keeper.problem == "unexpected TypeError"
        found = await world.batch_store.open()
        assert [each.status for each in found] == [BatchStatus.VALIDATING] * 2
        keeper.stop()
        await running
