"""Clients: made by the administrator, each with one API key."""

import uuid
from collections.abc import Callable

from api.core import security
from api.core.errors import AuthenticationError, NotFoundError
from api.models.client_models import (
    Client,
    ClientCreate,
    ClientUpdate,
    ClientWithKey,
    RotatedKey,
)
from api.services.shared.paging import Page, PageRequest, fetch_page
from api.services.shared.repository import Repository
from api.services.workers.worker_service import WorkerService
from utilities.cosmos_connector import Document, Documents


class ClientService:
    """Rules of clients; the only place that compares their keys."""

    def __init__(
        self, documents: Documents, workers: WorkerService, pepper: str
    ) -> None:
        self._documents = documents
        self._clients = Repository(documents, Client, "Client")
        self._workers = workers
        self._pepper = pepper

    async def create(self, request: ClientCreate) -> ClientWithKey:
        """Make a client with a fresh key, shown only now."""
        client_id, api_key = str(uuid.uuid4()), security.new_api_key()
        made = await self._clients.add(
            {
                "clientId": client_id,
                "name": request.name,
                "enabled": True,
                "budget": request.budget
                and request.budget.model_dump(by_alias=True),
                "keyDigest": security.digest(api_key, self._pepper),
            }
        )
        return ClientWithKey(**made.__dict__, api_key=api_key)

    async def page(self, page: PageRequest) -> Page[Client]:
        """List all clients."""
        return await fetch_page(
            self._documents, {}, page, Client.from_document
        )

    async def get(self, client_id: str) -> Client:
        """Return one.

        Raises:
            NotFoundError: there is none.
        """
        return await self._clients.get_where({"clientId": client_id})

    async def update(self, client_id: str, request: ClientUpdate) -> Client:
        """Change the name, or whether the client is enabled.

        Workers of a disabled client do not run; enabled again, those that
        were running continue.
        """
        changes = request.model_dump(exclude_none=True, by_alias=True)
        if "budget" in request.model_fields_set and request.budget is None:
            changes["budget"] = None
        client = await self._change(client_id, lambda _: changes)
        self._workers.client_changed()
        return client

    async def toggle(self, client_id: str) -> Client:
        """Disable an enabled client, or enable a disabled one."""
        client = await self._change(
            client_id,
            lambda client: {"enabled": not client.enabled},
            repeatable=True,
        )
        self._workers.client_changed()
        return client

    async def rotate_key(self, client_id: str) -> RotatedKey:
        """Give the client a new key; the old one ends at once."""
        api_key = security.new_api_key()
        digest = security.digest(api_key, self._pepper)
        await self._change(client_id, lambda _: {"keyDigest": digest})
        return RotatedKey(client_id=client_id, api_key=api_key)

    async def delete(self, client_id: str) -> None:
        """Delete the client: its key and its workers end for good."""
        if not await self._documents.soft_delete({"clientId": client_id}):
            raise NotFoundError("Client")
        await self._workers.stop_all_of(client_id)

    async def authenticate(self, client_id: str, api_key: str) -> None:
        """Check a client's credentials.

        Raises:
            AuthenticationError: unknown, disabled, deleted or a wrong key;
                the answer does not tell which.
        """
        document = (
            await self._documents.find_one({"clientId": client_id}) or {}
        )
        # Compared in any case, so that time does not tell who exists.
        right = security.same(
            security.digest(api_key, self._pepper),
            document.get("keyDigest", ""),
        )
        if not (right and document.get("enabled")):
            raise AuthenticationError("Invalid client credentials")

    async def _change(
        self,
        client_id: str,
        decide: Callable[[Client], Document],
        *,
        repeatable: bool = False,
    ) -> Client:
        where = {"clientId": client_id}
        return await self._clients.change_where(
            where, decide, repeatable=repeatable
        )
