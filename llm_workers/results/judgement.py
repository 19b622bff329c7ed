"""Stores results so that one that is refused harms only itself.

A server may refuse one result of a bulk: it is too large for a document,
or a rule of the server forbids it. The others are stored; the refused one
ends its job with the reason, and its answer is kept as far as it fits.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

from api.models.metrics import Metrics
from api.services.queue.job_outcomes import Result
from api.services.queue.job_queue import JobQueue
from api.services.queue.job_work import (
    CanceledJob,
    ClaimedJob,
    Failed,
    Outcome,
    Requeued,
    Succeeded,
)
from utilities import payload
from utilities.cosmos_connector import (
    BSONError,
    BulkWriteError,
    DocumentTooLarge,
)
from utilities.payload import PayloadError

# What the driver raises for a document that it will never send.
NOT_STORABLE = (
    DocumentTooLarge,
    BSONError,
    OverflowError,
    PayloadError,
    UnicodeError,
)
REFUSED = "RESULT_NOT_STORABLE"
# Errors of single writes that pass by themselves: the server is busy
# (Cosmos DB: 16500), changes its primary, or writes met.
_PASSING_CODES = frozenset(
    {6, 7, 50, 89, 91, 112, 189, 262, 9001, 10107, 11600, 11602, 13435}
    | {13436, 16500}
)
# How much of an answer is kept, first try first; then half as much.
_FIRST_LENGTH = 8 * 1024 * 1024
_LAST_LENGTH = 1024

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Judged:
    """What happened to some results.

    `taken` were stored, in their own form or as a refusal. `later` failed
    for a temporary reason. `lost` are refused in every form; the caller
    must keep them elsewhere.
    """

    taken: int = 0
    later: tuple[Result, ...] = ()
    lost: tuple[Result, ...] = ()

    def __add__(self, other: "Judged") -> "Judged":
        return Judged(
            self.taken + other.taken,
            self.later + other.later,
            self.lost + other.lost,
        )


async def store_each(
    queue: JobQueue, results: Sequence[Result], *, patient: bool = True
) -> Judged:
    """Store results, each judged by itself.

    Not `patient`: errors that pass are taken as refusals, too.

    Raises:
        StoreError: the database is away; nothing is known of any result.
    """
    if not results:
        return Judged()
    try:
        return Judged(await queue.store(results))
    except BulkWriteError as error:
        return await _after_bulk(queue, results, error, patient=patient)
    except NOT_STORABLE as error:
        if len(results) == 1:
            return await _refuse(queue, results[0], type(error).__name__)
    half = len(results) // 2
    first = await store_each(queue, results[:half], patient=patient)
    rest = await store_each(queue, results[half:], patient=patient)
    return first + rest


async def _after_bulk(
    queue: JobQueue,
    results: Sequence[Result],
    error: BulkWriteError,
    *,
    patient: bool,
) -> Judged:
    problems = error.details.get("writeErrors") or []
    if not problems:
        raise error  # a write concern that was not met: all is repeated
    judged = Judged(error.details.get("nMatched", 0))
    for problem in problems:
        result, code = results[problem["index"]], problem.get("code")
        if patient and code in _PASSING_CODES:
            judged += Judged(later=(result,))
        else:
            judged += await _refuse(queue, result, f"code {code}")
    return judged


async def _refuse(queue: JobQueue, result: Result, why: str) -> Judged:
    """End the job with the reason and as much of its answer as fits."""
    log.error("result_refused", jobId=str(result.job.job_id), reason=why)
    job = _with_spent(result)
    for failed in _smaller_and_smaller(result.outcome, why):
        try:
            return Judged(await queue.store([Result(job, failed)]))
        except BulkWriteError as error:
            if not error.details.get("writeErrors"):
                raise
        except NOT_STORABLE:
            continue
    log.error("result_refused_in_every_form", jobId=str(result.job.job_id))
    return Judged(lost=(result,))


def _with_spent(result: Result) -> ClaimedJob:
    outcome = result.outcome
    if isinstance(outcome, Requeued) and outcome.spent is not None:
        return replace(result.job, spent=outcome.spent)
    return result.job


def _smaller_and_smaller(outcome: Outcome, why: str) -> Iterator[Failed]:
    metrics, answer = _paid(outcome)
    length = min(len(answer), _FIRST_LENGTH)
    while length >= _LAST_LENGTH:
        yield _refusal(why, metrics, answer, length)
        length //= 2
    yield _refusal(why, metrics, answer, min(len(answer), _LAST_LENGTH))
    yield _refusal(why, metrics, "", 0)
    # Perhaps it is the metrics that the server does not take.
    yield _refusal(why, Metrics(), "", 0)


def _paid(outcome: Outcome) -> tuple[Metrics, str]:
    match outcome:
        case Succeeded():
            return outcome.metrics, outcome.response_json
        case CanceledJob():
            return outcome.metrics, ""
        case Failed():
            return outcome.metrics, _kept_answer(outcome)
        case Requeued(checkpoint=Succeeded() as done):
            return done.metrics, done.response_json
    return Metrics(), ""


def _kept_answer(failed: Failed) -> str:
    answer: Any = failed.error.get("failedResponseData", failed.error)
    if isinstance(answer, str):
        return answer
    try:
        return payload.dump(answer)
    except PayloadError:
        return str(answer)


def _refusal(why: str, metrics: Metrics, answer: str, length: int) -> Failed:
    error: dict[str, Any] = {
        "errorType": REFUSED,
        "message": f"The database refused this result ({why}). It may be "
        "larger than the database takes in one document.",
    }
    if length:
        error["failedResponseData"] = payload.printable(answer[:length])
        error["shortened"] = length < len(answer)
    return Failed(error, metrics)
