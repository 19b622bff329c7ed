"""An account that only people can open again: what it looks like.

No credit, a day's quota, a refused key, a model that is gone: every further
call fails in the same way. So the model is suspended, in all processes.
"""

from http import HTTPStatus
from typing import ClassVar

from api.models.suspension_models import SuspendReason
from llm_sdks import errors

_LONGEST_SECONDS = 86_400.0
_REMEDY = {
    SuspendReason.NO_CREDIT: "Add credit to the provider's account",
    SuspendReason.QUOTA_EXHAUSTED: "Raise the provider's quota, or wait "
    "until it is reset",
    SuspendReason.KEY_REFUSED: "Set the model's key to one that the provider "
    "accepts",
    SuspendReason.MODEL_NOT_FOUND: "Set the model's name, deployment or "
    "endpoint to one that the provider has",
}


class ModelSuspendedError(errors.LLMError):
    """No call was made, and the model's jobs are not to wait."""

    kind: ClassVar[str] = "MODEL_SUSPENDED"


def reason_of(error: BaseException | None) -> SuspendReason | None:
    """Tell why a call's error suspends its model; None if it does not."""
    match error:
        case errors.QuotaExhaustedError():
            return SuspendReason.QUOTA_EXHAUSTED
        case errors.AccountExhaustedError():
            return SuspendReason.NO_CREDIT
        case errors.ModelNotFoundError():
            return SuspendReason.MODEL_NOT_FOUND
        case errors.NotAuthorizedError():
            # A permission that is missing may concern this request only.
            forbidden = error.http_status == HTTPStatus.FORBIDDEN
            return None if forbidden else SuspendReason.KEY_REFUSED
    return None


def remedy_of(reason: SuspendReason) -> str:
    """Say what people can do about it."""
    return _REMEDY[reason]


def trial_wait(error: errors.LLMError, usual: float) -> float:
    """Return the seconds until the next trial call.

    `usual`, or until the reset that the provider names.
    """
    return min(max(error.retry_after or 0.0, usual), _LONGEST_SECONDS)
