"""Decide whether and when a failed call is made again."""

import random
from collections.abc import Callable
from dataclasses import replace

import structlog

from api.models.suspension_models import OnSuspended
from api.services.calls.model_call import FailedCallError
from api.services.limits.admission import WaitKind
from api.services.limits.suspension import reason_of
from api.services.queue.job_work import ClaimedJob, Requeued, Spent
from llm_sdks.errors import (
    CallTimeoutError,
    LLMError,
    ModelUnavailableError,
    RateLimitedError,
)
from llm_sdks.resilience.policies import RetryPolicy
from llm_workers.execution.error_data import (
    StepError,
    cost_of,
    kind_of,
    said,
    was_paid_for,
)
from utilities.clock import Clock, now_ms
from utilities.log_summary import LogSummary

_LONGEST_DELAY_SECONDS = 86_400.0
# While its provider is down, a job's failures are not its own; but no job
# is tried without end.
_MOST_FAILURES = 100
# An unusable answer that was paid for is asked for this many times.
_MOST_UNREADABLE = 3
# Waits grow with up to this number of refusals in a row.
_MOST_REFUSALS = 5
# Waits are lengthened by up to this part, and by no more than this.
_JITTER = 0.25
_MOST_JITTER_SECONDS = 10.0
# For jobs that only later need a model whose account is stopped.
_STOPPED_SECONDS = 60.0

# Tells whether a client's jobs of a route of that name are not claimed; None
# if there is no such route.
HoldsRoute = Callable[[str, str], bool | None]

log = structlog.get_logger(__name__)


# For all workers of the process: a model that refuses every call must not
# fill the log.
_FAILURES = LogSummary()


def no_route(_client_id: str, _name: str) -> bool | None:
    """Say that there are no routes."""
    return None


class Retries:
    """The rules, for one worker."""

    def __init__(
        self,
        max_attempts: int,
        clock: Clock = now_ms,
        chance: Callable[[], float] = random.random,
        holds_route: HoldsRoute = no_route,
    ) -> None:
        self._holds_route = holds_route
        self._max_attempts = max_attempts
        self._clock = clock
        self._chance = chance

    def later(self, job: ClaimedJob, error: StepError) -> Requeued | None:
        """Say when to make a failed call again; None if that cannot help."""
        later = None
        if isinstance(error, FailedCallError):
            if reason_of(error.error) is not None:
                later = self._suspended(job, error)
            elif error.error.retryable:
                later = self._retry(job, error)
        if later is None:
            _tell_of_failure(job, error)
        return later

    def _suspended(
        self, job: ClaimedJob, failed: FailedCallError
    ) -> Requeued | None:
        """Let a job wait whose call has found the account stopped."""
        if failed.model.on_suspended is OnSuspended.FAIL:
            return None
        wait = failed.model.resilience.policy.retry.min_wait
        if not self._is_held_back(job, failed):
            wait = max(wait, self._stopped_seconds(job, failed.error))
        return self._requeue(
            job,
            failed.error,
            wait,
            _spent(job, failed),
            counted=False,
            waits_for=WaitKind.SUSPENDED,
        )

    def _retry(
        self, job: ClaimedJob, failed: FailedCallError
    ) -> Requeued | None:
        error, policy = failed.error, failed.model.resilience.policy.retry
        spent = _spent(job, failed)
        if isinstance(error, RateLimitedError | ModelUnavailableError):
            # Not this job's doing: its attempts stay as they are.
            refusals = min(max(spent.refusals, 1), _MOST_REFUSALS)
            wait = self._wait(policy, refusals, error)
            kind = getattr(error, "wait_kind", None)
            if getattr(error, "holds_claims", False) and self._is_held_back(
                job, failed
            ):
                wait = policy.min_wait
            return self._requeue(
                job, error, wait, spent, counted=False, waits_for=kind
            )
        if spent.unreadable >= (error.max_calls or _MOST_UNREADABLE):
            return None
        job = replace(job, failures=job.failures + 1)
        is_outage = failed.is_outage and not isinstance(
            error, CallTimeoutError
        )
        ends_attempt = job.failures % policy.max_attempts == 0
        counted = ends_attempt and not is_outage
        if counted and job.attempts >= self._max_attempts:
            return None
        if job.failures >= _MOST_FAILURES:
            return None
        wait = self._wait(policy, job.failures, error)
        return self._requeue(job, error, wait, spent, counted=counted)

    def _is_held_back(self, job: ClaimedJob, failed: FailedCallError) -> bool:
        """Tell whether the job is not claimed while the model takes no calls.

        It is claimed if another step than the first one needs the model,
        or if its route has other models that take calls.
        """
        if job.model in (failed.model.name, failed.model.model_id):
            return True
        return bool(self._holds_route(job.client_id, job.model))

    def _stopped_seconds(self, job: ClaimedJob, error: LLMError) -> float:
        if error.retry_after:
            return error.retry_after
        is_of_route = self._holds_route(job.client_id, job.model) is not None
        # Another model of the route is open by now.
        return 0.0 if is_of_route else _STOPPED_SECONDS

    def _wait(
        self, policy: RetryPolicy, failures: int, error: LLMError
    ) -> float:
        """Give the seconds to wait: never fewer than `retry.minWait`.

        A provider may ask for more. Waits are lengthened at random, so
        that jobs which failed together do not come back together.
        """
        wait = max(
            policy.wait_seconds(failures, self._chance),
            policy.min_wait,
            error.retry_after or 0.0,
        )
        if not policy.jitter:
            return wait
        longest = min(wait * _JITTER, _MOST_JITTER_SECONDS)
        return wait + (1.0 - self._chance()) * longest

    def _requeue(
        self,
        job: ClaimedJob,
        error: LLMError,
        wait: float,
        spent: Spent,
        *,
        counted: bool,
        waits_for: str | None = None,
    ) -> Requeued:
        return Requeued(
            self._clock() + _ms(wait),
            counted,
            reason=said(error),
            failures=job.failures,
            spent=spent.dump() if spent != Spent.load(job.spent) else None,
            waits_for=waits_for,
        )


def _tell_of_failure(job: ClaimedJob, error: StepError) -> None:
    kind = kind_of(error)
    _FAILURES.tell(
        (job.model, kind),
        lambda count: log.warning(
            "step_failed",
            errorType=kind,
            reason=said(error),
            model=job.model,
            count=count,
        ),
    )


def _spent(job: ClaimedJob, failed: FailedCallError) -> Spent:
    """Add a failed call to what the job has cost."""
    spent = Spent.load(job.spent)
    error = failed.error
    if isinstance(error, ModelUnavailableError):
        # No call was made, but for those to other targets of a route.
        return replace(spent, metrics=spent.metrics + cost_of(failed))
    refused = isinstance(error, RateLimitedError)
    return Spent(
        spent.metrics + cost_of(failed),
        spent.refusals + 1 if refused else 0,
        spent.unreadable + (was_paid_for(failed) or _is_limited(error)),
    )


def _is_limited(error: LLMError) -> bool:
    return error.max_calls is not None


def _ms(seconds: float) -> int:
    # No provider is believed that asks for more than a day.
    return round(min(seconds, _LONGEST_DELAY_SECONDS) * 1000)
