"""Limits that several processes share, in simulated time."""

import asyncio
import contextlib
import itertools
from collections import Counter
from typing import Any, cast

import pytest

from api.models.job_fields import ServiceClass
from api.models.limit_models import CallLimits
from api.services.calls.model_call import Account, CallProgress, ModelCall
from api.services.limits.limit_keeper import LimitKeeper
from api.services.limits.limit_stage import LimitStage
from api.services.limits.limit_store import LimitStore
from api.services.limits.limiter import Limiter
from api.services.shared.client_states import ClientStates
from llm_sdks import errors
from llm_sdks.usage import Usage
from tests.support.limit_world import BULK, Provider, World, limited
from tests.support.virtual_time import (
    VirtualLoop,
    run_virtually,
    virtual_clock,
)
from utilities.cosmos_connector import Documents
from utilities.store.in_memory import InMemoryClientManager


@pytest.mark.parametrize("count", [1, 4])
def test_all_processes_together_keep_to_a_rate(count: int) -> None:
    async def run() -> World:
        world = World(limited(requests_per_minute=600))
        async with contextlib.AsyncExitStack() as stack:
            for number in range(count):
                await stack.enter_async_context(world.process(f"p{number}"))
            await asyncio.sleep(125)
        return world

    world = run_virtually(run())
    provider = world.provider
    assert 588 <= provider.between(60, 120) <= 600
    assert provider.within(60) <= 600
    # Evenly: no half second has more than its part.
    assert provider.within(0.5) <= 9
    assert world.refused == 0
    shares = provider.by_process.values()
    assert min(shares) > 0.8 * max(shares)


def test_processes_that_join_and_die_change_nothing() -> None:
    async def run() -> World:
        world = World(limited(requests_per_minute=600))
        async with world.process("a"), world.process("b"):
            await asyncio.sleep(30)
            async with world.process("c"):
                await asyncio.sleep(30)
            await asyncio.sleep(40)
        return world

    provider = run_virtually(run()).provider
    assert provider.within(60) <= 600
    # In no three seconds is there a dip of more than 5 % for two.
    for start in range(2, 95):
        assert provider.between(start, start + 3) >= 30 - 5 - 1
    assert provider.between(30, 90) >= 588


async def _waves(
    per_minute: int, waves: int, calls: int, monkeypatch: pytest.MonkeyPatch
) -> tuple[World, int]:
    """Make waves of calls; return how often slots were leased for them."""
    leases = 0
    take_block = LimitStore.take_block

    async def counted(*args: Any) -> Any:
        nonlocal leases
        leases += 1
        return await take_block(*args)

    monkeypatch.setattr(LimitStore, "take_block", counted)
    world = World(limited(requests_per_minute=per_minute))
    async with world.process("a", latency=0) as process:
        for _ in range(waves):
            async with asyncio.TaskGroup() as tasks:
                for number in range(calls):
                    tasks.create_task(process.call())
                    if number % 10 == 9:
                        await asyncio.sleep(0.001)
            await asyncio.sleep(0.25)
    return world, leases


def test_a_busy_process_far_below_its_limit_seldom_leases_slots(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = _waves(1_000_000, 40, 200, monkeypatch)
    world, leases = run_virtually(run)
    assert len(world.provider.began) >= 8000
    # A few a wave, at most; not one for each few calls.
    assert leases <= 40 * 4


@pytest.mark.long
def test_slots_leased_ahead_never_pass_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = _waves(12_000, 60, 80, monkeypatch)
    world, _ = run_virtually(run)
    assert world.provider.within(60) <= 12_000
    # A second, and what a pause may bring at once.
    assert world.provider.within(1) <= 12_000 / 60 * 1.6


def test_tokens_are_counted_as_the_provider_counts_them() -> None:
    async def run() -> World:
        world = World(limited(tokens_per_minute=60_000))
        async with world.process("a") as process:
            process.usage = Usage(300, 700)
            await asyncio.sleep(180)
        return world

    provider = run_virtually(run()).provider
    # 1,000 tokens a call: 60 calls a minute, though 200 were expected.
    assert 57 <= provider.between(100, 160) <= 61


def test_calls_at_once_are_shared_and_passed_on() -> None:
    async def run() -> World:
        world = World(limited(max_concurrency=10))
        async with world.process("a"):
            await asyncio.sleep(5)
            alone = world.provider.by_process["a"]
            assert world.provider.most == 10
            assert alone >= 80
            async with world.process("b"):
                await asyncio.sleep(20)
                before = Counter(world.provider.by_process)
                await asyncio.sleep(20)
                both = world.provider.by_process - before
                assert min(both.values()) > 0.7 * max(both.values())
                assert sum(both.values()) >= 0.9 * 400
            await asyncio.sleep(5)
            before = Counter(world.provider.by_process)
            await asyncio.sleep(10)
            after = world.provider.by_process - before
            assert after["a"] >= 180
        return world

    assert run_virtually(run()).provider.most <= 10


def test_a_refusal_holds_back_every_process() -> None:
    async def run() -> tuple[Provider, float]:
        world = World(limited(requests_per_minute=600))
        async with world.process("a") as one, world.process("b"):
            await asyncio.sleep(10)
            error = errors.RateLimitedError("slowly", retry_after=5)
            await one.call(error=error)
            refused = asyncio.get_running_loop().time()
            await asyncio.sleep(20)
        return world.provider, refused

    provider, refused = run_virtually(run())
    # A second goes by until leased slots are used up.
    assert provider.between(refused + 1, refused + 4.9) <= 2
    assert provider.between(refused + 6, refused + 16) >= 90


@pytest.mark.long
@pytest.mark.parametrize("count", [1, 3])
def test_what_answers_say_of_limits_slows_all_processes_down(
    count: int,
) -> None:
    """The provider's limit is half of what was configured."""

    async def run() -> Provider:
        world = World(limited(requests_per_minute=1200))
        world.provider.limit = 600
        async with contextlib.AsyncExitStack() as stack:
            for number in range(count):
                await stack.enter_async_context(world.process(f"p{number}"))
            await asyncio.sleep(300)
        return world.provider

    provider = run_virtually(run())
    assert provider.between(120, 300) >= 0.9 * 3 * 600
    assert provider.refused <= 0.02 * provider.between(0, 300)


def test_interactive_calls_go_first_and_clients_take_turns() -> None:
    order: list[str] = []

    async def run() -> None:
        world = World(limited(requests_per_minute=60))
        async with world.process("a", latency=0) as process:
            for task in list(process.calls):
                task.cancel()

            async def call(client: str, of: ServiceClass) -> None:
                await process.call(Account(client, service_class=of))
                order.append(client)

            async with asyncio.TaskGroup() as tasks:
                for _ in range(6):
                    tasks.create_task(call("many", ServiceClass.BULK))
                tasks.create_task(call("few", ServiceClass.BULK))
                tasks.create_task(call("person", ServiceClass.INTERACTIVE))

    run_virtually(run())
    assert order.index("person") <= 1
    assert order.index("few") <= 3


def test_a_thread_that_could_not_run_catches_nothing_up() -> None:
    async def run() -> World:
        world = World(limited(requests_per_minute=600))
        async with world.process("a"):
            await asyncio.sleep(10)
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualLoop)
            loop.block(5)
            await asyncio.sleep(20)
        return world

    assert run_virtually(run()).provider.within(1) <= 10 + 3 + 3


def test_nothing_is_read_or_written_without_limits() -> None:
    async def run() -> None:
        limiter = Limiter(cast("LimitStore", None), "process", virtual_clock)
        stage = LimitStage(limiter, virtual_clock)
        call = ModelCall(limited(), "", "", 0, account=BULK)
        (await stage.admit(call)).ended(CallProgress(), None)
        assert limiter.shares() == []
        assert await limiter.renew() is None

    run_virtually(run())


def test_models_with_room_for_a_whole_claim_have_no_claim_of_their_own() -> (
    None
):
    async def run() -> None:
        world = World(limited(requests_per_minute=600))
        async with world.process("a") as process:
            await asyncio.sleep(1)
            (share,) = process.limiter.shares("other")
            assert share.room > 1
            assert process.limiter.shares("other", share.room) == []
            assert len(process.limiter.shares("other", share.room + 1)) == 1

    run_virtually(run())


def test_what_a_provider_says_slows_down_its_model_alone() -> None:
    """A client's own limits are no limits of an account."""
    limiter = Limiter(cast("LimitStore", None), "process", virtual_clock)
    limits = CallLimits(requests_per_minute=600)
    limiter.set_clients({"client": limits})
    scopes = limiter.of_call(limited(), "client")
    assert scopes is not None
    assert len(scopes.requests) == 1
    assert scopes.of_model is None
    both = limiter.of_call(limited(requests_per_minute=60), "client")
    assert both is not None
    assert both.requests[:1] == scopes.requests
    assert both.of_model is not None
    assert both.of_model.requests is both.requests[1]


def test_weights_and_limits_are_read_every_two_seconds() -> None:
    """Whatever clock says so: the database's differs from the timer's."""
    reads: list[float] = []

    class States(ClientStates):
        async def settings(self) -> dict[str, dict[str, Any]]:
            reads.append(asyncio.get_running_loop().time())
            return {}

    def slow_clock() -> int:
        return int(virtual_clock() * 0.999)

    async def run() -> None:
        clients = InMemoryClientManager()
        store = LimitStore(Documents(clients, "call_limits", slow_clock))
        limiter = Limiter(store, "p", slow_clock)
        states = States(Documents(clients, "clients", slow_clock))
        keeper = asyncio.create_task(
            LimitKeeper(limiter, states, slow_clock).run()
        )
        await asyncio.sleep(20)
        keeper.cancel()

    run_virtually(run())
    gaps = [b - a for a, b in itertools.pairwise(reads)]
    assert len(gaps) >= 5
    assert max(gaps) < 2.1
