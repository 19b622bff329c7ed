"""The lines of a batch's results, as its vendor writes them."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic_core import to_json

from api.core.dialects import ANTHROPIC, OPENAI, Dialect, Problem
from api.models.batch_models import Vendor
from api.models.job_status import JobStatus
from utilities import payload

EXPIRED = "EXPIRED"
# The part of a job's `errorData` that has what its client would have been
# answered: `status` and `body`.
RESPONSE = "response"
_ANSWERED = frozenset(
    {JobStatus.PROCESSED, JobStatus.CONSUMED, JobStatus.ERROR_CONSUMING}
)
_OK = 200
_SERVER_ERROR = 500
_EXPIRED = (
    "batch_expired",
    "This request could not be executed before the completion window expired.",
)
_CANCELED = (
    "batch_cancelled",
    "This request was cancelled before it was answered.",
)
_GONE = Problem(
    500, "The request was deleted, or could not be stored, before it was run"
)


class Ending(StrEnum):
    """How a line has ended."""

    SUCCEEDED = "succeeded"
    ERRORED = "errored"
    CANCELED = "canceled"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class LineResult:
    """What became of a line; `content` has no newline."""

    ending: Ending
    content: bytes


def line_result(
    vendor: Vendor,
    job_id: str,
    custom_id: str,
    job: Mapping[str, Any] | None,
    *,
    is_cancelled: bool,
) -> LineResult:
    """Write the result of a line from its job.

    `is_cancelled` says that the batch was; then a job that is not there
    was never made.
    """
    ending = _ending(job, is_cancelled=is_cancelled)
    write = _openai if vendor is Vendor.OPENAI else _anthropic
    name = to_json(custom_id)
    return LineResult(ending, write(ending, job_id, name, job))


def _ending(job: Mapping[str, Any] | None, *, is_cancelled: bool) -> Ending:
    if job is None or job["_metadata"].get("isDeleted"):
        return Ending.CANCELED if is_cancelled else Ending.ERRORED
    status = JobStatus(job["status"])
    if status in _ANSWERED:
        return Ending.SUCCEEDED
    if status is JobStatus.CANCELED:
        return Ending.CANCELED
    is_expired = job.get("errorType") == EXPIRED
    return Ending.EXPIRED if is_expired else Ending.ERRORED


def _openai(
    ending: Ending, job_id: str, name: bytes, job: Mapping[str, Any] | None
) -> bytes:
    response, error = b"null", b"null"
    if ending is Ending.SUCCEEDED and job is not None:
        body = job["responseData"].encode()
        response = _response(_OK, job_id, body)
    elif ending is Ending.ERRORED:
        status, found = _failure(job, OPENAI)
        response = _response(status, job_id, to_json(found))
    else:
        code, words = _EXPIRED if ending is Ending.EXPIRED else _CANCELED
        error = to_json({"code": code, "message": words})
    return b'{"id":"batch_req_%s","custom_id":%s,"response":%s,"error":%s}' % (
        job_id.encode(),
        name,
        response,
        error,
    )


def _response(status: int, job_id: str, body: bytes) -> bytes:
    return b'{"status_code":%d,"request_id":"req_%s","body":%s}' % (
        status,
        job_id.encode(),
        body,
    )


def _anthropic(
    ending: Ending, job_id: str, name: bytes, job: Mapping[str, Any] | None
) -> bytes:
    del job_id
    rest = b""
    if ending is Ending.SUCCEEDED and job is not None:
        rest = b',"message":' + job["responseData"].encode()
    elif ending is Ending.ERRORED:
        rest = b',"error":' + to_json(_failure(job, ANTHROPIC)[1])
    return b'{"custom_id":%s,"result":{"type":"%s"%s}}' % (
        name,
        ending.encode(),
        rest,
    )


def _failure(
    job: Mapping[str, Any] | None, dialect: Dialect
) -> tuple[int, object]:
    """Return the status and the body that a failed line would have got."""
    if job is None or job["_metadata"].get("isDeleted"):
        return _GONE.status, dialect.body(_GONE, "")
    data = payload.load(job.get("errorData") or "{}")
    response = data.get(RESPONSE) if isinstance(data, dict) else None
    if isinstance(response, dict):
        return int(response.get("status") or _SERVER_ERROR), response["body"]
    kind = str(job.get("errorType") or "").lower() or None
    message = str(data.get("message") or "The request failed")
    problem = Problem(_SERVER_ERROR, message, kind)
    return problem.status, dialect.body(problem, "")
