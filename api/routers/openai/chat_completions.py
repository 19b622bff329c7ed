"""`/v1/chat/completions`: a model's answer to messages."""

from fastapi import APIRouter, Request, Response

from api.routers.gateway_route import GatewayRoute, answer
from api.services.clients.client_keys import ClientKey
from llm_sdks.forwarding import Interface

router = APIRouter(route_class=GatewayRoute, include_in_schema=False)


@router.post("/v1/chat/completions", response_model=None)
async def create_chat_completion(
    request: Request, client: ClientKey
) -> Response:
    """Answer messages."""
    return await answer(request, client, Interface.CHAT)
