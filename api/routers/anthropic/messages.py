"""`/v1/messages`: a model's answer to messages."""

from fastapi import APIRouter, Request, Response

from api.routers.gateway_route import GatewayRoute, answer
from api.services.clients.client_keys import ClientKey
from llm_sdks.forwarding import Interface

router = APIRouter(route_class=GatewayRoute, include_in_schema=False)


@router.post("/v1/messages", response_model=None)
async def create_message(request: Request, client: ClientKey) -> Response:
    """Answer messages."""
    return await answer(request, client, Interface.MESSAGES)


@router.post("/v1/messages/count_tokens", response_model=None)
async def count_message_tokens(
    request: Request, client: ClientKey
) -> Response:
    """Count the tokens that messages have."""
    return await answer(request, client, Interface.COUNT_TOKENS)
