"""`/runs`: metaprompting loops."""

from collections.abc import Sequence

from fastapi import APIRouter, Response

from api.middleware.callers import AnyCaller, ClientCaller
from api.models.run_models import Run, RunCreate, RunStatus
from api.routers.pages import PageQuery, answer
from api.services.dependencies import Runs

router = APIRouter(prefix="/runs", tags=["runs"])


@router.post("", status_code=201)
async def create_run(
    request: RunCreate, runs: Runs, caller: ClientCaller
) -> Run:
    """Begin a run; a running worker of the client does its jobs."""
    return await runs.create(request, caller)


@router.get("")
async def list_runs(
    runs: Runs,
    caller: AnyCaller,
    page: PageQuery,
    response: Response,
    status: RunStatus | None = None,
) -> Sequence[Run]:
    """List runs in order of their beginning."""
    return answer(await runs.page(caller, status, page), response)


@router.get("/{run_id}")
async def get_run(run_id: str, runs: Runs, caller: AnyCaller) -> Run:
    """Return a run with all its iterations."""
    return await runs.get(run_id, caller)


@router.patch("/{run_id}/pause")
async def pause_run(run_id: str, runs: Runs, caller: AnyCaller) -> Run:
    """Start no further job; the current one may finish."""
    return await runs.pause(run_id, caller)


@router.patch("/{run_id}/resume")
async def resume_run(run_id: str, runs: Runs, caller: AnyCaller) -> Run:
    """Go on with a paused run, or with the step that failed."""
    return await runs.resume(run_id, caller)


@router.patch("/{run_id}/cancel")
async def cancel_run(run_id: str, runs: Runs, caller: AnyCaller) -> Run:
    """End a run for good."""
    return await runs.cancel(run_id, caller)


@router.delete("/{run_id}", status_code=204)
async def delete_run(run_id: str, runs: Runs, caller: AnyCaller) -> None:
    """Delete a run; its jobs and prompts stay."""
    await runs.delete(run_id, caller)
