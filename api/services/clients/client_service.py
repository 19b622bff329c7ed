"""Clients: made by the administrator, each with one API key."""

import uuid

from bson import ObjectId

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
from api.services.workers.worker_service import WorkerService
from utilities.cosmos_connector import Document, Documents


class ClientService:
    """Rules of clients; the only place that compares their keys."""

    def __init__(
        self, documents: Documents, workers: WorkerService, pepper: str
    ) -> None:
        self._documents = documents
        self._workers = workers
        self._pepper = pepper

    async def create(self, request: ClientCreate) -> ClientWithKey:
        """Make a client with a fresh key, shown only now."""
        client_id, api_key = str(uuid.uuid4()), security.new_api_key()
        stored = await self._documents.insert(
            {
                "_id": ObjectId(),
                "clientId": client_id,
                "name": request.name,
                "enabled": True,
                "keyDigest": security.digest(api_key, self._pepper),
            }
        )
        return ClientWithKey.from_document({**stored, "api_key": api_key})

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
        document = await self._documents.find_one({"clientId": client_id})
        return Client.from_document(_found(document))

    async def update(self, client_id: str, request: ClientUpdate) -> Client:
        """Change the name, or whether the client is let in.

        Disabling it stops its workers; enabling it starts those again.
        """
        client = await self._change(
            client_id, request.model_dump(exclude_none=True, by_alias=True)
        )
        await self._tell_workers(client)
        return client

    async def toggle(self, client_id: str) -> Client:
        """Disable an enabled client, enable a disabled one."""
        client = await self.get(client_id)
        client = await self._change(client_id, {"enabled": not client.enabled})
        await self._tell_workers(client)
        return client

    async def rotate_key(self, client_id: str) -> RotatedKey:
        """Give the client a new key; the old one ends at once."""
        api_key = security.new_api_key()
        digest = security.digest(api_key, self._pepper)
        await self._change(client_id, {"keyDigest": digest})
        return RotatedKey(client_id=client_id, api_key=api_key)

    async def delete(self, client_id: str) -> None:
        """Delete the client; its key ends at once, its workers stop."""
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

    async def _tell_workers(self, client: Client) -> None:
        if client.enabled:
            await self._workers.restart_all_of(client.client_id)
        else:
            # Nobody pays for the jobs of a client that was shut out.
            await self._workers.stop_all_of(client.client_id)

    async def _change(self, client_id: str, changes: Document) -> Client:
        found = _found(await self._documents.find_one({"clientId": client_id}))
        document = await self._documents.update({"_id": found["_id"]}, changes)
        return Client.from_document(_found(document))


def _found(document: Document | None) -> Document:
    if document is None:
        raise NotFoundError("Client")
    return document
