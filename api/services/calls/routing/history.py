"""How calls to models have gone lately, as this process has seen them.

The newest calls count most: each changes the averages by a fixed part.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from api.services.monitoring.observer import OK, CallEnd, Observer
from llm_sdks import errors

# The part by which one call changes an average.
_NEWEST, _NEWEST_OF_QUALITY = 0.2, 0.05
# A target that gets no calls is measured again after this time (s).
PROBE_SECONDS = 60.0
# A refusal of a long request is believed for this time (s).
_TOO_LONG_SECONDS = 600.0
_MOST_MODELS = 10_000
_FAILED = frozenset(
    each.kind
    for each in (
        errors.CannotConnectError,
        errors.CallTimeoutError,
        errors.OverloadedError,
        errors.ProviderError,
        errors.UnreadableAnswerError,
        errors.PluginError,
    )
)
_UNUSABLE = frozenset(
    each.kind
    for each in (
        errors.ContentFilteredError,
        errors.TruncatedError,
        errors.ToolCalledError,
        errors.FailedGenerationError,
        errors.UnknownEndingError,
    )
)


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """One model: averages, None as long as nothing was measured.

    `quality` is the share of calls that gave an answer which could be
    used. `has_failed` says that the last call met an outage.
    """

    seconds: float | None = None
    output_tokens: float | None = None
    quality: float = 1.0
    has_failed: bool = False
    # A request of so many bytes was too long, and when that was told.
    too_long: int | None = None
    too_long_at: float = 0.0

    def takes(self, size: int, now: float) -> bool:
        """Tell whether a request of that many bytes may be short enough."""
        if self.too_long is None or now - self.too_long_at > _TOO_LONG_SECONDS:
            return True
        return size < self.too_long


NOTHING_KNOWN = ModelRecord()


class CallHistory(Observer):
    """The records by the models' ids; safe in any thread."""

    def __init__(self, timer: Callable[[], float] = time.monotonic) -> None:
        self._timer = timer
        self._lock = threading.Lock()
        self._records: dict[str, ModelRecord] = {}
        # When a model was called last, or was to be.
        self._called: dict[str, float] = {}

    def now(self) -> float:
        """Return the time by which records are kept (s)."""
        return self._timer()

    def of(self, model_id: str) -> ModelRecord:
        """Return what is known of a model."""
        return self._records.get(model_id, NOTHING_KNOWN)

    def call_ended(self, call: CallEnd) -> None:
        """Learn from a call."""
        model_id, kind = call.model.model_id, call.outcome
        with self._lock:
            before = self._record(model_id)
            if kind == OK:
                after = _answered(before, call)
            elif kind in _FAILED:
                after = _rated(replace(before, has_failed=True), 0.0)
            elif kind in _UNUSABLE:
                after = _rated(replace(before, has_failed=False), 0.0)
            else:
                return
            self._records[model_id] = after
            self._called[model_id] = self._timer()

    def unusable(self, model_id: str) -> None:
        """Learn that an answer, which came well, could not be used."""
        with self._lock:
            self._records[model_id] = _rated(self._record(model_id), 0.0)

    def too_long(self, model_id: str, size: int) -> None:
        """Learn that a request of so many bytes was too long."""
        with self._lock:
            before, now = self._record(model_id), self._timer()
            known = before.too_long
            if known is not None and not before.takes(known, now):
                size = min(size, known)
            self._records[model_id] = replace(
                before, too_long=size, too_long_at=now
            )

    def take_probe(self, model_ids: Sequence[str]) -> str | None:
        """Return a model that is to be measured by this call, if any.

        It is not returned to others for a while.
        """
        with self._lock:
            now = self._timer()
            for model_id in model_ids:
                last = self._called.get(model_id)
                if last is None or now - last >= PROBE_SECONDS:
                    self._called[model_id] = now
                    return model_id
        return None

    def _record(self, model_id: str) -> ModelRecord:
        if len(self._records) > _MOST_MODELS:
            self._records.clear()
            self._called.clear()
        return self.of(model_id)


class Observers(Observer):
    """Tells several observers how calls end."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def call_ended(self, call: CallEnd) -> None:
        """Tell each of them."""
        for each in self._observers:
            each.call_ended(call)


def _answered(before: ModelRecord, call: CallEnd) -> ModelRecord:
    after = replace(
        before,
        seconds=_mixed(before.seconds, call.seconds),
        output_tokens=_mixed(before.output_tokens, call.metrics.output_tokens),
        has_failed=False,
    )
    return _rated(after, 1.0)


def _rated(record: ModelRecord, value: float) -> ModelRecord:
    quality = record.quality + _NEWEST_OF_QUALITY * (value - record.quality)
    return replace(record, quality=quality)


def _mixed(before: float | None, new: float) -> float:
    return float(new) if before is None else before + _NEWEST * (new - before)
