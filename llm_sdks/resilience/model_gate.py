"""What every call to a model passes: its bulkhead, then its breaker.

A gate is shared by all threads of a process. Retries are not made here:
they are durable, with the job in the database, and no place is held by a
call that waits.
"""

import asyncio
import threading
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from llm_sdks import errors
from llm_sdks.resilience.circuit_breaker import (
    BreakerState,
    CircuitBreaker,
    Pass,
)
from llm_sdks.resilience.concurrency_limit import ConcurrencyLimit
from llm_sdks.resilience.policies import Resilience

log = structlog.get_logger(__name__)

Timer = Callable[[], float]

# A rate limit stops the whole model no longer than this, so that a raised
# limit is found soon.
_LONGEST_PAUSE_SECONDS = 30.0
_FEWEST_REFUSED = 3
_REFUSED_SHARE = 0.5

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
    errors.RateLimitedError,
)


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
    ) -> None:
        self._model_id = model_id
        self._policy = policy
        self._timer = timer
        self._lock = threading.Lock()
        self._breaker = CircuitBreaker(policy.circuit_breaker)
        self._limit = ConcurrencyLimit(policy.bulkhead.max_concurrency)
        self._running = 0
        self._waiting: deque[_Place] = deque()
        self._paused_until = 0.0
        self._refused_in_a_row = 0
        self._succeeded = 0
        self._failed: Counter[str] = Counter()
        self._last_error: tuple[str, float] | None = None

    def adjust(self, policy: Resilience) -> None:
        """Take up a changed policy."""
        with self._lock:
            self._policy = policy
            self._breaker.policy = policy.circuit_breaker
            self._limit.most = policy.bulkhead.max_concurrency
            self._admit_waiting()

    @asynccontextmanager
    async def passing(self) -> AsyncIterator[None]:
        """Let what is inside make one call, and learn from how it ends.

        Raises:
            ModelUnavailableError: no place came free in time, or the
                provider is left alone just now; says for how long.
        """
        await self._take_place()
        ended = _Ended()
        try:
            passed = self._pass_breaker()
        except errors.ModelUnavailableError:
            self._leave(None, ended)
            raise
        try:
            yield
            ended = _Ended(well=True)
        except errors.LLMError as error:
            ended = _Ended(error)
            raise
        finally:
            self._leave(passed, ended)

    def wait_seconds(self) -> float:
        """Return how long no job of this model need be claimed."""
        with self._lock:
            now = self._timer()
            return max(
                self._breaker.wait_seconds(now), self._paused_until - now, 0.0
            )

    @property
    def is_full(self) -> bool:
        """Whether one more call would have to wait for its place."""
        with self._lock:
            asked = self._running + len(self._waiting)
            return not self._limit.allows(asked)

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
                running=self._running,
                waiting=len(self._waiting),
                paused_seconds=max(self._paused_until - now, 0.0),
                succeeded=self._succeeded,
                failed=dict(self._failed),
                last_error=error[0] if error else None,
                last_error_seconds=now - error[1] if error else None,
            )

    async def _take_place(self) -> None:
        with self._lock:
            if not self._waiting and self._limit.allows(self._running):
                self._running += 1
                return
            place = _Place()
            self._waiting.append(place)
        seconds = self._policy.bulkhead.acquisition_timeout
        try:
            async with asyncio.timeout(seconds):
                await place.free.wait()
        except asyncio.CancelledError:
            self._give_up(place)
            raise
        except TimeoutError:
            self._give_up(place)
            raise errors.ModelUnavailableError(
                "All places for calls to this model were taken",
                retry_after=self._policy.retry.min_wait,
            ) from None

    def _give_up(self, place: "_Place") -> None:
        with self._lock:
            if place in self._waiting:
                self._waiting.remove(place)
            else:
                # It came free in the same moment.
                self._running -= 1
                self._admit_waiting()

    def _pass_breaker(self) -> Pass:
        with self._lock:
            now = self._timer()
            passed = None
            if self._paused_until <= now:
                passed = self._breaker.admit(now)
            if passed is not None:
                return passed
            wait = max(
                self._breaker.wait_seconds(now), self._paused_until - now
            )
        raise errors.ModelUnavailableError(
            "The provider is left alone for a moment, after failures or a "
            "rate limit",
            retry_after=wait,
        )

    def _leave(self, passed: Pass | None, ended: "_Ended") -> None:
        with self._lock:
            before = self._breaker.state, self._paused_until
            if passed is not None:
                self._learn(passed, ended, self._timer())
            self._running -= 1
            self._admit_waiting()
            after = self._breaker.state, self._paused_until
        if after[1] > before[1]:
            self._tell_of_pause(after[1])
        if after[0] is not before[0]:
            self._tell_of_breaker(before[0], after[0])

    def _tell_of_pause(self, until: float) -> None:
        seconds = round(until - self._timer(), 1)
        log.warning("model_paused", modelId=self._model_id, seconds=seconds)

    def _tell_of_breaker(
        self, before: BreakerState, after: BreakerState
    ) -> None:
        if after is BreakerState.CLOSED:
            log.info("circuit_closed", modelId=self._model_id)
        # That a trial has failed is no news.
        elif before is BreakerState.CLOSED:
            kind = self._last_error[0] if self._last_error else None
            log.warning("circuit_open", modelId=self._model_id, lastError=kind)

    def _learn(self, passed: Pass, ended: "_Ended", now: float) -> None:
        error = ended.error
        if ended.well:
            self._succeeded += 1
            self._refused_in_a_row = 0
            self._limit.succeeded()
        elif error is not None:
            self._failed[error.kind] += 1
            self._last_error = (error.kind, now)
        if isinstance(error, errors.RateLimitedError):
            self._slow_down(error, now)
        if isinstance(error, _OUTAGES):
            self._breaker.failed(passed, now, self._running)
        elif ended.well or isinstance(error, _ANSWERS):
            self._breaker.succeeded(passed)
        else:
            self._breaker.abandoned(passed, now)

    def _slow_down(self, error: errors.RateLimitedError, now: float) -> None:
        # One refusal among answers costs only its own job a wait. Many
        # in a row, for as many calls as run, say that the limit is met:
        # refusals are quicker than answers, as failures are.
        self._refused_in_a_row += 1
        share = self._running * _REFUSED_SHARE
        if self._refused_in_a_row < max(_FEWEST_REFUSED, share):
            return
        self._limit.rate_limited(self._running, now)
        pause = min(error.retry_after or 0.0, _LONGEST_PAUSE_SECONDS)
        self._paused_until = max(self._paused_until, now + pause)

    def _admit_waiting(self) -> None:
        while self._waiting and self._limit.allows(self._running):
            place = self._waiting.popleft()
            self._running += 1
            if not place.offer():
                self._running -= 1


@dataclass(frozen=True, slots=True)
class _Ended:
    """How a call ended: well, with an error, or (neither) cancelled."""

    error: errors.LLMError | None = None
    well: bool = False


class _Place:
    """A call that waits for its place, in its own event loop."""

    def __init__(self) -> None:
        self.free = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def offer(self) -> bool:
        """Wake the call; False if its loop has ended."""
        try:
            self._loop.call_soon_threadsafe(self.free.set)
        except RuntimeError:
            return False
        return True


class ModelGates:
    """The gates of all models that a process calls, by their ids."""

    def __init__(self, timer: Timer = time.monotonic) -> None:
        self._timer = timer
        self._lock = threading.Lock()
        self._gates: dict[str, tuple[Resilience, frozenset[str], ModelGate]]
        self._gates = {}

    def of(
        self, model_id: str, names: frozenset[str], policy: Resilience
    ) -> ModelGate:
        """Return a model's gate; `names` are what jobs may call it."""
        with self._lock:
            known = self._gates.get(model_id)
            if known is not None and known[:2] == (policy, names):
                return known[2]
            gate = (
                known[2] if known else ModelGate(policy, self._timer, model_id)
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

    def unavailable(self) -> "Unavailable":
        """Tell which models' jobs need not be claimed, and until when."""
        with self._lock:
            entries = list(self._gates.values())
        names: set[str] = set()
        waits = []
        for _, called, gate in entries:
            wait = gate.wait_seconds()
            if wait > 0 or gate.is_full:
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
