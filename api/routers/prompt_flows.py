"""`/prompt-flows`: a client's own; public ones by the administrator."""

from collections.abc import Sequence

from fastapi import APIRouter, Response

from api.core.problems import overtaken, problems
from api.dependencies.callers import AnyCaller
from api.dependencies.services import PromptFlows
from api.models.prompt_flow_models import (
    PromptFlow,
    PromptFlowCreate,
    PromptFlowUpdate,
)
from api.routers.pages import PageQuery, answer
from api.routers.resource_route import ResourceRoute

router = APIRouter(
    prefix="/prompt-flows", tags=["prompt flows"], route_class=ResourceRoute
)
_NOT_PUBLIC = {
    403: ["Admin API key is required to create a public prompt flow"]
}
_NO_OWNER = {
    400: [
        (
            "A prompt flow that is not public needs a clientId: give it with "
            "the change"
        )
    ]
}
_NOT_YOURS = {
    403: ["Admin API key is required to change a public prompt flow"]
}
_CHANGED = overtaken("Prompt flow")


@router.post("", status_code=201, responses=problems(_NOT_PUBLIC))
async def create_prompt_flow(
    request: PromptFlowCreate, flows: PromptFlows, caller: AnyCaller
) -> PromptFlow:
    """Create a flow; its prompts are checked when a job uses it."""
    return await flows.create(request, caller)


@router.get("")
async def list_prompt_flows(
    flows: PromptFlows, caller: AnyCaller, page: PageQuery, response: Response
) -> Sequence[PromptFlow]:
    """List the caller's and public flows."""
    return answer(await flows.page(caller, page), response)


@router.get("/{flow_id}")
async def get_prompt_flow(
    flow_id: str, flows: PromptFlows, caller: AnyCaller
) -> PromptFlow:
    """Return one flow."""
    return await flows.get(flow_id, caller)


@router.patch(
    "/{flow_id}", responses=problems(_NO_OWNER | _NOT_YOURS | _CHANGED)
)
async def update_prompt_flow(
    flow_id: str,
    request: PromptFlowUpdate,
    flows: PromptFlows,
    caller: AnyCaller,
) -> PromptFlow:
    """Change the given fields."""
    return await flows.update(flow_id, request, caller)


@router.delete(
    "/{flow_id}",
    status_code=204,
    responses=problems(_NOT_YOURS | _CHANGED),
)
async def delete_prompt_flow(
    flow_id: str, flows: PromptFlows, caller: AnyCaller
) -> None:
    """Delete a flow."""
    await flows.delete(flow_id, caller)
