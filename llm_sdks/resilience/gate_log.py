"""Log lines of a gate: changes, and at most one line per second."""

import threading
from collections.abc import Callable

import structlog

from llm_sdks import errors
from llm_sdks.resilience.circuit_breaker import BreakerState
from utilities.log_summary import LogSummary

log = structlog.get_logger(__name__)


class GateLog:
    """The log of one model's gate; thread-safe."""

    def __init__(self, model_id: str, timer: Callable[[], float]) -> None:
        self._model_id = model_id
        self._lock = threading.Lock()
        self._summary = LogSummary(timer=timer)
        # Refused calls since the last line.
        self._refused = 0

    def refused(self, pause_seconds: float, *, begins: bool) -> None:
        """Count a refused call; log the pause that begins with it.

        A single refusal among answers is not logged.
        """
        with self._lock:
            self._refused += 1
        if begins:
            self._summary.tell("paused", lambda _: self._pause(pause_seconds))

    def breaker(
        self, before: BreakerState, after: BreakerState, kind: str | None
    ) -> None:
        """Tell that the breaker has opened or closed, and after which error.

        A failed trial call is not logged.
        """
        if after is BreakerState.CLOSED:
            log.info("circuit_closed", modelId=self._model_id)
        elif before is BreakerState.CLOSED:
            log.warning("circuit_open", modelId=self._model_id, lastError=kind)

    def _pause(self, seconds: float) -> None:
        with self._lock:
            refused, self._refused = self._refused, 0
        log.warning(
            "model_paused",
            modelId=self._model_id,
            seconds=round(seconds, 1),
            errorType=errors.RateLimitedError.kind,
            refused=refused,
        )
