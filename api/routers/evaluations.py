"""`/evaluations`: prompts and models, measured on a dataset."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.core.problems import overtaken, problems
from api.dependencies.callers import AnyCaller, ClientCaller
from api.dependencies.services import EvaluationEnds, Evaluations
from api.models.evaluation_models import (
    Evaluation,
    EvaluationCreate,
    EvaluationStatus,
    ItemResult,
)
from api.routers.pages import PageQuery, answer
from api.routers.resource_route import ResourceRoute

router = APIRouter(
    prefix="/evaluations", tags=["evaluations"], route_class=ResourceRoute
)
_REFUSED = {
    400: [
        "the model 'gpt-5' was not found",
        "the prompt '665f1c2ab7e4d90012345678' was not found",
        (
            "The metric needs to know what is expected, and 3 of the "
            "dataset's 100 items do not say it"
        ),
    ],
    404: ["Dataset not found"],
}
_CHANGED = overtaken("Evaluation")
_ENDED = {400: ["An evaluation that is COMPLETED cannot be cancelled"]}


@router.post("", status_code=201, responses=problems(_REFUSED))
async def create_evaluation(
    request: EvaluationCreate,
    evaluations: Evaluations,
    caller: ClientCaller,
) -> Evaluation:
    """Score every prompt with every model; it needs a running worker."""
    return await evaluations.create(request, caller)


@router.get("")
async def list_evaluations(
    evaluations: Evaluations,
    caller: AnyCaller,
    page: PageQuery,
    response: Response,
    status: EvaluationStatus | None = None,
    dataset_id: Annotated[str | None, Query(alias="datasetId")] = None,
) -> Sequence[Evaluation]:
    """List evaluations in order of their start."""
    found = await evaluations.page(caller, status, dataset_id, page)
    return answer(found, response)


@router.get("/{evaluation_id}")
async def get_evaluation(
    evaluation_id: str,
    evaluations: Evaluations,
    ends: EvaluationEnds,
    caller: AnyCaller,
    wait: Annotated[
        float,
        Query(
            ge=0,
            le=60,
            description="Seconds; the answer comes when the evaluation has "
            "ended, or after this time.",
        ),
    ] = 0,
) -> Evaluation:
    """Return an evaluation with its progress, and at its end the results."""
    found = await evaluations.get(evaluation_id, caller)
    if wait and found.status is EvaluationStatus.RUNNING:
        await ends.wait_for(evaluation_id, wait)
        found = await evaluations.get(evaluation_id, caller)
    return found


@router.get("/{evaluation_id}/items")
async def list_evaluation_items(
    evaluation_id: str,
    evaluations: Evaluations,
    caller: AnyCaller,
    page: PageQuery,
    response: Response,
    prompt_id: Annotated[str | None, Query(alias="promptId")] = None,
    model: str | None = None,
) -> Sequence[ItemResult]:
    """List the scores of items with one prompt and model, as they are done.

    By default, with the first prompt and the first model.
    """
    evaluation = await evaluations.get(evaluation_id, caller)
    found = await evaluations.items(evaluation, prompt_id, model, page)
    return answer(found, response)


@router.post(
    "/{evaluation_id}/cancel",
    responses=problems(_ENDED | _CHANGED),
)
async def cancel_evaluation(
    evaluation_id: str, evaluations: Evaluations, caller: AnyCaller
) -> Evaluation:
    """End an evaluation; its jobs that wait are cancelled."""
    return await evaluations.cancel(evaluation_id, caller)


@router.delete(
    "/{evaluation_id}", status_code=204, responses=problems(_CHANGED)
)
async def delete_evaluation(
    evaluation_id: str, evaluations: Evaluations, caller: AnyCaller
) -> None:
    """Delete an evaluation and its results; its jobs stay."""
    await evaluations.delete(evaluation_id, caller)
