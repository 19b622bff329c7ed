"""Shares by client hold over processes; interactive calls go first."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.models.job_fields import ServiceClass
from api.services.calls.model_call import Account
from api.services.limits.client_parts import Ask, divide, whole
from api.services.limits.rate_shares import RateShares
from api.services.limits.slot import HeldSlots
from tests.support.limit_world import World, limited
from tests.support.virtual_time import run_virtually

LIMITS: Sequence[Mapping[str, int]] = (
    {"requests_per_minute": 1200},
    {"tokens_per_minute": 240_000},
    {"max_concurrency": 20},
)
KINDS = [next(iter(each)) for each in LIMITS]


def jain(counts: Sequence[float]) -> float:
    return sum(counts) ** 2 / (len(counts) * sum(n * n for n in counts))


def served(
    limits: Mapping[str, int],
    processes: Mapping[str, Sequence[str]],
    weights: Mapping[str, float] | None = None,
) -> Counter[str]:
    """Count the calls of clients in a minute, in processes with these."""

    async def run() -> Counter[str]:
        world = World(limited(**limits))
        await world.store_weights(weights or {})
        async with contextlib.AsyncExitStack() as stack:
            for name, clients in processes.items():
                await stack.enter_async_context(
                    world.process(name, clients=clients)
                )
            await asyncio.sleep(20)
            before = Counter(world.provider.by_client)
            await asyncio.sleep(60)
            return world.provider.by_client - before

    return run_virtually(run())


@pytest.mark.parametrize("others", [7, 9, 10])
@pytest.mark.parametrize("limits", LIMITS, ids=KINDS)
def test_a_client_alone_in_its_process_gets_no_more_than_others(
    limits: Mapping[str, int], others: int
) -> None:
    names = [f"c{n}" for n in range(others)]
    counts = served(limits, {"one": ["alone"], "other": names})
    assert len(counts) == others + 1
    assert jain(list(counts.values())) >= 0.99


@pytest.mark.parametrize("limits", LIMITS, ids=KINDS)
def test_a_client_in_every_process_gets_no_more_than_others(
    limits: Mapping[str, int],
) -> None:
    processes = {f"p{n}": ["everywhere", f"c{n}"] for n in range(3)}
    counts = served(limits, processes)
    assert jain([counts[each] for each in sorted(counts)]) >= 0.98


def test_without_parts_a_client_alone_in_its_process_gets_far_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the parts are for."""
    monkeypatch.setattr(RateShares, "most", lambda _, units: units)
    monkeypatch.setattr(RateShares, "not_before", 0.0)
    nine = [f"c{n}" for n in range(9)]
    counts = served(LIMITS[0], {"one": ["alone"], "other": nine})
    assert jain(list(counts.values())) < 0.7


def test_nothing_is_lost_while_processes_share_a_rate() -> None:
    processes = {f"p{n}": ["everywhere", f"c{n}"] for n in range(3)}
    counts = served({"requests_per_minute": 1200}, processes)
    assert 1176 <= counts.total() <= 1200


asks = st.dictionaries(
    st.sampled_from("pqr"),
    st.lists(
        st.builds(
            Ask,
            st.sampled_from("abcde"),
            st.integers(1, 30).map(float),
            st.sampled_from([0.5, 1.0, 3.0]),
        ),
        max_size=5,
        unique_by=lambda ask: ask.client_id,
    ),
    min_size=1,
)


@given(st.integers(0, 60), asks)
def test_parts_are_all_that_there_is_and_nobody_has_more_than_it_wants(
    limit: int, found: dict[str, list[Ask]]
) -> None:
    parts = divide(limit, found)
    wanted = sum(ask.wants for each in found.values() for ask in each)
    total = sum(each.total for each in parts.values())
    assert total == pytest.approx(min(limit, wanted))
    for process, each in parts.items():
        assert each.total <= sum(a.wants for a in found[process]) + 1e-6
    places = whole(limit, parts)
    assert sum(places.values()) == min(limit, round(wanted))
    assert all(abs(places[p] - parts[p].total) < 1 + 1e-6 for p in parts)


@pytest.mark.parametrize(
    "processes",
    [{"p": ["a", "c"], "q": ["b"]}, {"p": ["a", "b", "c"]}],
    ids=["two", "one"],
)
@pytest.mark.parametrize("limits", LIMITS, ids=KINDS)
def test_weights_hold_over_processes(
    limits: Mapping[str, int], processes: Mapping[str, Sequence[str]]
) -> None:
    counts = served(limits, processes, {"a": 3.0, "b": 1.0, "c": 1.0})
    assert counts["a"] / counts["b"] == pytest.approx(3, rel=0.02)
    assert counts["a"] / counts["c"] == pytest.approx(3, rel=0.02)


def waits_beside_bulk(limits: Mapping[str, int]) -> list[float]:
    """Return what interactive calls wait for beside a flood of others."""

    async def run() -> list[float]:
        world = World(limited(**limits))
        account = Account("person", service_class=ServiceClass.INTERACTIVE)
        waits = []
        async with world.process("a", latency=0) as process:
            await asyncio.sleep(10)
            loop = asyncio.get_running_loop()
            for _ in range(30):
                began = loop.time()
                await process.call(account)
                waits.append(loop.time() - began)
                await asyncio.sleep(0.97)
            assert world.provider.within(60) <= 1200
        return waits

    return run_virtually(run())


@pytest.mark.parametrize("limits", LIMITS[:2], ids=KINDS[:2])
def test_an_interactive_call_takes_the_slot_of_a_bulk_call(
    limits: Mapping[str, int],
) -> None:
    """It waits for no time at all."""
    assert max(waits_beside_bulk(limits)) <= 0.01


def test_without_the_slots_of_bulk_calls_interactive_ones_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(HeldSlots, "take", lambda *_: None)
    assert max(waits_beside_bulk(LIMITS[0])) > 0.05


def test_an_interactive_call_finds_a_place_in_another_process() -> None:
    async def run() -> list[float]:
        world = World(limited(max_concurrency=10))
        account = Account("person", service_class=ServiceClass.INTERACTIVE)
        waits = []
        async with (
            world.process("workers", latency=2),
            world.process("streams", clients=()) as streams,
        ):
            await asyncio.sleep(10)
            streams.latency = 0
            loop = asyncio.get_running_loop()
            for _ in range(50):
                began = loop.time()
                await streams.call(account)
                waits.append(loop.time() - began)
                await asyncio.sleep(0.37)
            # The others use what is left.
            assert world.provider.running == 9
        return waits

    waits = run_virtually(run())
    # The first one waits for a bulk call to end; then a place is kept.
    assert max(waits[5:]) <= 0.01


def test_a_flood_of_interactive_calls_leaves_bulk_calls_a_share() -> None:
    async def run() -> Counter[str]:
        world = World(limited(requests_per_minute=1200))
        account = Account("person", service_class=ServiceClass.INTERACTIVE)
        async with world.process("a", latency=0) as process:
            await asyncio.sleep(5)

            async def flood() -> None:
                while True:
                    await process.call(account)

            process.calls |= {asyncio.create_task(flood()) for _ in range(100)}
            await asyncio.sleep(10)
            before = Counter(world.provider.by_client)
            await asyncio.sleep(60)
            return world.provider.by_client - before

    counts = run_virtually(run())
    assert counts["client"] >= 0.04 * 1200
    assert counts["person"] >= 0.9 * 1200
