"""What this process knows of suspended models, and what it found out.

Calls in all threads look here without a wait. What they find out holds in
this process at once; `StateWatcher` writes it down, for all others.
"""

import secrets
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from functools import partial

import structlog

from api.models.model_models import Model
from api.models.suspension_models import Suspended
from api.services.limits.model_states import (
    ModelState,
    ModelStateStore,
    revision_of,
)
from api.services.limits.share import Share
from api.services.limits.suspension import reason_of, remedy_of, trial_wait
from llm_sdks.errors import LLMError
from utilities.clock import Clock, now_ms
from utilities.signals import Signals

TRIAL_SECONDS = 60.0
# A worker that looks for the job of a trial call has this long to find it.
_SEARCH_MS = 5_000
_LONGEST_MESSAGE = 300
# While a trial call is due, workers look for its job this often.
_LOOK_SECONDS = 1.0

log = structlog.get_logger(__name__)
Write = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Trial:
    """The one call that is made to a suspended model."""

    state: ModelState
    token: str


class Suspensions:
    """The suspended models, by their ids; safe in any thread."""

    def __init__(
        self,
        store: ModelStateStore,
        signals: Signals,
        clock: Clock = now_ms,
        *,
        trial_seconds: float = TRIAL_SECONDS,
    ) -> None:
        self._store = store
        self._signals = signals
        self._clock = clock
        self._trial_seconds = trial_seconds
        self._lock = threading.Lock()
        self._states: dict[str, ModelState] = {}
        self._epochs: dict[str, int] = {}
        self._unwritten: deque[tuple[str, Write]] = deque()
        self._searching: dict[str, int] = {}
        # Wakes the watcher, where there is one.
        self.wake: Callable[[], None] = lambda: None

    def of(self, model_id: str) -> ModelState | None:
        """Return the state of a model, if it is suspended."""
        return self._states.get(model_id)

    def shown(self, model_id: str) -> Suspended | None:
        """Return it as the API shows it."""
        state = self.of(model_id)
        return state.shown() if state is not None else None

    def all(self) -> list[ModelState]:
        """Return all suspended models."""
        with self._lock:
            return list(self._states.values())

    def reasons(self) -> dict[str, str]:
        """Return why each model is suspended, by their names."""
        return {state.name: state.reason for state in self.all()}

    def epoch(self, model_id: str) -> int:
        """Return how often a model has been resumed."""
        return self._epochs.get(model_id, 0)

    def is_due(self, state: ModelState) -> bool:
        """Tell whether a trial call may be made now."""
        return self._clock() >= state.retry_at

    def seconds_left(self, state: ModelState) -> float:
        """Return the seconds until the next trial call."""
        return max(state.retry_at - self._clock(), 0) / 1000

    def suspend(self, model: Model, error: LLMError, epoch: int) -> None:
        """Suspend a model for the error of a call that began in `epoch`."""
        reason = reason_of(error)
        model_id, now = model.model_id, self._clock()
        with self._lock:
            is_news = model_id not in self._states
            if reason is None or not is_news or epoch != self.epoch(model_id):
                return
            state = self._states[model_id] = ModelState(
                model_id,
                frozenset({model_id, model.name}),
                model.on_suspended,
                reason,
                str(error)[:_LONGEST_MESSAGE],
                now,
                now + self._wait_ms(error),
                epoch,
                revision_of(model),
            )
            write = partial(self._store.suspend, state)
            self._unwritten.append((model_id, write))
        log.warning("model_suspended", **_told(state))
        self.wake()

    async def take_trial(self, state: ModelState) -> Trial | None:
        """Take the trial call that is due, if no other process has."""
        token = secrets.token_hex(8)
        retry_at = self._clock() + round(self._trial_seconds * 1000)
        taken = await self._store.take_trial(state, retry_at, token)
        if taken:
            self._replace(state, replace(state, retry_at=retry_at))
        else:
            self.wake()
        return Trial(state, token) if taken else None

    def trial_failed(self, trial: Trial, error: LLMError) -> None:
        """Keep the model suspended, for what the trial call has told."""
        state, reason = trial.state, reason_of(error)
        failed = replace(
            state,
            reason=reason or state.reason,
            message=str(error)[:_LONGEST_MESSAGE] if reason else state.message,
            retry_at=self._clock() + self._wait_ms(error),
        )
        self._note_trial(trial, failed)

    def trial_not_made(self, trial: Trial, seconds: float = 0.0) -> None:
        """Have the trial made by another call, after some seconds."""
        retry_at = self._clock() + round(seconds * 1000)
        self._note_trial(trial, replace(trial.state, retry_at=retry_at))

    def resume(self, state: ModelState) -> None:
        """End the state: a trial call went well."""
        with self._lock:
            self._end(state)
            write = partial(self._store.resume, state)
            self._unwritten.append((state.model_id, write))
        self._tell_resumed(state)

    async def resume_now(self, model_id: str) -> None:
        """End the state of a model, if it is suspended: people say so."""
        await self.refresh()
        state = self.of(model_id)
        if state is not None and await self._store.resume(state):
            with self._lock:
                self._end(state)
            self._tell_resumed(state)

    def shares(self, _client_id: str = "") -> list[Share]:
        """Say what workers may claim of suspended models: one job a trial."""
        return [self._share(each) for each in self.all() if each.is_waited_for]

    async def flush(self) -> None:
        """Write down what was found out."""
        while self._unwritten:
            await self._unwritten[0][1]()
            with self._lock:
                self._unwritten.popleft()

    async def refresh(self) -> None:
        """Take over what other processes have found out."""
        found, epochs = await self._store.read()
        with self._lock:
            own = {model_id for model_id, _ in self._unwritten}
            before = self._states
            states = {each.model_id: each for each in found}
            for model_id in own:
                states.pop(model_id, None)
                epochs.pop(model_id, None)
                if model_id in before:
                    states[model_id] = before[model_id]
            self._states = states
            self._epochs |= epochs
            ended = before.keys() - states.keys()
        if ended:
            self._signals.publish_all()

    async def compare(self, models: Collection[Model]) -> None:
        """Compare the states with the models as they are by now.

        A model that was changed is tried at once; a state whose model was
        deleted is forgotten.
        """
        known = {model.model_id: model for model in models}
        for state in self.all():
            model = known.get(state.model_id)
            if model is None:
                await self._store.forget(state.model_id)
                continue
            self._replace(state, state.of_model(model))
            if revision_of(model) != state.revision:
                await self._store.changed(
                    state, revision_of(model), self._clock()
                )

    def _share(self, state: ModelState) -> Share:
        def take(_wanted: int) -> int:
            now = self._clock()
            with self._lock:
                is_taken = self._searching.get(state.model_id, 0) > now
                if is_taken or now < state.retry_at:
                    return 0
                self._searching[state.model_id] = now + _SEARCH_MS
            return 1

        def give_back(_count: int) -> None:
            self._searching.pop(state.model_id, None)

        due = self.is_due(state)
        wait = max(self.seconds_left(state), _LOOK_SECONDS)
        return Share(state.names, take, give_back, room=int(due), wait=wait)

    def _wait_ms(self, error: LLMError) -> int:
        return round(trial_wait(error, self._trial_seconds) * 1000)

    def _replace(self, before: ModelState, after: ModelState) -> None:
        with self._lock:
            current = self._states.get(before.model_id)
            if current is not None and current.epoch == before.epoch:
                self._states[before.model_id] = after

    def _note_trial(self, trial: Trial, after: ModelState) -> None:
        self._replace(trial.state, after)
        write = partial(self._store.trial_failed, after, trial.token)
        with self._lock:
            self._unwritten.append((after.model_id, write))
            self._searching.pop(after.model_id, None)
        self.wake()

    def _end(self, state: ModelState) -> None:
        self._states.pop(state.model_id, None)
        self._epochs[state.model_id] = state.epoch + 1
        self._searching.pop(state.model_id, None)

    def _tell_resumed(self, state: ModelState) -> None:
        seconds = (self._clock() - state.since) / 1000
        log.info("model_resumed", model=state.name, seconds=round(seconds, 1))
        self.wake()
        self._signals.publish_all()


def _told(state: ModelState) -> dict[str, str]:
    return {
        "model": state.name,
        "reason": state.reason,
        "message": state.message,
        "advice": remedy_of(state.reason),
    }
