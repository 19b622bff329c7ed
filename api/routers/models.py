"""`/models`: how to reach the LLMs. Clients may list them."""

from collections.abc import Sequence

from fastapi import APIRouter, Depends, Response

from api.core.problems import overtaken, problems
from api.dependencies.callers import verify_admin_api_key, verify_caller
from api.dependencies.services import ModelHealths, Models, Suspended
from api.models.model_health_models import ModelHealth
from api.models.model_models import (
    Model,
    ModelCreate,
    ModelUpdate,
    ModelWithKey,
)
from api.routers.pages import PageQuery, answer
from api.routers.resource_route import ResourceRoute

router = APIRouter(
    prefix="/models", tags=["models"], route_class=ResourceRoute
)
for_admin = [Depends(verify_admin_api_key)]
_NAME_TAKEN = {400: ["Model with this name already exists"]}
_CHANGED = overtaken("Model")
_OF_A_ROUTE = (
    "The name 'chat' belongs to a route already; models and routes share "
    "their names. Choose another name."
)
_IN_USE = (
    "The route 'chat' has this model as a target. Take it out of the route "
    "first."
)


@router.post(
    "",
    status_code=201,
    dependencies=for_admin,
    responses=problems(_NAME_TAKEN | {409: [_OF_A_ROUTE]}),
)
async def create_model(request: ModelCreate, models: Models) -> ModelWithKey:
    """Create a model; `key` names an environment variable."""
    return await models.create(request)


@router.get("", dependencies=[Depends(verify_caller)])
async def list_models(
    models: Models, page: PageQuery, response: Response
) -> Sequence[Model]:
    """List all models."""
    return answer(await models.page(page), response)


@router.get("/{model_id}", dependencies=for_admin)
async def get_model(model_id: str, models: Models) -> Model:
    """Return one model."""
    return await models.get(model_id)


@router.get("/{model_id}/health", dependencies=for_admin)
async def get_model_health(
    model_id: str, models: Models, health: ModelHealths
) -> ModelHealth:
    """Return how calls to a model succeed, in all processes.

    The data is at most a few seconds old.
    """
    return await health.of(await models.get(model_id))


@router.post("/{model_id}/resume", dependencies=for_admin)
async def resume_model(
    model_id: str, models: Models, suspensions: Suspended
) -> Model:
    """End a model's suspension; its jobs are claimed again at once.

    If the account is still stopped, the next call suspends it anew.
    """
    model = await models.get(model_id)
    await suspensions.resume_now(model.model_id)
    return await models.get(model_id)


@router.patch(
    "/{model_id}",
    dependencies=for_admin,
    responses=problems(_NAME_TAKEN | {409: [_OF_A_ROUTE, *_CHANGED[409]]}),
)
async def update_model(
    model_id: str, request: ModelUpdate, models: Models
) -> Model:
    """Change the given fields; workers use them within seconds."""
    return await models.update(model_id, request)


@router.delete(
    "/{model_id}",
    status_code=204,
    dependencies=for_admin,
    responses=problems({409: [_IN_USE, *_CHANGED[409]]}),
)
async def delete_model(model_id: str, models: Models) -> None:
    """Delete a model; its name can be used again."""
    await models.delete(model_id)
