"""Observers: the seam between the logic and its metrics."""

from dataclasses import dataclass, field
from typing import Final

from api.models.metrics import Metrics
from api.models.model_models import ModelWithKey
from api.services.queue.job_work import ClaimedJob, Outcome
from llm_sdks.errors import LLMError

OK = "ok"


@dataclass(frozen=True, slots=True)
class CallEnd:
    """How one call to a model ended; times in seconds.

    `outcome` is `OK` or the kind of its error. Only streams have a
    `time_to_first_token`.
    """

    model: ModelWithKey
    outcome: str
    seconds: float
    metrics: Metrics = field(default_factory=Metrics)
    time_to_first_token: float | None = None

    @classmethod
    def failed(
        cls, model: ModelWithKey, error: LLMError, seconds: float
    ) -> "CallEnd":
        """Make the end of a call that gave no answer."""
        return cls(model, error.kind, seconds)


class Observer:
    """Gets every event; this one ignores them.

    Every method returns at once, never raises, and may be called by any
    thread.
    """

    def claimed(self, jobs: int, seconds: float) -> None:
        """Count the jobs of one claim."""

    def stored(self, taken: int, not_taken: int, seconds: float) -> None:
        """Count the results of one bulk; those not taken came too late."""

    def job_ended(self, job: ClaimedJob, outcome: Outcome) -> None:
        """A job's result, or that it runs again, was stored."""

    def store_failed(self, operation: str) -> None:
        """The database did not take an operation of the queue."""

    def taken_over(self, returned: int, ended: int) -> None:
        """Jobs of a dead worker were returned to the queue, or given up."""

    def call_ended(self, call: CallEnd) -> None:
        """A provider was called."""

    def request_began(self) -> None:
        """An HTTP request came."""

    def delivery_attempted(self, outcome: str) -> None:
        """An event was sent to a webhook: `delivered` or `failed`."""

    def removed(self, kind: str, count: int) -> None:
        """Retention has removed documents of a kind."""

    def audited(self, outcome: str, count: int) -> None:
        """Events of the audit were stored, sent, or lost."""

    def login_failed(self) -> None:
        """A request had no credential, or a wrong one."""

    def request_ended(
        self, method: str, route: str, status: int, seconds: float
    ) -> None:
        """An HTTP request was answered; `route` is its path's template."""


NOBODY: Final = Observer()
