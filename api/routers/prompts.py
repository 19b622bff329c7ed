"""`/prompts`: a client's own; public ones by the administrator."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from api.core.problems import overtaken, problems
from api.dependencies.callers import AnyCaller
from api.dependencies.services import Prompts
from api.models.prompt_models import (
    Prompt,
    PromptCreate,
    PromptStatus,
    PromptUpdate,
)
from api.routers.pages import PageQuery, answer
from api.routers.resource_route import ResourceRoute
from api.services.prompts.prompt_service import PromptFilter

router = APIRouter(
    prefix="/prompts", tags=["prompts"], route_class=ResourceRoute
)
_VERSION_TAKEN = {400: ["Prompt with this name already exists"]}
_NOT_PUBLIC = {403: ["Admin API key is required to create a public prompt"]}
_NOT_YOURS = {403: ["Admin API key is required to change a public prompt"]}
_CHANGED = overtaken("Prompt")


def prompt_filter(
    name: str | None = None,
    prompt_type: Annotated[str | None, Query(alias="type")] = None,
    status: PromptStatus | None = None,
    version: str | None = None,
) -> PromptFilter:
    """Read the query string."""
    return PromptFilter(name, prompt_type, status, version)


PromptQuery = Annotated[PromptFilter, Depends(prompt_filter)]


@router.post(
    "", status_code=201, responses=problems(_VERSION_TAKEN | _NOT_PUBLIC)
)
async def create_prompt(
    request: PromptCreate, prompts: Prompts, caller: AnyCaller
) -> Prompt:
    """Create a prompt; the default of `version` is the next whole number."""
    return await prompts.create(request, caller)


@router.get("")
async def list_prompts(
    prompts: Prompts,
    caller: AnyCaller,
    wanted: PromptQuery,
    page: PageQuery,
    response: Response,
) -> Sequence[Prompt]:
    """List the caller's and public prompts."""
    return answer(await prompts.page(caller, wanted, page), response)


@router.get("/{prompt_id}")
async def get_prompt(
    prompt_id: str, prompts: Prompts, caller: AnyCaller
) -> Prompt:
    """Return one prompt."""
    return await prompts.get(prompt_id, caller)


@router.patch(
    "/{prompt_id}",
    responses=problems(_VERSION_TAKEN | _NOT_YOURS | _CHANGED),
)
async def update_prompt(
    prompt_id: str, request: PromptUpdate, prompts: Prompts, caller: AnyCaller
) -> Prompt:
    """Change the given fields."""
    return await prompts.update(prompt_id, request, caller)


@router.delete(
    "/{prompt_id}",
    status_code=204,
    responses=problems(_NOT_YOURS | _CHANGED),
)
async def delete_prompt(
    prompt_id: str, prompts: Prompts, caller: AnyCaller
) -> None:
    """Delete a prompt; its version can be used again."""
    await prompts.delete(prompt_id, caller)
