"""What happens to a claimed job's document: answered, requeued, freed.

Pure: the queue sends what is made here, as conditional updates.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from api.models import attempt_models
from api.models.attempt_models import AttemptEnd
from api.models.job_status import JobStatus
from api.models.metrics import Metrics
from api.services.queue.job_work import (
    CanceledJob,
    ClaimedJob,
    Failed,
    Outcome,
    Requeued,
    Spent,
    Succeeded,
    UnreadableJobError,
    dump_checkpoint,
    load_checkpoint,
)
from api.services.queue.waiting_jobs import deferred
from utilities import payload
from utilities.clock import to_datetime, to_ms
from utilities.cosmos_connector import Document, Filter

LEASE_EXPIRED = "LEASE_EXPIRED"
UNREADABLE = "UNREADABLE_JOB"
EXPIRED = "EXPIRED"
# What `freed` and `as_seen` need of a document.
LEASE_FIELDS = (
    "clientId",
    "attempts",
    "attemptHistory",
    "leaseToken",
    "leaseExpiresAt",
    "leaseWorker",
    "leaseProcess",
    "spent",
    "checkpoint",
)
_WORTH_AN_ANSWER = [
    JobStatus.PROCESSING,
    JobStatus.PENDING,
    JobStatus.ERROR_PROCESSING,
]
# A job that has been given up is not revived by a try that has nothing.
_MAY_BE_REQUEUED = [JobStatus.PROCESSING, JobStatus.PENDING]
_WHY = {
    AttemptEnd.LEASE_EXPIRED: "the lease expired: the worker did not extend "
    "it",
    AttemptEnd.PROCESS_DIED: "the worker's process died",
}


@dataclass(frozen=True, slots=True)
class Result:
    """A claimed job and its outcome."""

    job: ClaimedJob
    outcome: Outcome


def still_leased(result: Result) -> Filter:
    """Give the condition under which a result is stored.

    The token alone decides: it stays when a lease ends, until somebody
    else claims the job or a person decides about it.
    """
    match result.outcome:
        case Requeued():
            statuses = _MAY_BE_REQUEUED
        case CanceledJob():
            statuses = [JobStatus.CANCELED]
        case _:
            statuses = _WORTH_AN_ANSWER
    return {
        "_id": result.job.job_id,
        "leaseToken": result.job.lease_token,
        "status": {"$in": statuses},
        "_metadata.isDeleted": False,
    }


def changes(result: Result, now: int, max_attempts: int) -> Document:
    """Give the fields that a result sets."""
    match result.outcome:
        case Succeeded() as answer:
            return {
                **_tried(result.job),
                **_succeeded(result.job, answer),
                "finishedAt": now,
            }
        case Failed() as failed:
            ended = _failed(result.job, failed, now, max_attempts)
            return {**ended, "finishedAt": now}
        case Requeued() as back:
            return _requeue(result.job, back, now)
        case CanceledJob() as canceled:
            return {
                **_tried(result.job),
                **_canceled(result.job, canceled),
            }


def as_canceled(result: Result) -> Result:
    """Give what is left of a result when its job has been canceled."""
    job, outcome = result.job, result.outcome
    if not isinstance(outcome, Requeued):
        return Result(job, CanceledJob(outcome.metrics))
    if outcome.spent is not None:
        job = replace(job, spent=outcome.spent)
    paid = outcome.checkpoint
    return Result(job, CanceledJob(paid.metrics if paid else Metrics()))


def as_seen(document: Document) -> Document:
    """Give the condition that a lease has not changed since."""
    return {
        "_id": document["_id"],
        "status": JobStatus.PROCESSING,
        "leaseToken": document.get("leaseToken"),
        "leaseExpiresAt": document.get("leaseExpiresAt"),
    }


def may_be_tried(document: Document, max_attempts: int) -> bool:
    """Tell whether a job of a worker that is gone has attempts left."""
    return _attempts_of(document, max_attempts) < max_attempts


def freed(
    document: Document, kind: AttemptEnd, now: int, max_attempts: int
) -> Document:
    """Give the fields that take a job from a worker that is gone."""
    attempts = _attempts_of(document, max_attempts)
    new = attempt_models.record(
        now,
        attempts,
        kind,
        _WHY[kind],
        workerId=document.get("leaseWorker") or "",
        process=document.get("leaseProcess") or "",
    )
    history = _history_with(document.get("attemptHistory"), new)
    if attempts < max_attempts:
        return {"status": JobStatus.PENDING, "attemptHistory": history}
    paid = _checkpoint_of(document)
    error = _gave_up(max_attempts) | {"attemptHistory": payload.load(history)}
    if paid is not None:
        error["failedResponseData"] = paid.response_json
    return {
        **_ended_with(error),
        "attemptHistory": history,
        "finishedAt": now,
        **_cost_so_far(document, paid),
    }


def expired(document: Document, now: int) -> Document:
    """Give the fields that end a job which has waited too long."""
    paid = _checkpoint_of(document)
    return {
        **_ended_with(expiry_error(document.get("expiresAt"), paid)),
        "finishedAt": now,
        **_cost_so_far(document, paid),
    }


def expiry_error(
    expires_at: int | None, paid: Succeeded | None = None
) -> dict[str, Any]:
    """Say that a job has expired; `paid` is the answer that it has."""
    when = "" if expires_at is None else f", {to_datetime(expires_at)}"
    error: dict[str, Any] = {
        "errorType": EXPIRED,
        "message": f"The job was not started before its expiresAt{when}. Set "
        "it to PENDING to run it without one.",
    }
    if paid is not None:
        error["failedResponseData"] = paid.response_json
    return error


def unreadable(error: Exception, now: int) -> Document:
    """Give the fields that end a job whose document cannot be read."""
    told = {
        "errorType": UNREADABLE,
        "message": f"The stored job cannot be read: {error}. Submit it anew.",
    }
    return {**_ended_with(told), "finishedAt": now}


def _ended_with(error: Mapping[str, Any]) -> Document:
    return {
        "status": JobStatus.ERROR_PROCESSING,
        "errorData": payload.dump(error),
        # What jobs are found by.
        "errorType": str(error.get("errorType") or ""),
    }


def _checkpoint_of(document: Document) -> Succeeded | None:
    with suppress(UnreadableJobError):
        return load_checkpoint(document.get("checkpoint"))
    return None


def _spent_of(document: Document) -> Metrics:
    with suppress(UnreadableJobError):
        return Spent.load(document.get("spent")).metrics
    return Metrics()


def _cost_so_far(document: Document, paid: Succeeded | None) -> Document:
    """Give the fields for what a job that is given up has cost."""
    total = _spent_of(document)
    if paid is not None:
        total += paid.metrics
    if total == Metrics():
        return {}
    return {
        "processingMetrics": total.to_document(),
        "spent": Spent(total).dump(),
        "checkpoint": None,
    }


def _gave_up(max_attempts: int) -> dict[str, Any]:
    return {
        "errorType": LEASE_EXPIRED,
        "message": "The workers that took this job stopped without an "
        f"answer; the last of {max_attempts} attempts ended so (crashed, or "
        "lost the database for longer than a lease). Set it to PENDING to "
        "try again.",
    }


def _succeeded(job: ClaimedJob, answer: Succeeded) -> Document:
    total = _total(job, answer.metrics)
    changes: Document = {
        "status": JobStatus.PROCESSED,
        "responseData": answer.response_json,
        "processingMetrics": total.to_document(),
        "errorData": None,
        "errorType": None,
        "checkpoint": None,
        # Set to PENDING, the job goes on counting from here.
        "spent": Spent(total).dump(),
    }
    if answer.answered_by is not None:
        changes["answeredBy"] = answer.answered_by
    if answer.cached_from is not None:
        changes["cachedFrom"] = answer.cached_from
    if answer.is_other_work or answer.cached_from is not None:
        changes["answerKey"] = None
    if answer.logprobs_json is not None:
        changes["responseLogprobs"] = answer.logprobs_json
    if answer.step_error is not None:
        changes["stepError"] = answer.step_error
    if answer.eval_json is not None:
        changes["evalResult"] = answer.eval_json
    if answer.suggested_prompt_id is not None:
        changes["suggestedPromptId"] = answer.suggested_prompt_id
    return changes


def _failed(
    job: ClaimedJob, failed: Failed, now: int, max_attempts: int
) -> Document:
    error = dict(failed.error)
    total = _total(job, failed.metrics)
    cost: Document = {
        "processingMetrics": total.to_document(),
        "checkpoint": None,
        # As above.
        "spent": Spent(total).dump(),
    }
    if not failed.counted:
        return {
            **_ended_with(error),
            **cost,
            "attempts": job.attempts - 1,
        }
    if failed.unusable is not None:
        cost["unusableAnswers"] = failed.unusable
    said = f"{error.get('errorType')}: {error.get('message')}"
    history = _lengthened(job, AttemptEnd.FAILED, said, now)
    if job.attempts >= max_attempts:
        error["attemptHistory"] = payload.load(history)
    return {**_ended_with(error), **cost, "attemptHistory": history}


def _requeue(job: ClaimedJob, back: Requeued, now: int) -> Document:
    failures = job.failures if back.failures is None else back.failures
    changes: Document = {
        "status": JobStatus.PENDING,
        **deferred(back.available_at, now),
        # What a person reads; claims go by the availability alone.
        "waitsFor": back.waits_for,
        "attempts": job.attempts - (0 if back.counted else 1),
        "failures": failures,
    }
    if back.reason:
        changes["attemptHistory"] = _lengthened(
            job, AttemptEnd.REQUEUED, back.reason, now
        )
    if back.checkpoint is not None:
        # Without a new one, what an earlier try has paid for still stands.
        changes["checkpoint"] = dump_checkpoint(back.checkpoint)
    if back.spent is not None:
        changes["spent"] = back.spent
    if back.unusable is not None:
        changes["unusableAnswers"] = back.unusable
    return changes


def _canceled(job: ClaimedJob, canceled: CanceledJob) -> Document:
    total = _total(job, canceled.metrics)
    if total == Metrics():
        return {}
    return {
        "processingMetrics": total.to_document(),
        "spent": Spent(total).dump(),
        "checkpoint": None,
    }


def _total(job: ClaimedJob, metrics: Metrics) -> Metrics:
    """Add what earlier tries have cost."""
    if job.spent is None:
        return metrics
    return Spent.load(job.spent).metrics + metrics


def _attempts_of(document: Document, max_attempts: int) -> int:
    # One broken document must not keep all others from being returned.
    attempts = document.get("attempts")
    return attempts if isinstance(attempts, int) else max_attempts


def _history_with(history: object, new: dict[str, Any]) -> str:
    try:
        return attempt_models.lengthened(
            history if isinstance(history, str) else None, new
        )
    except (ValueError, KeyError, TypeError):
        return attempt_models.lengthened(None, new)


def _lengthened(
    job: ClaimedJob, kind: AttemptEnd, reason: str, now: int
) -> str:
    new = attempt_models.record(now, job.attempts, kind, reason, **_who(job))
    return _history_with(_history(job), new)


def _tried(job: ClaimedJob) -> Document:
    """Give the history of a job with the targets that were tried."""
    return {"attemptHistory": _history(job)} if job.tries else {}


def _history(job: ClaimedJob) -> str | None:
    history = job.history
    for each in job.tries.made:
        new = attempt_models.record(
            to_ms(each.at),
            job.attempts,
            AttemptEnd.TARGET_FAILED,
            f"{each.error_type}: {each.message}",
            **_who(job),
            model=each.model,
        )
        history = _history_with(history, new)
    return history


def _who(job: ClaimedJob) -> dict[str, str]:
    return {"workerId": job.worker_id, "process": job.process_id}
