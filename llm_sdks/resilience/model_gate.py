"""What every call to a model passes: its bulkhead, then its breaker.

A gate is shared by all threads of a process. Retries are not made here:
they are durable, with the job in the database, and no place is used by a
call that waits.
"""

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from llm_sdks import errors
from llm_sdks.resilience.backoff import Backoff, Ticket
from llm_sdks.resilience.bulkhead import Bulkhead
from llm_sdks.resilience.circuit_breaker import (
    BreakerState,
    CircuitBreaker,
    Pass,
)
from llm_sdks.resilience.concurrency_limit import ConcurrencyLimit
from llm_sdks.resilience.fair_queue import (
    BULK_SHARE,
    NOBODYS,
    Turn,
    Weights,
)
from llm_sdks.resilience.gate_log import GateLog
from llm_sdks.resilience.gate_parts import Ended, Passed, Place
from llm_sdks.resilience.policies import Resilience

Timer = Callable[[], float]

# What says that the provider is not well, and what, though no success,
# that it is there.
_OUTAGES = (
    errors.CannotConnectError,
    errors.CallTimeoutError,
    errors.OverloadedError,
    errors.ProviderError,
)
_ANSWERS = (
    errors.BadRequestError,
    errors.NotAuthorizedError,
    errors.PartialAnswerError,
)
# What only people can change, or the next day: the whole model is
# suspended for it, in all processes.
_STOPS = (errors.AccountExhaustedError, errors.ModelNotFoundError)
# How much of the last error a refused call repeats.
_MOST_WORDS = 300


@dataclass(frozen=True, slots=True)
class GateState:
    """A gate at one moment; times are in seconds from now."""

    breaker: BreakerState
    failures_in_a_row: int
    open_seconds: float | None
    next_trial_seconds: float | None
    concurrency_limit: int | None
    running: int
    waiting: int
    paused_seconds: float
    succeeded: int
    failed: dict[str, int]
    last_error: str | None
    last_error_seconds: float | None


class ModelGate:
    """The gate of one model."""

    def __init__(
        self,
        policy: Resilience,
        timer: Timer = time.monotonic,
        model_id: str = "",
        chance: Callable[[], float] = random.random,
        weights: Weights = lambda _: 1.0,
        bulk_share: float = BULK_SHARE,
    ) -> None:
        self._policy = policy
        self._timer = timer
        self._lock = threading.Lock()
        self._breaker = CircuitBreaker(policy.circuit_breaker)
        self._limit = ConcurrencyLimit(policy.bulkhead.max_concurrency)
        self._places = Bulkhead(self._limit, weights, bulk_share)
        self._chance = chance
        self._backoff = Backoff(policy.retry, chance)
        self._pauses = 0
        self._log = GateLog(model_id, timer)
        self._succeeded = 0
        self._failed: Counter[str] = Counter()
        self._last_error: tuple[str, float] | None = None
        self._last_words = ""

    def adjust(self, policy: Resilience) -> None:
        """Take up a changed policy."""
        with self._lock:
            self._policy = policy
            self._breaker.policy = policy.circuit_breaker
            self._backoff.policy = policy.retry
            self._limit.most = policy.bulkhead.max_concurrency
            self._places.admit(self._timer())

    @asynccontextmanager
    async def passing(
        self, turn: Turn = NOBODYS, *, waits: bool = True
    ) -> AsyncIterator[None]:
        """Let what is inside make one call, and learn from how it ends.

        Calls that wait for a place take turns by their clients.

        Raises:
            ModelUnavailableError: no place came free in time, or the
                model is paused just now; says for how long.
        """
        # While the model is paused no call waits for a place.
        if (wait := self.wait_seconds()) > 0:
            raise _unavailable(wait, self._last_words)
        await self._take_place(turn, waits=waits)
        ended = Ended()
        try:
            passed = self._pass()
        except errors.ModelUnavailableError:
            self._leave(None, ended, turn)
            raise
        try:
            yield
            ended = Ended(well=True)
        except errors.LLMError as error:
            ended = Ended(error)
            raise
        finally:
            self._leave(passed, ended, turn)

    def wait_seconds(self) -> float:
        """Return how long no job of this model need be claimed."""
        with self._lock:
            return self._wait_seconds(self._timer())

    def is_full(self, client_id: str, *, bulk: bool = True) -> bool:
        """Tell whether a client need not claim more jobs of a class."""
        with self._lock:
            now = self._timer()
            return self._places.is_full(client_id, now, bulk=bulk)

    @property
    def is_closed_by_breaker(self) -> bool:
        """Whether the provider is taken to be down."""
        return self._breaker.state is not BreakerState.CLOSED

    def state(self) -> GateState:
        """Show the gate as it is."""
        with self._lock:
            now, breaker = self._timer(), self._breaker
            opened, error = breaker.opened_at, self._last_error
            is_open = opened is not None
            return GateState(
                breaker=breaker.state,
                failures_in_a_row=breaker.failures,
                open_seconds=now - opened if opened is not None else None,
                next_trial_seconds=breaker.wait_seconds(now)
                if is_open
                else None,
                concurrency_limit=self._limit.value,
                running=self._places.running,
                waiting=self._places.waiting,
                paused_seconds=self._backoff.paused_seconds(now),
                succeeded=self._succeeded,
                failed=dict(self._failed),
                last_error=error[0] if error else None,
                last_error_seconds=now - error[1] if error else None,
            )

    def _wait_seconds(self, now: float) -> float:
        return max(
            self._breaker.wait_seconds(now), self._backoff.wait_seconds(now)
        )

    async def _take_place(self, turn: Turn, *, waits: bool) -> None:
        with self._lock:
            if self._places.take(turn, self._timer()):
                return
            if not waits:
                raise self._no_place()
            place = Place(turn)
            self._places.wait(place, self._timer())
        seconds = self._policy.bulkhead.acquisition_timeout
        try:
            async with asyncio.timeout(seconds):
                await place.free.wait()
        except asyncio.CancelledError:
            self._give_up(place)
            raise
        except TimeoutError:
            self._give_up(place)
            raise self._no_place() from None

    def _no_place(self) -> errors.ModelUnavailableError:
        return errors.ModelUnavailableError(
            "The model's limit of calls at once was reached",
            retry_after=self._policy.retry.min_wait,
        )

    def _give_up(self, place: Place) -> None:
        with self._lock:
            self._places.give_up(place, self._timer())

    def _pass(self) -> Passed:
        with self._lock:
            now = self._timer()
            wait = self._wait_seconds(now)
            if wait == 0:
                passed = self._breaker.admit(now)
                ticket = self._backoff.admit(now)
                if passed is not None and ticket is not None:
                    return Passed(passed, ticket)
        raise _unavailable(wait, self._last_words)

    def _leave(self, passed: Passed | None, ended: Ended, turn: Turn) -> None:
        with self._lock:
            now = self._timer()
            before = self._breaker.state, self._pauses
            if passed is not None:
                self._learn(passed, ended, now)
            self._places.leave(turn, now)
            after = self._breaker.state, self._pauses
            pause = self._backoff.paused_seconds(now)
            kind = self._last_error[0] if self._last_error else None
        if isinstance(ended.error, errors.RateLimitedError) and not isinstance(
            ended.error, _STOPS
        ):
            self._log.refused(pause, begins=after[1] > before[1])
        if after[0] is not before[0]:
            self._log.breaker(before[0], after[0], kind)

    def _learn(self, passed: Passed, ended: Ended, now: float) -> None:
        error, ticket = ended.error, passed.ticket
        if ended.well:
            self._succeeded += 1
        elif error is not None:
            self._failed[error.kind] += 1
            self._last_error = (error.kind, now)
            self._last_words = str(error)[:_MOST_WORDS]
        if isinstance(error, _STOPS):
            self._backoff.abandoned(ticket, now)
            self._breaker.succeeded(passed.breaker)
        elif isinstance(error, errors.RateLimitedError):
            self._refused(ticket, error, now)
            self._breaker.succeeded(passed.breaker)
        elif ended.well or isinstance(error, _ANSWERS):
            self._answered(ticket, well=ended.well)
            self._breaker.succeeded(passed.breaker)
        else:
            self._backoff.abandoned(ticket, now)
            self._failed_or_abandoned(passed.breaker, error, now)

    def _failed_or_abandoned(
        self, passed: Pass, error: errors.LLMError | None, now: float
    ) -> None:
        if isinstance(error, _OUTAGES):
            self._breaker.failed(passed, now, self._places.running)
        else:
            self._breaker.abandoned(passed, now)

    def _refused(
        self, ticket: Ticket, error: errors.RateLimitedError, now: float
    ) -> None:
        told, running = error.retry_after, self._places.running
        if self._backoff.refused(ticket, now, told, running):
            # A refused trial says nothing of how many may run at once.
            if not ticket.is_trial:
                self._limit.rate_limited(running)
            self._pauses += 1
        wait = self._backoff.wait_seconds(now)
        if wait == 0:
            wait = self._policy.retry.pause_seconds(1, self._chance)
        # The job need not come back sooner.
        error.retry_after = max(told or 0.0, wait)

    def _answered(self, ticket: Ticket, *, well: bool) -> None:
        if not self._backoff.is_current(ticket):
            return
        if self._backoff.answered(ticket):
            self._limit.restart()
        elif well:
            self._limit.succeeded()
        if self._limit.has_recovered:
            self._backoff.recovered()


def _unavailable(wait: float, last: str) -> errors.ModelUnavailableError:
    message = (
        "No calls are made to this model at present, after failures or a "
        "rate limit"
    )
    if last:
        message += f". The last one: {last}"
    return errors.ModelUnavailableError(message, retry_after=wait)


class ModelGates:
    """The gates of all models that a process calls, by their ids."""

    def __init__(self, timer: Timer = time.monotonic) -> None:
        self._timer = timer
        self._lock = threading.Lock()
        self._gates: dict[str, tuple[Resilience, frozenset[str], ModelGate]]
        self._gates = {}
        # The weights of clients, where somebody knows them.
        self.weights: Weights = lambda _: 1.0
        self.bulk_share = BULK_SHARE

    def weight(self, client_id: str) -> float:
        """Return how many turns a client gets where others get one."""
        return self.weights(client_id)

    def of(
        self, model_id: str, names: frozenset[str], policy: Resilience
    ) -> ModelGate:
        """Return a model's gate; `names` are what jobs may call it."""
        with self._lock:
            known = self._gates.get(model_id)
            # The same object, mostly: comparing all its fields takes longer.
            if (
                known is not None
                and (known[0] is policy or known[0] == policy)
                and known[1] == names
            ):
                return known[2]
            gate = (
                known[2]
                if known
                else ModelGate(
                    policy,
                    self._timer,
                    model_id,
                    weights=self.weight,
                    bulk_share=self.bulk_share,
                )
            )
            self._gates[model_id] = (policy, names, gate)
        gate.adjust(policy)
        return gate

    def all(self) -> dict[str, ModelGate]:
        """Return every gate by its model's id."""
        with self._lock:
            return {each: entry[2] for each, entry in self._gates.items()}

    def named(self) -> list[tuple[str, ModelGate]]:
        """Return every gate with its model's name.

        A deleted model's gate stays, and a new one may have its name.
        """
        with self._lock:
            entries = list(self._gates.items())
        return [
            (next(iter(called - {model_id}), model_id), gate)
            for model_id, (_, called, gate) in entries
        ]

    def unavailable(
        self, client_id: str = "", *, bulk: bool = True
    ) -> "Unavailable":
        """Tell which models' jobs need not be claimed, and until when.

        For the workers of one client; without it, for all. Without
        `bulk`, for interactive jobs only.
        """
        with self._lock:
            entries = list(self._gates.values())
        names: set[str] = set()
        waits = []
        for _, called, gate in entries:
            wait = gate.wait_seconds()
            if wait > 0 or gate.is_full(client_id, bulk=bulk):
                names |= called
                waits.append(wait or _FULL_SECONDS)
        return Unavailable(frozenset(names), min(waits, default=None))


# A full gate is looked at again this soon; mostly a call that ends is news.
_FULL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Models to leave alone, and for how many seconds at least one of them."""

    names: frozenset[str] = frozenset()
    wait_seconds: float | None = None
