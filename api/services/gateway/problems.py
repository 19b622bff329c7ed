"""What a failed call is to the client of a vendor's interface."""

from http import HTTPStatus

from pydantic_core import from_json

from api.core.dialects import NO_QUOTA, Problem
from api.services.limits.admission import NotAdmittedError, WaitKind
from api.services.limits.budgets import BudgetExhaustedError
from api.services.limits.suspension import ModelSuspendedError
from llm_sdks import errors

# A wait beyond it is none that a library should sit out.
_LONGEST_RETRY_SECONDS = 60.0
# What a provider says of our own account is not the client's business.
_OURS = frozenset({401, 402, 403, 407})
_REFUSALS = range(400, 600)


# The first that applies: the status, the code, whether a library should
# send the same request again (None: as the status says).
_KINDS: tuple[
    tuple[type[errors.LLMError], int, str | None, bool | None], ...
] = (
    (BudgetExhaustedError, 429, NO_QUOTA, False),
    (errors.AccountExhaustedError, 429, NO_QUOTA, False),
    (ModelSuspendedError, 503, "model_suspended", False),
    (errors.RateLimitedError, 429, "rate_limit_exceeded", None),
    (errors.ModelUnavailableError, 503, "overloaded", None),
    (errors.OverloadedError, 503, "overloaded", None),
    (errors.CallTimeoutError, 504, "timeout", None),
    (errors.ModelNotFoundError, 404, "model_not_found", None),
    (errors.ContentFilteredError, 400, "content_filter", None),
    # What the plug-in or the model cannot do.
    (errors.ConfigurationError, 400, "not_supported", None),
    (errors.CannotConnectError, 502, "provider_error", None),
    (errors.ProviderError, 502, "provider_error", None),
    # The model's key is wrong, not the client's.
    (errors.NotAuthorizedError, 502, "provider_refused", False),
)


def problem_of(error: errors.LLMError) -> Problem:
    """Say what went wrong with a call."""
    message, wait = str(error), error.retry_after
    if isinstance(error, NotAdmittedError):
        return _not_admitted(error, message, wait or 1.0)
    for kind, status, code, may_retry in _KINDS:
        if isinstance(error, kind):
            return Problem(status, message, code, None, wait, may_retry)
    if isinstance(error, errors.BadRequestError):
        return Problem(_status(error), message, param=error.param)
    return Problem(500, message, error.kind.lower(), may_retry=False)


def handed_on(error: errors.LLMError) -> bytes | None:
    """Return the provider's own answer, if the client is to see it."""
    if error.content is None or error.http_status in _OURS:
        return None
    if isinstance(error, errors.AccountExhaustedError):
        return None
    if error.http_status not in _REFUSALS:
        return None
    try:
        body = from_json(error.content)
    except ValueError:
        return None
    is_vendors = isinstance(body, dict) and isinstance(body.get("error"), dict)
    return error.content if is_vendors else None


def wait_of(error: errors.LLMError) -> float | None:
    """Return after how many seconds the call can be made again.

    None: it was not held back by a limit.
    """
    if isinstance(error, errors.AccountExhaustedError):
        return None
    if isinstance(
        error, errors.RateLimitedError | errors.ModelUnavailableError
    ):
        return 1.0 if error.retry_after is None else error.retry_after
    return None


def _not_admitted(
    error: NotAdmittedError, message: str, wait: float
) -> Problem:
    if error.wait_kind is WaitKind.LIMIT:
        return _limited(message, wait)
    if error.wait_kind is WaitKind.BUDGET:
        is_soon = wait < _LONGEST_RETRY_SECONDS
        return Problem(429, message, NO_QUOTA, None, wait, is_soon)
    return Problem(503, message, "model_suspended", None, wait)


def _limited(message: str, wait: float | None) -> Problem:
    return Problem(429, message, "rate_limit_exceeded", None, wait)


def _status(error: errors.LLMError) -> int:
    status = error.http_status or HTTPStatus.BAD_REQUEST
    return status if status in range(400, 500) else 400
