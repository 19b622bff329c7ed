"""No interleaving of processes, crashes and late results passes a budget."""

import asyncio
import random
import subprocess
import sys
import uuid
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.models.charge import Spend
from api.services.limits.budget_accounts import (
    BUDGETS,
    LEASE_SECONDS,
    BudgetAccounts,
)
from api.services.limits.ledger import COUNTERS, JOURNAL, Ledger
from tests.support.paths import ROOT
from tests.support.store import Store, Time
from utilities.cosmos_connector import ClientManager, Documents
from utilities.store.in_memory import InMemoryClientManager

LIMIT = 1000
BUDGET = "client:c:total:USD"


class Process:
    """One process: its accounts, its running calls, its late results."""

    def __init__(self, clients: ClientManager, name: str, time: Time) -> None:
        self.name = name
        documents = Documents(clients, BUDGETS)
        self.accounts = BudgetAccounts(documents, name, time)
        self.running: list[int] = []
        self.unsettled: list[int] = []


class World:
    """Four processes over one database; any of them may die."""

    def __init__(self, clients: ClientManager, budget: str = BUDGET) -> None:
        self.clients = clients
        self.budget = budget
        self.time = Time()
        self.documents = Documents(clients, BUDGETS)
        self.ledger = Ledger(
            Documents(clients, COUNTERS),
            Documents(clients, JOURNAL),
            "any",
            self.time,
            budgets=self.documents,
        )
        self.count = 0
        self.processes = [self.new() for _ in range(4)]
        self.dead: list[Process] = []
        self.spent = 0

    def new(self) -> Process:
        self.count += 1
        return Process(self.clients, f"host.x-{self.count}", self.time)

    async def begin(self, process: Process, units: int) -> bool:
        granted = await process.accounts.reserve(self.budget, units, LIMIT)
        if granted:
            process.running.append(units)
        return granted

    async def end(self, process: Process, share: int) -> None:
        if process.running:
            reserved = process.running.pop(0)
            spent = reserved * share // 100
            process.accounts.end(self.budget, reserved, spent)
            process.unsettled.append(spent)
            self.spent += spent

    async def settle(self, process: Process) -> None:
        if process.unsettled:
            spent = process.unsettled.pop(0)
            block = await self.ledger.open("jobs", [])
            spends = [Spend(self.budget, process.name, spent)]
            await self.ledger.settle(block, spends)
            # A repeat changes nothing.
            await self.ledger.add(block, spends) if spent % 2 else None

    async def crash(self, process: Process) -> None:
        self.processes[self.processes.index(process)] = self.new()
        self.dead.append(process)

    async def recover(self) -> None:
        if self.dead:
            process = self.dead.pop(0)
            while process.unsettled:
                await self.settle(process)
            await process.accounts.release_of_process(process.name)

    async def check(self) -> None:
        found = await self.documents.find_all({"_id": self.budget})
        if not found:
            return
        document = found[0]
        leases = sum(
            value
            for name, value in document.items()
            if name.startswith("lease_")
        )
        assert document["committed"] == document["settled"] + leases
        assert document["committed"] <= LIMIT
        running = sum(sum(each.running) for each in self.processes)
        assert self.spent + running <= LIMIT


STEP = st.tuples(
    st.sampled_from(
        [
            *("begin", "begin", "begin", "end", "end"),
            *("settle", "crash", "recover", "give_back"),
        ]
    ),
    st.integers(0, 3),
    st.integers(0, 100),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEP, max_size=80))
def test_spent_and_reserved_never_pass_the_limit(
    steps: list[tuple[str, int, int]],
) -> None:
    asyncio.run(_play(steps))


async def _play(steps: list[tuple[str, int, int]]) -> None:
    world = World(InMemoryClientManager())
    for what, who, number in steps:
        process = world.processes[who]
        actions: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
            "begin": lambda: world.begin(process, number * 3),  # noqa: B023 - run at once
            "end": lambda: world.end(process, number),  # noqa: B023 - as above
            "settle": lambda: world.settle(process),  # noqa: B023 - as above
            "crash": lambda: world.crash(process),  # noqa: B023 - as above
            "recover": world.recover,
            "give_back": process.accounts.give_back,
        }
        await actions[what]()
        await world.check()
    while world.dead:
        await world.recover()
    for process in world.processes:
        while process.running:
            await world.end(process, 50)
        while process.unsettled:
            await world.settle(process)
        await process.accounts.give_back()
    await world.check()
    # In the end nothing is held, and every unit is accounted for.
    assert await world.processes[0].accounts.state(BUDGET) == (
        world.spent,
        0,
    )


async def test_two_hundred_calls_at_once_from_four_processes(
    store: Store,
) -> None:
    budget = f"client:{store.client.client_id}:total:USD"
    world = World(store.application.clients, budget)

    async def call(number: int) -> bool:
        process = world.processes[number % 4]
        if not await process.accounts.reserve(budget, 9, LIMIT):
            return False
        await asyncio.sleep(random.random() / 100)
        process.accounts.end(budget, 9, 9)
        process.unsettled.append(9)
        world.spent += 9
        return True

    granted = await asyncio.gather(*map(call, range(200)))
    await world.check()
    for process in world.processes:
        while process.unsettled:
            await world.settle(process)
        await process.accounts.give_back()
    # What one process held and did not need, others may have.
    later = [await call(number) for number in range(200)]
    assert (sum(granted) + sum(later)) * 9 == LIMIT - LIMIT % 9
    assert world.spent <= LIMIT


async def test_exactly_the_amount_may_be_spent(store: Store) -> None:
    budget = f"exact:{store.client.client_id}"
    world = World(store.application.clients, budget)
    process = world.processes[0]
    assert await world.begin(process, LIMIT)
    assert not await world.begin(process, 1)
    assert await world.begin(process, 0)
    await world.end(process, 100)
    await world.settle(process)
    assert await process.accounts.state(budget) == (LIMIT, 0)


async def test_a_lease_that_is_not_extended_ends(store: Store) -> None:
    budget = f"lease:{store.client.client_id}"
    world = World(store.application.clients, budget)
    first, second = world.processes[:2]
    assert await world.begin(first, LIMIT)
    world.time.now += round(LEASE_SECONDS * 1000) - 1
    await second.accounts.release_ended()
    assert not await world.begin(second, 1)
    # A process that lives extends it, as long as it has calls.
    await first.accounts.give_back()
    world.time.now += 2
    await second.accounts.release_ended()
    assert not await world.begin(second, 1)
    world.time.now += round(LEASE_SECONDS * 1000)
    await second.accounts.release_ended()
    assert await world.begin(second, LIMIT)


async def test_a_result_that_comes_after_the_lease_is_spent(
    store: Store,
) -> None:
    budget = f"late:{store.client.client_id}"
    world = World(store.application.clients, budget)
    first, second = world.processes[:2]
    assert await world.begin(first, 600)
    await world.end(first, 100)
    await second.accounts.release_of_process(first.name)
    await world.settle(first)
    await second.accounts.release_of_process(first.name)
    assert await second.accounts.state(budget) == (600, 0)
    assert not await world.begin(second, 401)


CALLS, COST = 50, 90_000_000
ONE = 10_000_000_000  # units of 1.00
# One process: all of its calls at once, each as dear as its bound.
_CHILD = """
import asyncio, sys
from api.services.limits.budget_accounts import BUDGETS, BudgetAccounts
from utilities.cosmos_connector import ClientManager, Documents

async def main(address, database, name, budget, calls, cost, limit):
    clients = ClientManager(address, database)
    accounts = BudgetAccounts(Documents(clients, BUDGETS), name)
    sys.stdout.write("ready\\n"); sys.stdout.flush()
    sys.stdin.readline()

    async def call():
        if not await accounts.reserve(budget, cost, limit):
            return 0
        accounts.end(budget, cost, cost)
        return 1

    print(sum(await asyncio.gather(*(call() for _ in range(calls)))))
    await clients.close()

address, database, name, budget, *numbers = sys.argv[1:]
asyncio.run(main(address, database, name, budget, *map(int, numbers)))
"""


@pytest.mark.slow
def test_four_real_processes_never_pass_one_dollar(
    database: str,
) -> None:
    name = f"test-{uuid.uuid4().hex[:12]}"
    numbers = [str(CALLS), str(COST), str(ONE)]
    children = [
        subprocess.Popen(
            [
                *(sys.executable, "-c", _CHILD, database, name),
                *(f"process-{n}", "client:c:total:USD", *numbers),
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(4)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    made = sum(int(child.communicate(timeout=60)[0]) for child in children)
    # All together want 1.80; what leases leave over is for later calls.
    assert ONE // 2 <= made * COST <= ONE
