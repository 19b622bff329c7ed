"""`/v1/responses`: OpenAI's newer interface for answers."""

from fastapi import APIRouter, Request, Response

from api.routers.gateway_route import GatewayRoute, answer
from api.services.clients.client_keys import ClientKey
from llm_sdks.forwarding import Interface

router = APIRouter(route_class=GatewayRoute, include_in_schema=False)


@router.post("/v1/responses", response_model=None)
async def create_response(request: Request, client: ClientKey) -> Response:
    """Answer what was asked."""
    return await answer(request, client, Interface.RESPONSES)
