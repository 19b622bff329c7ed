"""`/workers`: threads that run a client's jobs."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from api.core.problems import overtaken, problems
from api.dependencies.callers import (
    AnyCaller,
    ClientCaller,
    verify_admin_api_key,
)
from api.dependencies.services import Workers
from api.models.worker_models import (
    Worker,
    WorkerBatchCreate,
    WorkerBatchCreated,
    WorkerBatchUpdate,
    WorkerBatchUpdated,
    WorkerCreate,
    WorkerOverview,
    WorkerSummary,
    WorkerUpdate,
)
from api.routers.pages import PageQuery, answer
from api.routers.reference_query import ReferenceQuery
from api.routers.resource_route import ResourceRoute
from api.services.workers.worker_service import WorkerFilter

router = APIRouter(
    prefix="/workers", tags=["workers"], route_class=ResourceRoute
)
_CHANGED = overtaken("Worker")
_RUNS = {
    400: [
        (
            "A running worker cannot be deleted: stop it first with "
            "POST /workers/665f1c2ab7e4d90012345678/stop"
        )
    ]
}
_STARTED = {400: ["The worker is already running"]}
_STOPPED = {400: ["The worker is already stopped"]}


def worker_filter(
    reference: ReferenceQuery,
    model: Annotated[str | None, Query(alias="modelFilter")] = None,
    operation: Annotated[str | None, Query(alias="operationFilter")] = None,
) -> WorkerFilter:
    """Read the query string, with any `clientReference.<field>=<value>`."""
    return WorkerFilter(model, operation, reference)


WorkerQuery = Annotated[WorkerFilter, Depends(worker_filter)]


@router.post("", status_code=201)
async def create_worker(
    request: WorkerCreate, workers: Workers, caller: ClientCaller
) -> Worker:
    """Create a worker for the client's jobs; it is stopped at first."""
    return await workers.create(request, caller)


@router.get("")
async def list_workers(
    workers: Workers, caller: AnyCaller, page: PageQuery, response: Response
) -> Sequence[Worker]:
    """List the caller's workers."""
    return answer(await workers.page(caller, page), response)


@router.post("/batch", status_code=201)
async def create_workers(
    request: WorkerBatchCreate, workers: Workers, caller: ClientCaller
) -> WorkerBatchCreated:
    """Create workers named `{workerIdPrefix}-1`, `-2` and so on."""
    return await workers.create_batch(request, caller)


@router.patch("/batch")
async def update_workers(
    request: WorkerBatchUpdate, workers: Workers, caller: AnyCaller
) -> WorkerBatchUpdated:
    """Start or stop the named workers, or a whole group."""
    return await workers.update_batch(request, caller)


@router.get("/summary")
async def summarize_workers(
    workers: Workers, caller: AnyCaller, wanted: WorkerQuery
) -> WorkerSummary:
    """Count the caller's workers by status, and list their ids.

    Any `clientReference.<field>=<value>` in the query selects the workers
    with that filter.
    """
    return await workers.summary(caller, wanted)


@router.get("/overview", dependencies=[Depends(verify_admin_api_key)])
async def overview_of_workers(workers: Workers) -> WorkerOverview:
    """Count all workers, in total and by client."""
    return await workers.overview()


@router.get("/{worker_id}")
async def get_worker(
    worker_id: str, workers: Workers, caller: AnyCaller
) -> Worker:
    """Return one worker."""
    return await workers.get(worker_id, caller)


@router.patch("/{worker_id}", responses=problems(_CHANGED))
async def update_worker(
    worker_id: str, request: WorkerUpdate, workers: Workers, caller: AnyCaller
) -> Worker:
    """Change the given fields; a running worker uses them at once."""
    return await workers.update(worker_id, request, caller)


@router.delete(
    "/{worker_id}", status_code=204, responses=problems(_RUNS | _CHANGED)
)
async def delete_worker(
    worker_id: str, workers: Workers, caller: AnyCaller
) -> None:
    """Delete a stopped worker."""
    await workers.delete(worker_id, caller)


@router.post("/{worker_id}/start", responses=problems(_STARTED | _CHANGED))
async def start_worker(
    worker_id: str, workers: Workers, caller: AnyCaller
) -> Worker:
    """Start a worker; it then takes its client's jobs."""
    return await workers.start(worker_id, caller)


@router.post("/{worker_id}/stop", responses=problems(_STOPPED | _CHANGED))
async def stop_worker(
    worker_id: str, workers: Workers, caller: AnyCaller
) -> Worker:
    """Stop a worker; jobs that do not finish in time are requeued."""
    return await workers.stop(worker_id, caller)
