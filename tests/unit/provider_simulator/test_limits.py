import asyncio
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider_simulator.chance import Chance
from provider_simulator.limits import RateLimit, Slots
from provider_simulator.outages import Outages
from provider_simulator.settings import (
    FailureKind,
    SimulatorError,
    SimulatorSettings,
)
from provider_simulator.values import RefusedError


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@given(
    st.integers(1, 5),
    st.lists(st.sampled_from([0.0, 0.1, 0.4, 1.0]), max_size=60),
)
def test_no_second_has_more_calls_than_allowed(
    limit: int, pauses: list[float]
) -> None:
    clock = Clock()
    rate = RateLimit(clock)
    rate.configure(SimulatorSettings(requests_per_second=limit))
    admitted: list[float] = []
    for pause in pauses:
        clock.now += pause
        try:
            rate.admit()
        except RefusedError:
            continue
        admitted.append(clock.now)
    for first, last in zip(admitted, admitted[limit:], strict=False):
        assert last - first >= 1.0 - 1e-9


def test_who_comes_again_when_told_is_let_in() -> None:
    clock = Clock()
    rate = RateLimit(clock)
    rate.configure(
        SimulatorSettings(requests_per_second=2, requests_per_minute=3)
    )
    assert rate.admit() is not None
    assert rate.admit() is not None
    with pytest.raises(RefusedError) as refused:
        rate.admit()
    assert refused.value.status == 429
    assert refused.value.retry_after == pytest.approx(1.0)
    clock.now += refused.value.retry_after or 0.0
    assert rate.admit() is not None
    with pytest.raises(RefusedError) as refused:
        rate.admit()
    assert refused.value.retry_after == pytest.approx(59.0)


def test_limits_that_stay_go_on_counting() -> None:
    rate = RateLimit(Clock())
    rate.configure(SimulatorSettings(requests_per_minute=1))
    rate.admit()
    rate.configure(SimulatorSettings(requests_per_minute=1, seed=1))
    with pytest.raises(RefusedError):
        rate.admit()
    rate.configure(SimulatorSettings())
    assert rate.admit() is None


class Holder:
    """One that holds a place until it is let go."""

    def __init__(self, slots: Slots) -> None:
        self.inside = False
        self.go = asyncio.Event()
        self.task = asyncio.create_task(self._hold(slots))

    async def _hold(self, slots: Slots) -> None:
        async with slots.place():
            self.inside = True
            await self.go.wait()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_places_go_to_the_first_who_came() -> None:
    slots = Slots()
    slots.configure(2)
    holders = [Holder(slots) for _ in range(4)]
    await settle()
    assert [h.inside for h in holders] == [True, True, False, False]
    assert (slots.taken, slots.waiting) == (2, 2)
    holders[1].go.set()
    await settle()
    assert [h.inside for h in holders] == [True, True, True, False]
    slots.configure(None)
    await settle()
    assert holders[3].inside
    for holder in holders:
        holder.go.set()
    await settle()
    assert (slots.taken, slots.most_taken) == (0, 3)
    slots.forget()
    assert slots.most_taken == 0


async def test_who_goes_while_waiting_takes_no_place() -> None:
    slots = Slots()
    slots.configure(1)
    first, second, third = [Holder(slots) for _ in range(3)]
    await settle()
    second.task.cancel()
    await settle()
    first.go.set()
    await settle()
    assert third.inside
    assert slots.taken == 1


async def test_who_goes_as_the_place_comes_gives_it_on() -> None:
    slots = Slots()
    slots.configure(1)
    first, second, third = [Holder(slots) for _ in range(3)]
    await settle()
    # Both in one turn of the loop: the place is second's, who has gone.
    slots.configure(2)
    second.task.cancel()
    slots.configure(1)
    first.go.set()
    await settle()
    assert third.inside
    assert not second.inside
    assert slots.taken == 1


def test_count_and_duration_both_act() -> None:
    clock = Clock()
    outages = Outages(clock)
    outages.fail_next(2)
    outages.fail_for(10)
    assert outages.strikes()
    status = outages.status()
    assert (status.count_remaining, status.failing) == (1, True)
    assert status.duration_remaining_seconds == 10
    clock.now += 10
    assert outages.strikes()
    assert not outages.strikes()
    outages.fail_for(5)
    assert outages.strikes()
    outages.reset()
    assert not outages.strikes()
    assert not outages.status().failing


@pytest.mark.parametrize(
    ("distribution", "spread"),
    [
        ("fixed", 0.0),
        ("normal", 0.02),
        ("lognormal", 0.05),
        ("uniform", 0.1 / 3**0.5),
        ("exponential", 0.1),
    ],
)
def test_latencies_have_the_mean_and_spread_asked_for(
    distribution: str, spread: float
) -> None:
    given_spread = 100 if distribution == "uniform" else spread * 1000
    settings = SimulatorSettings.read(
        {
            "latency_ms": 100,
            "latency_distribution": distribution,
            "latency_spread_ms": given_spread,
            "seed": 7,
        }
    )
    chance = Chance(settings)
    drawn = [chance.latency() for _ in range(4000)]
    assert min(drawn) >= 0
    assert statistics.mean(drawn) == pytest.approx(0.1, rel=0.1)
    assert statistics.stdev(drawn) == pytest.approx(spread, rel=0.15)
    again = Chance(settings)
    assert drawn == [again.latency() for _ in range(4000)]


def test_no_latency_is_none_in_every_distribution() -> None:
    for distribution in ("fixed", "normal", "lognormal", "exponential"):
        values = {"latency_distribution": distribution}
        assert Chance(SimulatorSettings.read(values)).latency() == 0


def test_failures_come_as_often_as_asked_for() -> None:
    failures = {FailureKind.RESET: 0.2, FailureKind.HANG: 0.3}
    chance = Chance(SimulatorSettings(failures=failures, seed=3))
    drawn = [chance.failure() for _ in range(4000)]
    for kind, probability in failures.items():
        assert drawn.count(kind) / 4000 == pytest.approx(probability, abs=0.03)


def test_failures_do_not_depend_on_latencies() -> None:
    settings = SimulatorSettings(failures={FailureKind.RESET: 0.5})
    plain, mixed = Chance(settings), Chance(settings)
    drawn = [plain.failure() for _ in range(50)]
    mixed.latency()
    assert drawn == [mixed.failure() for _ in range(50)]
    mixed.configure(settings.changed({"seed": 1}))
    assert drawn != [mixed.failure() for _ in range(50)]


@pytest.mark.parametrize(
    "changes",
    [
        {"no_such": 1},
        {"latency_ms": -1},
        {"latency_ms": float("nan")},
        {"failures": {"reset": 1.1}},
        {"failures": {"no such kind": 0.1}},
        {"concurrency_limit": 0},
    ],
)
def test_settings_are_checked(changes: dict[str, object]) -> None:
    with pytest.raises(SimulatorError, match=next(iter(changes))):
        SimulatorSettings().changed(changes)
