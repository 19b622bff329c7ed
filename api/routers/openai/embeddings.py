"""`/v1/embeddings`: vectors of texts."""

from fastapi import APIRouter, Request, Response

from api.routers.gateway_route import GatewayRoute, answer
from api.services.clients.client_keys import ClientKey
from llm_sdks.forwarding import Interface

router = APIRouter(route_class=GatewayRoute, include_in_schema=False)


@router.post("/v1/embeddings", response_model=None)
async def create_embeddings(request: Request, client: ClientKey) -> Response:
    """Give the vectors of texts."""
    return await answer(request, client, Interface.EMBEDDINGS)
