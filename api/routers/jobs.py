"""`/jobs`: LLM work, one by one or in batches."""

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Response
from pydantic_core import to_json

from api.core.problems import overtaken, problems
from api.dependencies.callers import AnyCaller, ClientCaller
from api.dependencies.services import (
    Bulk,
    Canceling,
    Ends,
    Failures,
    Gathering,
    Jobs,
    Waiting,
)
from api.models.answer_models import AnswersFound, AnswersWanted
from api.models.error_count_models import ErrorCount
from api.models.job_bulk_models import JobBulkChange, JobBulkResult
from api.models.job_models import Job, JobBatchCreate, JobCreate, JobSummary
from api.models.job_status import JobStatus, has_ended
from api.models.job_update_models import (
    JobBatchDelete,
    JobBatchUpdate,
    JobStatusUpdate,
    JobUpdate,
)
from api.models.job_wait_models import JobsEnded, JobsWait
from api.routers.pages import PageQuery, answer, long_list, written
from api.routers.reference_query import ReferenceQuery
from api.routers.resource_route import ResourceRoute
from api.services.jobs.answer_rows import body_of
from api.services.jobs.job_filter import JobFilter
from api.services.jobs.job_view import JobView
from api.services.shared.audit_trail import note_ids
from api.services.shared.date_range import read_range

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=ResourceRoute)
_UNKNOWN = [
    "the model 'gpt-5' was not found",
    "the prompt '665f1c2ab7e4d90012345678' was not found",
]
_KEY_SPENT = [
    (
        "The job that was made with this Idempotency-Key has been deleted; "
        "use a new key"
    )
]
_CHANGED = overtaken("Job")
_NO_TRANSITION = (
    "The transition from PENDING to CONSUMED is not allowed; from PENDING "
    "can come: CANCELED"
)
_NOT_CANCELED = (
    "The transition from PROCESSED to CANCELED is not made by canceling; "
    "only PENDING and PROCESSING jobs are canceled"
)
_BAD_DATE = [
    (
        "from must be an ISO 8601 date or time, such as 2026-01-31 or "
        "2026-01-31T12:00:00Z"
    )
]
_BAD_STATUS = [
    "filter.status: PROCESSED is not possible here, only ERROR_PROCESSING",
    *_BAD_DATE,
]
_FROM = "Jobs that were submitted at this time or later; ISO 8601."
_TO = "Jobs that were submitted at this time, on this day, or before."
_OF_CLIENT = "For the administrator: of which client."
_NOT_IN_BATCH = "Job not found: batch item 0, 665f1c2ab7e4d90012345678"
_BAD_ITEM = [
    "batch item 7: the model 'gpt-5' was not found",
    (
        "batch item 7: temperature: Input should be less than or equal to 1; "
        "nothing was stored"
    ),
]


class JobOrder(StrEnum):
    """How lists of jobs can be sorted."""

    OLDEST_FIRST = "createdAt"
    NEWEST_FIRST = "-createdAt"


ShownFields = Annotated[
    str | None,
    Query(
        description="The fields to be shown, with commas between them; "
        "`jobId` always is.",
        examples=["status,errorData"],
    ),
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=256,
        description="A repeated request with the same key returns the jobs "
        "of the first one. The same key with another request is a 422.",
    ),
]


def job_filter(
    reference: ReferenceQuery,
    *,
    job_id: Annotated[str | None, Query(alias="jobId")] = None,
    own_id: Annotated[
        str | None, Query(alias="id", description="The client's own id.")
    ] = None,
    status: JobStatus | None = None,
    operation: str | None = None,
    model: str | None = None,
    priority: Annotated[int | None, Query(ge=1, le=1000)] = None,
    error_type: Annotated[str | None, Query(alias="errorType")] = None,
    batch_key: Annotated[str | None, Query(alias="batchKey")] = None,
    start: Annotated[
        str | None, Query(alias="from", description=_FROM)
    ] = None,
    end: Annotated[str | None, Query(alias="to", description=_TO)] = None,
    client_id: Annotated[
        str | None, Query(alias="clientId", description=_OF_CLIENT)
    ] = None,
) -> JobFilter:
    """Read the query string, with any `clientReference.<field>=<value>`.

    Raises:
        RuleError: `from` or `to` is no time.
    """
    return JobFilter(
        job_id,
        own_id,
        status,
        operation,
        model,
        priority,
        reference,
        error_type,
        batch_key,
        read_range(start, end),
        client_id,
    )


def job_view(
    fields: ShownFields = None,
    sort: Annotated[
        JobOrder,
        Query(description="`-createdAt`: the newest job comes first."),
    ] = JobOrder.OLDEST_FIRST,
) -> JobView:
    """Read the query string.

    Raises:
        InvalidRequestError: a job has no such field.
    """
    return JobView.of_text(fields, newest_first=sort is JobOrder.NEWEST_FIRST)


JobQuery = Annotated[JobFilter, Depends(job_filter)]
ViewQuery = Annotated[JobView, Depends(job_view)]


@router.post(
    "",
    status_code=201,
    responses=problems({400: _UNKNOWN, 409: _KEY_SPENT}),
)
async def create_job(
    request: JobCreate,
    jobs: Jobs,
    caller: ClientCaller,
    idempotency_key: IdempotencyKey = None,
) -> Job:
    """Queue a job; an idle worker starts it at once."""
    made = await jobs.create(request, caller, idempotency_key)
    note_ids("Job", [made.job_id], 1)
    return made


@router.get(
    "", response_model=Sequence[Job], responses=problems({400: _BAD_DATE})
)
async def list_jobs(
    jobs: Jobs,
    waiting: Waiting,
    caller: AnyCaller,
    wanted: JobQuery,
    page: PageQuery,
    view: ViewQuery,
    response: Response,
) -> Sequence[Job] | Response:
    """List jobs in order of arrival.

    Any `clientReference.<field>=<value>` in the query narrows the list.
    """
    found = await jobs.page(caller, wanted, page, view)
    if view.tells_why_jobs_wait:
        items = await waiting.explain_all(found.items)
        found = replace(found, items=items)
    if view.shown is None:
        return answer(found, response)
    listed = await long_list(found.items, shown=view.shown)
    answer(found, listed)
    return listed


@router.get("/summary", responses=problems({400: _BAD_DATE}))
async def summarize_jobs(
    jobs: Jobs, caller: AnyCaller, wanted: JobQuery
) -> JobSummary:
    """Count jobs by status, and sum their tokens, seconds and cost.

    Sums are over PROCESSED and CONSUMED. Any
    `clientReference.<field>=<value>` in the query narrows both.
    """
    return await jobs.summary(caller, wanted)


@router.get("/errors", responses=problems({400: _BAD_DATE}))
async def count_errors(
    failures: Failures, caller: AnyCaller, wanted: JobQuery
) -> Sequence[ErrorCount]:
    """Count the jobs in ERROR_PROCESSING by the type of their error.

    The most frequent error comes first. `POST /jobs/retry` with its
    `errorType` retries the jobs of one.
    """
    return await failures.count(caller, wanted)


@router.post(
    "/batch",
    status_code=201,
    response_model=Sequence[Job],
    responses=problems({400: _BAD_ITEM, 409: _KEY_SPENT}),
)
async def create_jobs(
    request: JobBatchCreate,
    jobs: Jobs,
    caller: ClientCaller,
    idempotency_key: IdempotencyKey = None,
    fields: ShownFields = None,
) -> Response:
    """Queue many jobs, or none if one of them is invalid."""
    view = JobView.of_text(fields)
    made = await jobs.create_batch(request.jobs, caller, idempotency_key, view)
    note_ids("Job", (job.job_id for job in made), len(made))
    return await long_list(made, 201, view.shown)


@router.post(
    "/answers",
    response_model=AnswersFound,
    responses=problems({400: _UNKNOWN}),
)
async def find_answers(
    request: AnswersWanted, jobs: Jobs, caller: ClientCaller
) -> Response:
    """Answer up to 1,000 questions, as far as they are known.

    No job is made, no call either. What is taken is counted in `GET /usage`.
    """
    found = await jobs.answers.find(request, caller)
    return Response(body_of(found), media_type="application/json")


@router.patch(
    "/batch",
    response_model=Sequence[Job],
    responses=problems(
        {400: [_NOT_IN_BATCH, _NO_TRANSITION, *_UNKNOWN]} | _CHANGED
    ),
)
async def update_jobs(
    request: JobBatchUpdate,
    jobs: Jobs,
    caller: AnyCaller,
    fields: ShownFields = None,
) -> Response:
    """Change many jobs, or none if one of the changes is invalid."""
    view = JobView.of_text(fields)
    changed = await jobs.update_batch(request.jobs, caller, view)
    return await long_list(changed, shown=view.shown)


@router.delete(
    "/batch", status_code=204, responses=problems({400: [_NOT_IN_BATCH]})
)
async def delete_jobs(
    request: JobBatchDelete, jobs: Jobs, caller: AnyCaller
) -> None:
    """Delete many jobs, or none if an id is unknown."""
    await jobs.delete_batch(request.job_ids, caller)
    note_ids("Job", request.job_ids, len(request.job_ids))


@router.post("/cancel", responses=problems({400: _BAD_STATUS}))
async def cancel_jobs(
    request: JobBulkChange, bulk: Bulk, caller: AnyCaller
) -> JobBulkResult:
    """Cancel all jobs of a filter that wait or run.

    If fewer were changed than matched, the same request goes on.
    """
    return await bulk.cancel(request, caller)


@router.post("/retry", responses=problems({400: _BAD_STATUS}))
async def retry_jobs(
    request: JobBulkChange, bulk: Bulk, caller: AnyCaller
) -> JobBulkResult:
    """Set all jobs of a filter that have failed to PENDING.

    If fewer were changed than matched, the same request goes on.
    """
    return await bulk.retry(request, caller)


@router.post("/wait", response_model=JobsEnded)
async def wait_for_jobs(
    request: JobsWait, gathering: Gathering, caller: AnyCaller
) -> Response:
    """Return which of some jobs have ended, once there is one.

    Nothing is changed. To wait for all, send those that are left again.
    """
    view = JobView.of_names(request.fields, ("body", "fields"))
    found = await gathering.gather(request.job_ids, caller, view, request.wait)
    rest = {"unknown": list(found.unknown), "waiting": found.waiting}
    body = b'{"jobs":%s,%s' % (
        await written(found.jobs, view.shown),
        to_json(rest)[1:],
    )
    return Response(body, media_type="application/json")


@router.get("/{job_id}")
async def get_job(
    job_id: str,
    jobs: Jobs,
    waiting: Waiting,
    ends: Ends,
    caller: AnyCaller,
    wait: Annotated[
        float,
        Query(
            ge=0,
            le=60,
            description="Seconds; the answer comes when the job has ended, "
            "or after this time.",
        ),
    ] = 0,
) -> Job:
    """Return one job; for a PENDING job, `waitingFor` says why it waits."""
    job = await jobs.get(job_id, caller)
    if wait and not has_ended(job.status):
        await ends.wait(job, wait)
        job = await jobs.get(job_id, caller)
    return await waiting.explain(job)


@router.post(
    "/{job_id}/cancel",
    responses=problems({400: [_NOT_CANCELED]} | _CHANGED),
)
async def cancel_job(
    job_id: str, canceling: Canceling, caller: AnyCaller
) -> Job:
    """Cancel a job that waits or runs; its running call is stopped."""
    return await canceling.cancel(job_id, caller)


@router.patch(
    "/{job_id}", responses=problems({400: [_NO_TRANSITION]} | _CHANGED)
)
async def update_job_status(
    job_id: str, request: JobStatusUpdate, jobs: Jobs, caller: AnyCaller
) -> Job:
    """Set the status, if the transition is allowed."""
    change = JobUpdate(status=request.status)
    return await jobs.update(job_id, change, caller)


@router.patch(
    "/{job_id}/full",
    responses=problems({400: [_NO_TRANSITION, *_UNKNOWN]} | _CHANGED),
)
async def update_job(
    job_id: str, request: JobUpdate, jobs: Jobs, caller: AnyCaller
) -> Job:
    """Change any field."""
    return await jobs.update(job_id, request, caller)


@router.delete("/{job_id}", status_code=204, responses=problems(_CHANGED))
async def delete_job(job_id: str, jobs: Jobs, caller: AnyCaller) -> None:
    """Delete a job; if it is running, its answer is dropped."""
    await jobs.delete(job_id, caller)
