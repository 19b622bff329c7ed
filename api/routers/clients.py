"""`/clients`: who may submit work. For the administrator."""

from collections.abc import Sequence

from fastapi import APIRouter, Depends, Response

from api.core.problems import overtaken, problems
from api.dependencies.callers import verify_admin_api_key
from api.dependencies.services import Clients, Erasures
from api.models.client_models import (
    Client,
    ClientCreate,
    ClientUpdate,
    ClientWithKey,
    RotatedKey,
)
from api.models.keeping_models import Erasure
from api.routers.pages import PageQuery, answer
from api.routers.resource_route import ResourceRoute

router = APIRouter(
    prefix="/clients",
    tags=["clients"],
    route_class=ResourceRoute,
    dependencies=[Depends(verify_admin_api_key)],
)
_CHANGED = overtaken("Client")


@router.post("", status_code=201)
async def create_client(
    request: ClientCreate, clients: Clients
) -> ClientWithKey:
    """Create a client; only this answer shows its `api_key`."""
    return await clients.create(request)


@router.get("")
async def list_clients(
    clients: Clients, page: PageQuery, response: Response
) -> Sequence[Client]:
    """List all clients."""
    return answer(await clients.page(page), response)


@router.get("/{client_id}")
async def get_client(client_id: str, clients: Clients) -> Client:
    """Return one client."""
    return await clients.get(client_id)


@router.patch("/{client_id}", responses=problems(_CHANGED))
async def update_client(
    client_id: str, request: ClientUpdate, clients: Clients
) -> Client:
    """Rename, enable or disable a client."""
    return await clients.update(client_id, request)


@router.delete("/{client_id}", status_code=204)
async def delete_client(client_id: str, clients: Clients) -> None:
    """Delete a client; its key is invalid at once, and its workers stop."""
    await clients.delete(client_id)


@router.post("/{client_id}/erase", status_code=202)
async def erase_client(
    client_id: str, erasures: Erasures, clients: Clients
) -> Erasure:
    """Erase a client: its data is removed, and cannot be brought back.

    The client ends at once; its data is removed within the next minutes.
    Again, it answers the progress.
    """
    try:
        return await erasures.begin(client_id)
    finally:
        clients.forget_key(client_id)


@router.get("/{client_id}/erase")
async def get_client_erasure(client_id: str, erasures: Erasures) -> Erasure:
    """Return how far the erasure of a client is."""
    return await erasures.get(client_id)


@router.post("/{client_id}/toggle", responses=problems(_CHANGED))
async def toggle_client(client_id: str, clients: Clients) -> Client:
    """Disable an enabled client, or enable a disabled one."""
    return await clients.toggle(client_id)


@router.post("/{client_id}/rotate-key", responses=problems(_CHANGED))
async def rotate_client_key(client_id: str, clients: Clients) -> RotatedKey:
    """Replace the client's `api_key`; only this answer shows the new one."""
    return await clients.rotate_key(client_id)
