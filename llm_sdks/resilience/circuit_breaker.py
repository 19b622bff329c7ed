"""A circuit breaker: makes no calls to a provider that keeps failing.

The pattern is Michael Nygard's (Release It!, 2nd edition, chapter 5).
"""

from dataclasses import dataclass
from enum import StrEnum

from llm_sdks.resilience.policies import BreakerPolicy

# While it is open, one call at a time tries whether the provider is back:
# soon after a short outage, seldom in a long one.
_FIRST_TRIAL_SECONDS = 1.0
_TRIAL_SHARE_OF_OUTAGE = 0.05


class BreakerState(StrEnum):
    """Whether calls are made; half open: trial calls only."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class Pass:
    """Permission for one call; handed back with the call's outcome."""

    generation: int
    is_trial: bool


class CircuitBreaker:
    """One model's breaker. Not thread-safe; `now` is in seconds."""

    def __init__(self, policy: BreakerPolicy) -> None:
        self.policy = policy
        self.state = BreakerState.CLOSED
        # Failures in a row while closed.
        self.failures = 0
        self.opened_at: float | None = None
        self._next_trial = 0.0
        # When a trial that has not ended is no longer waited for.
        self._trial_ends = 0.0
        # Calls that began before the last change of state say nothing new.
        self._generation = 0

    def wait_seconds(self, now: float) -> float:
        """Return how long no call will pass; 0 if one may now."""
        match self.state:
            case BreakerState.CLOSED:
                return 0.0
            case BreakerState.OPEN:
                return max(self._next_trial - now, 0.0)
            case BreakerState.HALF_OPEN:
                # The trial under way decides, unless it hangs.
                left = max(self._trial_ends - now, 0.0)
                return min(left, _FIRST_TRIAL_SECONDS)

    def admit(self, now: float) -> Pass | None:
        """Let one call pass, or None."""
        if self.wait_seconds(now) > 0:
            return None
        is_trial = self.state is not BreakerState.CLOSED
        if is_trial:
            self._trial_ends = now + self.policy.recovery_timeout
            self._turn(BreakerState.HALF_OPEN)
        return Pass(self._generation, is_trial)

    def succeeded(self, passed: Pass) -> None:
        """The provider works."""
        if passed.generation != self._generation:
            return
        self.failures = 0
        if passed.is_trial:
            self.opened_at = None
            self._turn(BreakerState.CLOSED)

    def failed(self, passed: Pass, now: float, running: int = 1) -> None:
        """The provider failed, in a way that is not the call's own fault.

        `running` is how many calls are under way, this one included.
        Failures are quicker than answers: of a hundred calls that begin
        together, those that fail come in a row. So there must be at least
        half as many in a row as are running.
        """
        if passed.generation != self._generation:
            return
        self.failures += 1
        enough = max(self.policy.failure_threshold, running / 2)
        if passed.is_trial or self.failures >= enough:
            self._open(now)

    def abandoned(self, passed: Pass, now: float) -> None:
        """The call ended without telling anything about the provider."""
        if passed.is_trial and passed.generation == self._generation:
            self._turn(BreakerState.OPEN)
            self._next_trial = now

    def _open(self, now: float) -> None:
        if self.opened_at is None:
            self.opened_at = now
        wait = max(
            _FIRST_TRIAL_SECONDS,
            (now - self.opened_at) * _TRIAL_SHARE_OF_OUTAGE,
        )
        self._next_trial = now + min(wait, self.policy.recovery_timeout)
        self._turn(BreakerState.OPEN)

    def _turn(self, state: BreakerState) -> None:
        self.state = state
        self._generation += 1
