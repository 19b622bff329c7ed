from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    rule,
)

from llm_sdks.resilience.backoff import (
    LONGEST_PAUSE_SECONDS,
    Backoff,
    BackoffState,
    Ticket,
)
from llm_sdks.resilience.policies import RetryPolicy
from tests.support.examples import exact_seconds, examples

POLICY = RetryPolicy(min_wait=1.0, max_wait=60.0)


@dataclass
class Bench:
    """A backoff, its clock and its calls."""

    now: float = 0.0
    backoff: Backoff = field(
        default_factory=lambda: Backoff(POLICY, lambda: 0.0)
    )

    def call(self) -> Ticket:
        ticket = self.backoff.admit(self.now)
        assert ticket is not None
        return ticket

    def refuse(self, told: float | None = None, times: int = 1) -> None:
        for _ in range(times):
            self.backoff.refused(self.call(), self.now, told, 1)

    def paused(self) -> "Bench":
        self.refuse(times=3)
        assert self.backoff.state is BackoffState.PAUSED
        return self

    def on_trial(self) -> Ticket:
        self.now += self.backoff.wait_seconds(self.now)
        ticket = self.call()
        assert ticket.is_trial
        return ticket


def test_isolated_refusals_pause_nothing() -> None:
    bench = Bench()
    for _ in range(10):
        bench.refuse(times=2)
        bench.backoff.answered(bench.call())
    assert bench.backoff.state is BackoffState.CLEAR


def test_pauses_grow_while_trials_are_refused() -> None:
    bench, waits = Bench().paused(), []
    for _ in range(9):
        waits.append(bench.backoff.wait_seconds(bench.now))
        trial = bench.on_trial()
        bench.backoff.refused(trial, bench.now, 0.0, 1)
    assert waits == [1, 2, 4, 8, 16, 32, 40, 40, 40]


def test_a_longer_time_that_is_asked_for_is_kept_to() -> None:
    bench = Bench()
    bench.refuse(told=30.5, times=3)
    assert bench.backoff.wait_seconds(bench.now) == 30.5


def test_calls_of_before_a_pause_make_it_longer_only_if_asked() -> None:
    bench = Bench()
    early = [bench.call() for _ in range(10)]
    bench.paused()
    for ticket in early:
        bench.backoff.refused(ticket, 0.0, 0.0, 10)
    assert bench.backoff.wait_seconds(0.0) == 1.0
    assert bench.backoff.level == 1
    bench.backoff.refused(early[0], 0.0, 9.0, 10)
    assert bench.backoff.wait_seconds(0.0) == 9.0


def test_one_trial_then_the_others() -> None:
    bench = Bench().paused()
    trial = bench.on_trial()
    assert bench.backoff.admit(bench.now) is None
    assert bench.backoff.answered(trial)
    assert not bench.call().is_trial
    # The next refusal pauses at once: the limit is still near.
    bench.refuse()
    assert bench.backoff.state is BackoffState.PAUSED
    assert bench.backoff.level == 2


def test_a_trial_that_runs_long_was_not_refused() -> None:
    bench = Bench().paused()
    bench.on_trial()
    bench.now += 5
    assert bench.call().is_trial


def test_a_trial_that_says_nothing_is_followed_by_another() -> None:
    bench = Bench().paused()
    bench.backoff.abandoned(bench.on_trial(), bench.now)
    assert bench.call().is_trial


@given(
    st.floats(0.1, 100),
    st.floats(0.1, 100),
    st.floats(1, 10),
    st.integers(1, 10_000),
    st.floats(0, 1),
)
def test_pauses_lie_between_the_shortest_and_the_longest(
    low: float, high: float, base: float, refusals: int, chance: float
) -> None:
    policy = RetryPolicy(min_wait=low, max_wait=high, exponential_base=base)
    wait = policy.pause_seconds(refusals, lambda: chance)
    assert min(low, high) <= wait <= high
    later = policy.pause_seconds(refusals + 1, lambda: chance)
    assert later >= wait


class Machine(RuleBasedStateMachine):
    """Any number of calls, ending in any way at any time."""

    calls = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench()
        self.last_trial = -100.0
        self.paused_at: float | None = None

    @rule(seconds=exact_seconds(100))
    def time_passes(self, seconds: float) -> None:
        self.bench.now += seconds

    @rule(target=calls)
    def call(self) -> Ticket | None:
        backoff, now = self.bench.backoff, self.bench.now
        before, wait = backoff.state, backoff.wait_seconds(now)
        ticket = backoff.admit(now)
        assert (ticket is not None) == (wait == 0)
        if ticket is not None and ticket.is_trial:
            if before is BackoffState.TRIAL:
                assert now - self.last_trial >= 5
            self.last_trial = now
        return ticket

    @rule(ticket=consumes(calls))
    def answer(self, ticket: Ticket | None) -> None:
        if ticket is None:
            return
        backoff = self.bench.backoff
        is_current = backoff.is_current(ticket)
        backoff.answered(ticket)
        backoff.recovered()
        if is_current:
            assert backoff.wait_seconds(self.bench.now) == 0

    @rule(
        ticket=consumes(calls),
        told=st.none() | exact_seconds(1_000_000),
        running=st.integers(1, 100),
    )
    def refuse(
        self, ticket: Ticket | None, told: float | None, running: int
    ) -> None:
        if ticket is None:
            return
        backoff, now = self.bench.backoff, self.bench.now
        level, was_clear = backoff.level, backoff.state is BackoffState.CLEAR
        is_current = backoff.is_current(ticket)
        begins = backoff.refused(ticket, now, told, running)
        if begins:
            assert is_current
            assert backoff.level >= level
            assert backoff.wait_seconds(now) >= POLICY.min_wait
        assert begins or was_clear or not is_current

    @rule(ticket=consumes(calls))
    def give_up(self, ticket: Ticket | None) -> None:
        if ticket is not None:
            self.bench.backoff.abandoned(ticket, self.bench.now)

    @invariant()
    def a_call_passes_in_time(self) -> None:
        wait = self.bench.backoff.wait_seconds(self.bench.now)
        # The sum and the difference of two floats are rounded.
        assert 0 <= wait <= LONGEST_PAUSE_SECONDS + 1e-6


TestBackoff = Machine.TestCase
TestBackoff.settings = settings(
    max_examples=examples(100), stateful_step_count=40
)
