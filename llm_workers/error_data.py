"""What a failed job says of its failure: its `errorData`."""

from typing import Any

from api.core.errors import MetasyncError
from api.models.job_work import ClaimedJob, Failed
from api.models.model_models import ModelWithKey
from config import MissingModelKeyError
from llm_workers.llm_caller import Answer, FailedCallError
from utilities import payload

StepError = FailedCallError | MissingModelKeyError | MetasyncError


def said(error: Exception) -> str:
    """Give an error's message as text that can be stored."""
    return payload.printable(str(error))


def kind_of(error: StepError) -> str:
    """Name the error: its `errorType`."""
    match error:
        case FailedCallError():
            return error.error.kind
        case MissingModelKeyError():
            return error.kind
        case MetasyncError():
            return "NOT_FOUND"


def error_data(job: ClaimedJob, error: StepError) -> dict[str, Any]:
    """Give the `errorData` of a step that failed."""
    data = {
        "errorType": kind_of(error),
        "message": said(error),
        "model": job.model,
        "attempt": job.attempts,
    }
    if not isinstance(error, FailedCallError):
        return data
    return data | _of_call(
        error.model,
        calls=job.failures + 1,
        httpStatus=error.error.http_status,
        requestId=error.error.request_id,
    )


def useless(
    job: ClaimedJob, answer: Answer, kind: str, message: str
) -> Failed:
    """Fail with an answer that cannot be used; it was paid for, and kept."""
    completion = answer.completion
    error = {
        "errorType": kind,
        "message": payload.printable(message),
        "model": job.model,
        "attempt": job.attempts,
        "failedResponseData": payload.printable(completion.text),
        **_of_call(
            answer.model,
            calls=job.failures + 1,
            requestId=completion.request_id,
            finishReason=completion.finish_reason,
        ),
    }
    return Failed(error, answer.metrics)


def _of_call(model: ModelWithKey, **details: object) -> dict[str, Any]:
    return {
        "provider": model.sdk,
        **{
            name: payload.printable(value) if isinstance(value, str) else value
            for name, value in details.items()
            if value is not None
        },
    }
