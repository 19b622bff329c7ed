"""`/runs`: metaprompting loops."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Body, Response
from fastapi.openapi.models import Example
from fastapi.responses import HTMLResponse

from api.core.problems import overtaken, problems
from api.dependencies.callers import AnyCaller, ClientCaller
from api.dependencies.reports import Reports
from api.dependencies.services import Runs
from api.models.base import example_of
from api.models.optimization_models import DatasetRunCreate, RunCandidate
from api.models.run_models import AnyRunCreate, Run, RunCreate, RunStatus
from api.routers.pages import PageQuery, answer
from api.routers.resource_route import ResourceRoute

router = APIRouter(prefix="/runs", tags=["runs"], route_class=ResourceRoute)
_UNKNOWN = {
    400: [
        "the model 'gpt-5' was not found",
        "the prompt '665f1c2ab7e4d90012345678' was not found",
    ]
}
_NO_WAY = {
    400: [
        "A run that is COMPLETED cannot be paused; it must be one of: RUNNING"
    ],
    409: ["The run was changed at the same time; try again"],
}
_EXAMPLES: dict[str, Example] = {
    "one input": {"value": example_of(RunCreate)},
    "a dataset": {"value": example_of(DatasetRunCreate)},
}
_NOT_ENDED = {
    400: ["Only a run on a dataset that is COMPLETED can be published"]
}
_CHANGED = overtaken("Run")
_PAGE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@router.post("", status_code=201, responses=problems(_UNKNOWN))
async def create_run(
    request: Annotated[AnyRunCreate, Body(openapi_examples=_EXAMPLES)],
    runs: Runs,
    caller: ClientCaller,
) -> Run:
    """Start a run; it needs a running worker of the client.

    With a `datasetId`, prompts are measured on its items; without one, each
    iteration is one job with the same input.
    """
    if isinstance(request, DatasetRunCreate):
        return await runs.create_on_dataset(request, caller)
    return await runs.create(request, caller)


@router.get("")
async def list_runs(
    runs: Runs,
    caller: AnyCaller,
    page: PageQuery,
    response: Response,
    status: RunStatus | None = None,
) -> Sequence[Run]:
    """List runs in order of their start."""
    return answer(await runs.page(caller, status, page), response)


@router.get("/{run_id}")
async def get_run(run_id: str, runs: Runs, caller: AnyCaller) -> Run:
    """Return a run with all its iterations."""
    return await runs.get(run_id, caller)


@router.get("/{run_id}/candidates")
async def list_candidates(
    run_id: str,
    runs: Runs,
    caller: AnyCaller,
    page: PageQuery,
    response: Response,
) -> Sequence[RunCandidate]:
    """List the prompts that a run on a dataset has tried, in order."""
    return answer(await runs.candidates(run_id, caller, page), response)


@router.get("/{run_id}/report", response_class=HTMLResponse)
async def get_run_report(
    run_id: str, reports: Reports, caller: AnyCaller
) -> HTMLResponse:
    """Return a page for reading: what the run has found, as of now.

    One file of HTML that loads nothing else and runs no script: it can be
    kept, sent and printed.
    """
    page = await reports.page(run_id, caller)
    headers = {"Content-Security-Policy": page.policy, **_PAGE_HEADERS}
    return HTMLResponse(page.html, headers=headers)


@router.post("/{run_id}/publish", responses=problems(_NOT_ENDED))
async def publish_run(run_id: str, runs: Runs, caller: AnyCaller) -> Run:
    """Make the best prompts of a run on a dataset PUBLISHED."""
    return await runs.publish(run_id, caller)


@router.patch("/{run_id}/pause", responses=problems(_NO_WAY))
async def pause_run(run_id: str, runs: Runs, caller: AnyCaller) -> Run:
    """Pause a run: its current job may finish, no new one starts."""
    return await runs.pause(run_id, caller)


@router.patch("/{run_id}/resume", responses=problems(_NO_WAY))
async def resume_run(run_id: str, runs: Runs, caller: AnyCaller) -> Run:
    """Continue a paused run, or repeat the step that failed."""
    return await runs.resume(run_id, caller)


@router.patch("/{run_id}/cancel", responses=problems(_NO_WAY))
async def cancel_run(run_id: str, runs: Runs, caller: AnyCaller) -> Run:
    """Cancel a run; it cannot be resumed."""
    return await runs.cancel(run_id, caller)


@router.delete("/{run_id}", status_code=204, responses=problems(_CHANGED))
async def delete_run(run_id: str, runs: Runs, caller: AnyCaller) -> None:
    """Delete a run; its jobs and prompts stay."""
    await runs.delete(run_id, caller)
