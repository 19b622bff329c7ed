"""`/routes`: one name for several models. Clients may list them."""

from collections.abc import Sequence

from fastapi import APIRouter, Depends, Response

from api.core.problems import overtaken, problems
from api.dependencies.callers import verify_admin_api_key, verify_caller
from api.dependencies.services import Routes
from api.models.route_models import Route, RouteCreate, RouteUpdate
from api.routers.pages import PageQuery, answer
from api.routers.resource_route import ResourceRoute

router = APIRouter(
    prefix="/routes", tags=["routes"], route_class=ResourceRoute
)
for_admin = [Depends(verify_admin_api_key)]
_REFUSED = {
    400: [
        "Route with this name already exists",
        "the model 'gpt-4' was not found",
    ]
}
_NAME_TAKEN = (
    "The name 'chat' belongs to a model already; models and routes share "
    "their names. Choose another name."
)
_TAKEN = {409: [_NAME_TAKEN]}
_CHANGED = overtaken("Route")


@router.post(
    "",
    status_code=201,
    dependencies=for_admin,
    responses=problems(_REFUSED | _TAKEN),
)
async def create_route(request: RouteCreate, routes: Routes) -> Route:
    """Create a route; jobs and calls name it in place of a model."""
    return await routes.create(request)


@router.get("", dependencies=[Depends(verify_caller)])
async def list_routes(
    routes: Routes, page: PageQuery, response: Response
) -> Sequence[Route]:
    """List all routes."""
    return answer(await routes.page(page), response)


@router.get("/{route_id}", dependencies=for_admin)
async def get_route(route_id: str, routes: Routes) -> Route:
    """Return one route."""
    return await routes.get(route_id)


@router.patch(
    "/{route_id}",
    dependencies=for_admin,
    responses=problems(
        _REFUSED | {409: [_NAME_TAKEN, *_CHANGED[409]]},
    ),
)
async def update_route(
    route_id: str, request: RouteUpdate, routes: Routes
) -> Route:
    """Change the given fields; workers use them within seconds."""
    return await routes.update(route_id, request)


@router.delete(
    "/{route_id}",
    status_code=204,
    dependencies=for_admin,
    responses=problems(_CHANGED),
)
async def delete_route(route_id: str, routes: Routes) -> None:
    """Delete a route; its name can be used again."""
    await routes.delete(route_id)
