import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from llm_sdks import errors
from llm_sdks.resilience import gate_log
from llm_sdks.resilience.backoff import LONGEST_PAUSE_SECONDS
from llm_sdks.resilience.circuit_breaker import BreakerState
from llm_sdks.resilience.fair_queue import Turn
from llm_sdks.resilience.model_gate import ModelGate, ModelGates
from llm_sdks.resilience.policies import (
    BulkheadPolicy,
    Resilience,
    RetryPolicy,
)
from tests.support.samples import logged


class Timer:
    """Seconds, which pass when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def at_most(places: int, wait: float = 30.0) -> Resilience:
    return Resilience(bulkhead=BulkheadPolicy(places, wait))


@pytest.fixture
def timer() -> Timer:
    return Timer()


@pytest.fixture
def gate(timer: Timer) -> ModelGate:
    return ModelGate(Resilience(), timer, chance=lambda: 0.0)


async def fail(gate: ModelGate, error: errors.LLMError) -> None:
    with pytest.raises(type(error)):
        async with gate.passing():
            raise error


async def refuse(gate: ModelGate, retry_after: float | None) -> None:
    """Meet the limit so often that it is no chance."""
    for _ in range(3):
        await fail(gate, errors.RateLimitedError("x", retry_after=retry_after))


async def fail_at(barrier: asyncio.Barrier, gate: ModelGate) -> None:
    with contextlib.suppress(errors.RateLimitedError):
        async with gate.passing():
            await barrier.wait()
            raise errors.RateLimitedError("x")


class Held:
    """A call that runs until it is let go."""

    def __init__(self, gate: ModelGate) -> None:
        self._gate = gate
        self._go, self.began = asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async with self._gate.passing():
            self.began.set()
            await self._go.wait()

    async def end(self) -> None:
        self._go.set()
        await self.task


@asynccontextmanager
async def held(gate: ModelGate, count: int = 1) -> AsyncIterator[list[Held]]:
    calls = [Held(gate) for _ in range(count)]
    for call in calls:
        await call.began.wait()
    yield calls
    for call in calls:
        if not call.task.done():
            await call.end()


async def test_calls_pass_and_are_counted(gate: ModelGate) -> None:
    async with gate.passing():
        assert gate.state().running == 1
    await fail(gate, errors.BadRequestError("no"))
    state = gate.state()
    assert (state.running, state.succeeded) == (0, 1)
    assert state.failed == {"BAD_REQUEST": 1}
    assert state.last_error == "BAD_REQUEST"
    assert state.breaker is BreakerState.CLOSED


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (errors.CannotConnectError("x"), BreakerState.OPEN),
        (errors.CallTimeoutError("x"), BreakerState.OPEN),
        (errors.OverloadedError("x"), BreakerState.OPEN),
        (errors.ProviderError("x"), BreakerState.OPEN),
        (errors.BadRequestError("x"), BreakerState.CLOSED),
        (errors.NotAuthorizedError("x"), BreakerState.CLOSED),
        (errors.TruncatedError("x"), BreakerState.CLOSED),
        (errors.PluginError("x"), BreakerState.CLOSED),
    ],
    ids=lambda each: getattr(each, "kind", ""),
)
async def test_only_a_provider_that_fails_is_left_alone(
    gate: ModelGate, error: errors.LLMError, state: BreakerState
) -> None:
    for _ in range(5):
        await fail(gate, error)
    assert gate.state().breaker is state


async def test_an_open_breaker_refuses_and_says_for_how_long(
    gate: ModelGate, timer: Timer
) -> None:
    for _ in range(5):
        await fail(gate, errors.ProviderError("x"))
    assert gate.is_closed_by_breaker
    with pytest.raises(errors.ModelUnavailableError) as refused:
        async with gate.passing():
            raise AssertionError
    assert refused.value.retry_after == gate.wait_seconds() == 1.0
    assert gate.state().running == 0
    timer.now += 1.0
    async with gate.passing():
        assert gate.state().breaker is BreakerState.HALF_OPEN
    assert gate.state().breaker is BreakerState.CLOSED
    assert gate.wait_seconds() == 0


async def test_a_trial_that_is_cancelled_decides_nothing(
    gate: ModelGate, timer: Timer
) -> None:
    for _ in range(5):
        await fail(gate, errors.ProviderError("x"))
    timer.now += 1.0
    async with held(gate) as (trial,):
        trial.task.cancel()
        await asyncio.wait([trial.task])
    assert gate.state().breaker is BreakerState.OPEN
    async with gate.passing():
        pass
    assert gate.state().breaker is BreakerState.CLOSED


async def test_a_rate_limit_pauses_the_model_as_long_as_it_asks(
    gate: ModelGate, timer: Timer
) -> None:
    await refuse(gate, retry_after=3)
    assert gate.wait_seconds() == 3
    with pytest.raises(errors.ModelUnavailableError):
        async with gate.passing():
            raise AssertionError
    timer.now += 3
    async with gate.passing():
        pass


async def test_single_rate_limits_among_answers_slow_nobody_else_down(
    gate: ModelGate,
) -> None:
    for _ in range(10):
        await fail(gate, errors.RateLimitedError("x", retry_after=3))
        await fail(gate, errors.RateLimitedError("x", retry_after=3))
        async with gate.passing():
            pass
    assert gate.wait_seconds() == 0
    assert gate.state().concurrency_limit is None


async def test_a_rate_limit_of_a_day_is_asked_about_sooner(
    gate: ModelGate,
) -> None:
    await refuse(gate, retry_after=86_400)
    assert gate.wait_seconds() == LONGEST_PAUSE_SECONDS


async def test_concurrency_shrinks_at_a_rate_limit_and_grows_again(
    gate: ModelGate, timer: Timer
) -> None:
    async with held(gate, 28):
        # All met the same limit: the first that is sure of it counts.
        together = asyncio.Barrier(22)
        await asyncio.gather(
            *(fail_at(together, gate) for _ in range(together.parties))
        )
        assert gate.state().concurrency_limit == 22
        assert gate.is_full("")
    assert gate.state().breaker is BreakerState.CLOSED
    timer.now += 1
    # After the trial calls are few, and each that is answered adds one.
    limits = []
    for _ in range(65):
        async with gate.passing():
            pass
        limits.append(gate.state().concurrency_limit)
    assert limits[:4] == [2, 3, 4, 5]
    # From the threshold on, each round adds one.
    assert [limits[at] for at in (20, 30, -1)] == [22, 23, 24]
    await refuse(gate, retry_after=None)
    assert gate.state().concurrency_limit == 1


async def test_a_bulkhead_lets_so_many_through_and_the_next_in_order(
    timer: Timer,
) -> None:
    gate = ModelGate(at_most(2), timer)
    async with held(gate, 2) as (first, second):
        assert gate.is_full("")
        third, fourth = Held(gate), Held(gate)
        await asyncio.sleep(0)
        assert gate.state().waiting == 2
        await first.end()
        await third.began.wait()
        assert not fourth.began.is_set()
        await second.end()
        await fourth.began.wait()
        await third.end()
        await fourth.end()
    assert gate.state().running == gate.state().waiting == 0


async def test_a_client_may_have_half_a_round_of_calls_that_wait(
    timer: Timer,
) -> None:
    """So that its turns do not pass while its next jobs are claimed."""
    gate = ModelGate(at_most(4), timer)
    turn = Turn("c")
    async with held(gate, 4):
        assert not gate.is_full("c")
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(_pass(gate, turn)) for _ in range(2)]
            await asyncio.sleep(0)
            assert gate.is_full("c")
            assert not gate.is_full("d")
            waiting[0].cancel()
            await asyncio.sleep(0)
            assert not gate.is_full("c")
            waiting[1].cancel()


async def _pass(gate: ModelGate, turn: Turn) -> None:
    async with gate.passing(turn):
        pass


async def test_who_waits_too_long_is_told_to_come_again(timer: Timer) -> None:
    gate = ModelGate(at_most(1, wait=0.01), timer)
    async with held(gate):
        with pytest.raises(errors.ModelUnavailableError) as refused:
            async with gate.passing():
                raise AssertionError
    assert refused.value.retry_after == 1.0
    assert gate.state().running == gate.state().waiting == 0


async def test_who_gives_up_waiting_leaves_no_place_taken(
    timer: Timer,
) -> None:
    gate = ModelGate(at_most(1), timer)
    async with held(gate) as (first,):
        waiting, chosen = Held(gate), Held(gate)
        await asyncio.sleep(0)
        waiting.task.cancel()
        await asyncio.wait([waiting.task])
        # Cancelled in the very moment in which its place comes free.
        await first.end()
        chosen.task.cancel()
        await asyncio.wait([chosen.task])
    assert gate.state().running == gate.state().waiting == 0
    async with gate.passing():
        pass


async def test_a_changed_policy_is_taken_up_by_those_who_wait(
    timer: Timer,
) -> None:
    gate = ModelGate(at_most(1), timer)
    async with held(gate):
        second = Held(gate)
        await asyncio.sleep(0)
        gate.adjust(at_most(2))
        await second.began.wait()
        await second.end()


def test_threads_share_the_places() -> None:
    gate = ModelGate(at_most(3))
    most, lock = 0, threading.Lock()

    async def call() -> None:
        nonlocal most
        async with gate.passing():
            with lock:
                most = max(most, gate.state().running)
            await asyncio.sleep(0.001)

    async def calls() -> None:
        await asyncio.gather(*(call() for _ in range(20)))

    run_in_threads(lambda: asyncio.run(calls()), 4)
    state = gate.state()
    assert most == 3
    assert (state.running, state.waiting, state.succeeded) == (0, 0, 80)


def run_in_threads(work: Callable[[], None], count: int) -> None:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


async def test_gates_are_kept_by_model_and_tell_whom_to_leave_alone(
    timer: Timer,
) -> None:
    gates = ModelGates(timer)
    names = frozenset({"id-1", "gpt"})
    gate = gates.of("id-1", names, Resilience())
    other = gates.of("id-2", frozenset({"id-2", "b"}), at_most(1))
    assert gates.unavailable().names == frozenset()
    assert gates.unavailable().wait_seconds is None
    await refuse(gate, retry_after=3)
    assert gates.unavailable().names == names
    assert gates.unavailable().wait_seconds == 3
    async with other.passing():
        assert gates.unavailable().names == names | {"id-2", "b"}
    assert gates.of("id-1", names, at_most(7)) is gate
    assert gate.state().concurrency_limit == 1
    assert set(gates.all()) == {"id-1", "id-2"}


async def test_the_log_tells_of_an_outage_and_of_its_end(
    timer: Timer, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = ModelGate(Resilience(), timer, "id-1")
    logs = logged(monkeypatch, gate_log)
    for _ in range(5):
        await fail(gate, errors.ProviderError("x"))
    timer.now += 1
    await fail(gate, errors.ProviderError("a trial"))
    timer.now += 1
    async with gate.passing():
        pass
    await refuse(gate, retry_after=3)
    told = [(log["event"], log["modelId"]) for log in logs]
    events = ("circuit_open", "circuit_closed", "model_paused")
    assert told == [(event, "id-1") for event in events]


async def test_a_provider_that_refuses_for_ever_is_called_a_few_times(
    gate: ModelGate, timer: Timer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What every waiting job does in vain is no call.
    calls: list[float] = []
    logs = logged(monkeypatch, gate_log)
    while timer.now < 300:
        for _ in range(50):
            with contextlib.suppress(errors.LLMError):
                async with gate.passing():
                    calls.append(timer.now)
                    raise errors.RateLimitedError("x", retry_after=0.0)
        timer.now += max(gate.wait_seconds(), 0.05)
    assert calls == pytest.approx(
        [0, 0, 0, 1, 3, 7, 15, 31, 63, 103, 143, 183, 223, 263]
    )
    assert [log["seconds"] for log in logs[:3]] == [1, 2, 4]
    assert sum(log["refused"] for log in logs) == len(calls)


async def test_who_was_refused_need_not_come_back_before_the_pause_ends(
    gate: ModelGate,
) -> None:
    waits = []
    for _ in range(3):
        error = errors.RateLimitedError("x", retry_after=0.0)
        await fail(gate, error)
        waits.append(error.retry_after)
    assert waits == [1.0, 1.0, 1.0]
    later = errors.RateLimitedError("x", retry_after=7.5)
    other = ModelGate(Resilience(), chance=lambda: 0.0)
    await fail(other, later)
    assert later.retry_after == 7.5


async def test_while_a_model_is_paused_nobody_waits_for_a_place(
    timer: Timer,
) -> None:
    gate = ModelGate(at_most(1), timer, chance=lambda: 0.0)
    await refuse(gate, retry_after=None)
    timer.now += 1
    async with held(gate):
        # The trial holds the only place; the others are told at once.
        with pytest.raises(errors.ModelUnavailableError) as refused:
            async with gate.passing():
                raise AssertionError
        assert refused.value.retry_after == 1.0


async def test_a_breakers_trial_that_hangs_is_followed_by_another(
    gate: ModelGate, timer: Timer
) -> None:
    for _ in range(5):
        await fail(gate, errors.ProviderError("x"))
    timer.now += 1.0
    async with held(gate):
        timer.now += 29.9
        assert gate.wait_seconds() == pytest.approx(0.1)
        timer.now += 0.1
        async with gate.passing():
            pass
        assert gate.state().breaker is BreakerState.CLOSED


def test_threads_that_are_all_refused_make_few_calls() -> None:
    policy = Resilience(retry=RetryPolicy(min_wait=0.1, max_wait=0.4))
    gate, calls = ModelGate(policy), []
    end = time.monotonic() + 1.5

    async def job() -> None:
        while time.monotonic() < end:
            wait = 0.0
            try:
                async with gate.passing():
                    calls.append(time.monotonic())
                    raise errors.RateLimitedError("x", retry_after=0.0)
            except errors.LLMError as error:
                wait = error.retry_after or 0.0
            await asyncio.sleep(wait)

    async def jobs() -> None:
        await asyncio.gather(*(job() for _ in range(20)))

    run_in_threads(lambda: asyncio.run(jobs()), 4)
    state = gate.state()
    assert len(calls) < 80 + 20
    assert (state.running, state.waiting) == (0, 0)


def test_gates_are_told_by_their_models_names() -> None:
    gates = ModelGates()
    named = gates.of("id-1", frozenset({"id-1", "gpt"}), Resilience())
    same = gates.of("id-2", frozenset({"id-2"}), Resilience())
    assert gates.named() == [("gpt", named), ("id-2", same)]


async def test_a_call_that_must_not_wait_is_refused_at_a_full_gate() -> None:
    policy = Resilience(bulkhead=BulkheadPolicy(max_concurrency=1))
    gate = ModelGate(policy)
    async with gate.passing(waits=False):
        with pytest.raises(errors.ModelUnavailableError, match="at once"):
            async with gate.passing(waits=False):
                raise AssertionError
    async with gate.passing(waits=False):
        assert gate.state().running == 1
