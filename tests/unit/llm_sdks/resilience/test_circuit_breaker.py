from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    rule,
)

from llm_sdks.resilience.circuit_breaker import (
    BreakerState,
    CircuitBreaker,
    Pass,
)
from llm_sdks.resilience.policies import BreakerPolicy
from tests.support.examples import exact_seconds, examples

POLICY = BreakerPolicy(failure_threshold=3, recovery_timeout=30.0)


@dataclass
class Clock:
    """Seconds, which pass when the test says so."""

    now: float = 0.0


@dataclass
class Bench:
    """A breaker and its calls."""

    clock: Clock = field(default_factory=Clock)
    breaker: CircuitBreaker = field(
        default_factory=lambda: CircuitBreaker(POLICY)
    )

    def admitted(self) -> Pass:
        passed = self.breaker.admit(self.clock.now)
        assert passed is not None
        return passed

    def state(self) -> BreakerState:
        return self.breaker.state

    def fail(self, times: int = 1) -> None:
        for _ in range(times):
            self.breaker.failed(self.admitted(), self.clock.now)

    def opened(self) -> "Bench":
        self.fail(POLICY.failure_threshold)
        assert self.breaker.state is BreakerState.OPEN
        return self


def test_failures_in_a_row_open_it() -> None:
    bench = Bench()
    bench.fail(POLICY.failure_threshold - 1)
    assert bench.state() is BreakerState.CLOSED
    bench.breaker.succeeded(bench.admitted())
    bench.fail(POLICY.failure_threshold - 1)
    assert bench.state() is BreakerState.CLOSED
    bench.fail()
    assert bench.state() is BreakerState.OPEN
    assert bench.breaker.admit(bench.clock.now) is None


def test_of_many_calls_the_first_to_fail_do_not_open_it() -> None:
    bench = Bench()
    calls = [bench.admitted() for _ in range(100)]
    for number, call in enumerate(calls[:34]):
        bench.breaker.failed(call, 0.0, running=100 - number)
        is_open = bench.state() is BreakerState.OPEN
        assert is_open == (number == 33)


def test_one_trial_at_a_time_decides() -> None:
    bench = Bench().opened()
    bench.clock.now += bench.breaker.wait_seconds(bench.clock.now)
    trial = bench.admitted()
    assert trial.is_trial
    assert bench.state() is BreakerState.HALF_OPEN
    assert bench.breaker.admit(bench.clock.now) is None
    bench.breaker.succeeded(trial)
    assert bench.state() is BreakerState.CLOSED
    assert bench.breaker.failures == 0
    assert not bench.admitted().is_trial


def test_trials_come_soon_after_a_short_outage_and_seldom_in_a_long() -> None:
    bench = Bench().opened()
    waits = []
    while bench.clock.now < 3600:
        wait = bench.breaker.wait_seconds(bench.clock.now)
        waits.append((bench.clock.now, round(wait, 6)))
        bench.clock.now += wait
        bench.fail()
    assert all(wait <= 1.01 for when, wait in waits if when <= 20)
    assert max(wait for _, wait in waits) == POLICY.recovery_timeout
    assert [wait for _, wait in waits] == sorted(wait for _, wait in waits)


def test_a_short_recovery_timeout_is_kept() -> None:
    breaker = CircuitBreaker(BreakerPolicy(1, recovery_timeout=0.1))
    passed = breaker.admit(0.0)
    assert passed is not None
    breaker.failed(passed, 0.0)
    assert breaker.wait_seconds(0.0) == 0.1


def test_a_trial_that_tells_nothing_is_followed_by_another() -> None:
    bench = Bench().opened()
    bench.clock.now += bench.breaker.wait_seconds(bench.clock.now)
    bench.breaker.abandoned(bench.admitted(), bench.clock.now)
    assert bench.state() is BreakerState.OPEN
    assert bench.admitted().is_trial


def test_what_began_before_it_opened_changes_nothing() -> None:
    bench = Bench()
    early = [bench.admitted() for _ in range(4)]
    bench.opened()
    wait = bench.breaker.wait_seconds(bench.clock.now)
    bench.breaker.succeeded(early[0])
    bench.breaker.failed(early[1], bench.clock.now)
    bench.breaker.abandoned(early[2], bench.clock.now)
    assert bench.state() is BreakerState.OPEN
    assert bench.breaker.wait_seconds(bench.clock.now) == wait


class Breaker(RuleBasedStateMachine):
    """Any number of calls, ending in any way at any time."""

    calls = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench()
        self.trials: set[Pass] = set()
        self.in_a_row = 0
        self.began = 0.0

    @rule(seconds=exact_seconds(100))
    def time_passes(self, seconds: float) -> None:
        self.bench.clock.now += seconds

    @rule(target=calls)
    def call(self) -> Pass | None:
        breaker, now = self.bench.breaker, self.bench.clock.now
        before, wait = breaker.state, breaker.wait_seconds(now)
        passed = breaker.admit(now)
        assert (passed is not None) == (wait == 0)
        if passed is not None and passed.is_trial:
            assert before is not BreakerState.CLOSED
            hangs = before is BreakerState.HALF_OPEN
            assert not hangs or now - self.began >= POLICY.recovery_timeout
            self.began = now
            # A trial that hangs decides nothing any more.
            self.trials = {passed}
        return passed

    @rule(passed=consumes(calls))
    def succeed(self, passed: Pass | None) -> None:
        if passed is None:
            return
        decides = self._is_current(passed)
        self.bench.breaker.succeeded(passed)
        self.trials.discard(passed)
        if decides:
            self.in_a_row = 0
            assert self.bench.state() is BreakerState.CLOSED

    @rule(passed=consumes(calls))
    def fail(self, passed: Pass | None) -> None:
        if passed is None:
            return
        decides = self._is_current(passed)
        self.bench.breaker.failed(passed, self.bench.clock.now)
        self.trials.discard(passed)
        if decides:
            self.in_a_row += 1
        if decides and passed.is_trial:
            assert self.bench.state() is BreakerState.OPEN

    @rule(passed=consumes(calls))
    def give_up(self, passed: Pass | None) -> None:
        if passed is None:
            return
        self.bench.breaker.abandoned(passed, self.bench.clock.now)
        self.trials.discard(passed)

    @invariant()
    def at_most_one_trial_runs(self) -> None:
        half_open = self.bench.state() is BreakerState.HALF_OPEN
        assert len(self.trials) == (1 if half_open else 0)

    @invariant()
    def it_opens_exactly_after_enough_failures(self) -> None:
        closed = self.bench.state() is BreakerState.CLOSED
        assert closed == (self.in_a_row < POLICY.failure_threshold)

    @invariant()
    def it_lets_a_call_through_in_time(self) -> None:
        wait = self.bench.breaker.wait_seconds(self.bench.clock.now)
        assert 0 <= wait <= POLICY.recovery_timeout

    def _is_current(self, passed: Pass) -> bool:
        return passed.generation == self.bench.breaker._generation


TestBreaker = Breaker.TestCase
TestBreaker.settings = settings(
    max_examples=examples(100), stateful_step_count=40
)
