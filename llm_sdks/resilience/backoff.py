"""Pauses a model whose provider refuses calls for their rate.

A pause ends with one trial call; while it is not refused, calls come back
gradually (see `concurrency_limit`). Each refusal that follows makes the next
pause longer. Refusals of calls that began before a pause belong to that
pause: they do not make it longer, unless the provider asks for more time.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from llm_sdks.resilience.policies import RetryPolicy

# No provider is believed that asks for a longer pause of the whole model,
# so that a limit which was raised meanwhile is found.
LONGEST_PAUSE_SECONDS = 3600.0
# Providers refuse at once. A trial that has run so long was not refused,
# however long its answer takes.
_TRIAL_SECONDS = 5.0
# Isolated refusals among answers pause nothing: this many in a row do,
# and for at least such a share of the calls that are running.
_FEWEST_REFUSED = 3
_REFUSED_SHARE = 0.5
# As many answers bring the shortest pauses back.
_HIGHEST_LEVEL = 10


class BackoffState(StrEnum):
    """Whether calls pass."""

    CLEAR = "clear"
    PAUSED = "paused"
    TRIAL = "trial"
    # Calls pass; the next refusal pauses again.
    RAMP = "ramp"


@dataclass(frozen=True, slots=True)
class Ticket:
    """Permission for one call; handed back with the call's outcome."""

    generation: int
    is_trial: bool = False


class Backoff:
    """One model's pauses. Not thread-safe; `now` is in seconds."""

    def __init__(
        self,
        policy: RetryPolicy,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.policy = policy
        self.state = BackoffState.CLEAR
        # How many pauses followed one another.
        self.level = 0
        self._chance = chance
        self._refused_in_a_row = 0
        self._paused_until = 0.0
        self._trial_ends = 0.0
        # Counts pauses and trials: earlier calls say nothing about now.
        self._generation = 0

    def wait_seconds(self, now: float) -> float:
        """Return how long no call will pass; 0 if one may now."""
        match self.state:
            case BackoffState.PAUSED:
                return max(self._paused_until - now, 0.0)
            case BackoffState.TRIAL:
                left = max(self._trial_ends - now, 0.0)
                return min(left, self._shortest)
            case _:
                return 0.0

    def paused_seconds(self, now: float) -> float:
        """Return what is left of a pause, without the trial behind it."""
        is_paused = self.state is BackoffState.PAUSED
        return max(self._paused_until - now, 0.0) if is_paused else 0.0

    def admit(self, now: float) -> Ticket | None:
        """Let one call pass, or None."""
        if self.wait_seconds(now) > 0:
            return None
        if self.state in (BackoffState.CLEAR, BackoffState.RAMP):
            return Ticket(self._generation)
        self.state = BackoffState.TRIAL
        self._trial_ends = now + _TRIAL_SECONDS
        return Ticket(self._generation, is_trial=True)

    def is_current(self, ticket: Ticket) -> bool:
        """Tell whether a call began after the last pause."""
        return ticket.generation == self._generation

    def answered(self, ticket: Ticket) -> bool:
        """Note a call that was not refused; tell whether that ends a trial."""
        if not self.is_current(ticket):
            return False
        self._refused_in_a_row = 0
        if self.state is BackoffState.TRIAL:
            self.state = BackoffState.RAMP
            return True
        self.level = max(self.level - 1, 0)
        return False

    def recovered(self) -> None:
        """Note that as many calls run again as the threshold allows."""
        if self.state is BackoffState.RAMP and self.level == 0:
            self.state = BackoffState.CLEAR

    def refused(
        self, ticket: Ticket, now: float, told: float | None, running: int
    ) -> bool:
        """Note a refused call; tell whether a pause begins.

        `told` is how many seconds the provider asks to wait, `running` how
        many calls are under way, this one included.
        """
        told = min(told or 0.0, LONGEST_PAUSE_SECONDS)
        if not self.is_current(ticket):
            if self.state is BackoffState.PAUSED:
                self._paused_until = max(self._paused_until, now + told)
            return False
        self._refused_in_a_row += 1
        # Refusals are quicker than answers: of many calls that begin
        # together, those that are refused come in a row.
        enough = max(_FEWEST_REFUSED, running * _REFUSED_SHARE)
        is_clear = self.state is BackoffState.CLEAR
        if is_clear and self._refused_in_a_row < enough:
            return False
        self._pause(now, told)
        return True

    def abandoned(self, ticket: Ticket, now: float) -> None:
        """Note a call that says nothing about the limit."""
        is_trial = ticket.is_trial and self.is_current(ticket)
        if is_trial and self.state is BackoffState.TRIAL:
            self.state = BackoffState.PAUSED
            self._paused_until = now

    def _pause(self, now: float, told: float) -> None:
        self.level = min(self.level + 1, _HIGHEST_LEVEL)
        self._generation += 1
        self._refused_in_a_row = 0
        wait = self.policy.pause_seconds(self.level, self._chance)
        self._paused_until = now + max(wait, told)
        self.state = BackoffState.PAUSED

    @property
    def _shortest(self) -> float:
        return min(self.policy.min_wait, self.policy.max_wait)
