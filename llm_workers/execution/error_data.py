"""Describe the failure of a job: its `errorData` and its cost."""

from dataclasses import replace
from typing import Any

from api.core.errors import MetasyncError
from api.models.metrics import Metrics
from api.models.model_models import ModelWithKey
from api.services.calls.model_call import FailedCallError, ModelAnswer
from api.services.jobs.job_templates import (
    TEMPLATE_ERROR,
    TemplateFailedError,
)
from api.services.queue.job_work import ClaimedJob, Failed
from config import MissingModelKeyError
from llm_workers.execution.named_content import (
    CONTENT_CHANGED,
    ContentChangedError,
)
from utilities import payload

# What is kept of an answer that came with an error.
_LONGEST_TEXT = 100_000

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
        case ContentChangedError():
            return CONTENT_CHANGED
        case TemplateFailedError():
            return TEMPLATE_ERROR
        case MetasyncError():
            return "NOT_FOUND"


def error_data(job: ClaimedJob, error: StepError) -> dict[str, Any]:
    """Give the `errorData` of a step that failed."""
    data = _base(job, kind_of(error), str(error))
    if not isinstance(error, FailedCallError):
        return data
    return data | _of_call(
        job,
        error.model,
        httpStatus=error.error.http_status,
        requestId=error.error.request_id,
        failedResponseData=text_of(error) or None,
    )


def text_of(error: StepError) -> str:
    """Return the received part of an unusable answer, if any."""
    if not isinstance(error, FailedCallError):
        return ""
    return error.error.partial_text[:_LONGEST_TEXT]


def cost_of(error: StepError) -> Metrics:
    """Count what a failed call cost, as far as the provider reported it."""
    if not isinstance(error, FailedCallError):
        return Metrics()
    used = error.metrics
    if not used.input_tokens + used.output_tokens:
        return Metrics()
    # As the job's time counts only what has an answer.
    return replace(used, duration=0.0)


def was_paid_for(error: StepError) -> bool:
    """Tell whether a failed call gave an answer that costs money."""
    used = cost_of(error)
    tokens = used.input_tokens + used.output_tokens
    return bool(tokens or text_of(error))


def unusable(
    job: ClaimedJob, answer: ModelAnswer, kind: str, message: str
) -> Failed:
    """Fail with an answer that cannot be used; it was paid for, and kept."""
    completion = answer.completion
    call = _of_call(
        job,
        answer.model,
        failedResponseData=completion.text,
        requestId=completion.request_id,
        finishReason=completion.finish_reason,
    )
    return Failed(_base(job, kind, message) | call, answer.metrics)


def _base(job: ClaimedJob, kind: str, message: str) -> dict[str, Any]:
    return {
        "errorType": kind,
        "message": payload.printable(message),
        "model": job.model,
        "attempt": job.attempts,
    }


def _of_call(
    job: ClaimedJob, model: ModelWithKey, **details: object
) -> dict[str, Any]:
    return {
        "provider": model.sdk,
        "calls": job.failures + 1,
        **{
            name: payload.printable(value) if isinstance(value, str) else value
            for name, value in details.items()
            if value is not None
        },
    }
