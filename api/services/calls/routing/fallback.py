"""What a failed call means for the route that led to it."""

from collections.abc import Sequence
from dataclasses import replace

from api.models.metrics import Metrics
from api.models.tried_models import Fallback
from api.services.calls.model_call import FailedCallError
from api.services.limits.admission import NotAdmittedError, WaitKind
from api.services.limits.budgets import BudgetExhaustedError, NoPriceError
from api.services.limits.suspension import ModelSuspendedError, reason_of
from config import MissingModelKeyError
from llm_sdks import errors


class UnsuitableTargetError(errors.BadRequestError):
    """A target cannot take requests of this kind at all."""


# What a target of a route can fail with.
TargetError = FailedCallError | MissingModelKeyError

# The first that applies.
_KINDS: tuple[tuple[type[errors.LLMError], Fallback], ...] = (
    (BudgetExhaustedError, Fallback.SUSPENDED),
    (NoPriceError, Fallback.SUSPENDED),
    (ModelSuspendedError, Fallback.SUSPENDED),
    (errors.NotAuthorizedError, Fallback.SUSPENDED),
    (errors.ConfigurationError, Fallback.SUSPENDED),
    (errors.RateLimitedError, Fallback.RATE_LIMIT),
    (errors.ContextTooLongError, Fallback.CONTEXT_TOO_LONG),
    (errors.ContentFilteredError, Fallback.CONTENT_FILTER),
    (errors.PartialAnswerError, Fallback.UNUSABLE_ANSWER),
    (errors.FailedGenerationError, Fallback.UNUSABLE_ANSWER),
    (errors.UnknownEndingError, Fallback.UNUSABLE_ANSWER),
    (errors.CannotConnectError, Fallback.OUTAGE),
    (errors.CallTimeoutError, Fallback.OUTAGE),
    (errors.OverloadedError, Fallback.OUTAGE),
    (errors.ProviderError, Fallback.OUTAGE),
    (errors.PluginError, Fallback.OUTAGE),
)


def fallback_of(error: TargetError) -> Fallback | None:
    """Tell of which kind a failure is; None if it is the request's own."""
    if isinstance(error, MissingModelKeyError):
        return Fallback.SUSPENDED
    failed = error.error
    if isinstance(failed, NotAdmittedError):
        is_limit = failed.wait_kind is WaitKind.LIMIT
        return Fallback.RATE_LIMIT if is_limit else Fallback.SUSPENDED
    if isinstance(failed, errors.ModelUnavailableError):
        # Its gate is closed for failures, or for refusals.
        return Fallback.OUTAGE if error.is_outage else Fallback.RATE_LIMIT
    if reason_of(failed) is not None:
        return Fallback.SUSPENDED
    if is_unsuitable(error):
        return None
    return next((to for kind, to in _KINDS if isinstance(failed, kind)), None)


def is_unsuitable(error: TargetError) -> bool:
    """Tell whether a model lacks what the request asks for.

    Then another one is tried in any case: nothing has failed.
    """
    if isinstance(error, MissingModelKeyError):
        return False
    failed = error.error
    if isinstance(failed, errors.ConfigurationError):
        return failed.param is not None
    return isinstance(failed, UnsuitableTargetError)


def kind_of(error: TargetError) -> str:
    """Name the error as `errorType` does."""
    if isinstance(error, MissingModelKeyError):
        return error.kind
    return error.error.kind


def deciding(failures: Sequence[TargetError]) -> TargetError:
    """Choose the failure by which a pass through all targets is judged.

    The one that promises most: the target that only has to be waited for,
    and of several the shortest wait. So nothing is given up, and no
    attempt is counted, while another target would do.
    """
    return min(failures, key=_rank)


def with_cost(
    error: TargetError, failures: Sequence[TargetError]
) -> TargetError:
    """Give the error of a pass, with what all its calls have cost."""
    if isinstance(error, MissingModelKeyError):
        return error
    cost = sum(map(cost_of, failures), Metrics())
    return FailedCallError(
        error.error, error.model, cost, is_outage=error.is_outage
    )


def cost_of(error: TargetError) -> Metrics:
    """Count what a failed call cost, as far as the provider reported it."""
    if isinstance(error, MissingModelKeyError):
        return Metrics()
    used = error.metrics
    if not used.input_tokens + used.output_tokens:
        return Metrics()
    # The time is that of calls with an answer.
    return replace(used, duration=0.0)


def _rank(error: TargetError) -> tuple[int, float]:
    if isinstance(error, MissingModelKeyError) or is_unsuitable(error):
        return _HOPELESS, 0.0
    failed = error.error
    wait = failed.retry_after or 0.0
    if isinstance(failed, ModelSuspendedError):
        return _FINAL, 0.0
    if fallback_of(error) is Fallback.SUSPENDED and _waits(failed):
        return _WAITS_LONG, wait
    if _waits(failed):
        return _WAITS, wait
    if failed.retryable:
        return _FAILED, 0.0 if error.is_outage else 1.0
    return _FINAL, 0.0


def _waits(failed: errors.LLMError) -> bool:
    kinds = errors.RateLimitedError | errors.ModelUnavailableError
    return isinstance(failed, kinds) or reason_of(failed) is not None


_WAITS, _WAITS_LONG, _FAILED, _FINAL, _HOPELESS = range(5)
