"""Clients: made by the administrator, each with one API key."""

import uuid
from collections.abc import Callable

from api.core import security
from api.core.errors import NotFoundError, WrongKeyError
from api.models.client_models import (
    Client,
    ClientCreate,
    ClientUpdate,
    ClientWithKey,
    RotatedKey,
    token_of,
)
from api.models.limit_models import CallLimits
from api.services.clients.client_keys import ClientKey, ClientKeys
from api.services.shared.audit_trail import note_deleted
from api.services.shared.paging import Page, PageRequest, fetch_page
from api.services.shared.repository import Repository
from api.services.workers.worker_service import WorkerService
from utilities import payload
from utilities.cosmos_connector import Document, Documents

WRONG_CREDENTIALS = "Invalid client credentials"
_MAY_BE_NULL = frozenset(
    {"apiRequestsPerMinute", "budget", "gateway", "weight"}
)
# Compared where there is no client, so that time does not tell who exists.
_NOBODYS_DIGEST = "0" * 64


class ClientService:
    """Rules of clients; the only place that compares their keys."""

    def __init__(
        self, documents: Documents, workers: WorkerService, pepper: str
    ) -> None:
        self._documents = documents
        self._clients = Repository(documents, Client, "Client")
        self._workers = workers
        self._pepper = pepper
        self._keys = ClientKeys(documents)

    async def create(self, request: ClientCreate) -> ClientWithKey:
        """Make a client with a fresh key, shown only now."""
        client_id, api_key = str(uuid.uuid4()), security.new_api_key()
        made = await self._clients.add(
            {
                "clientId": client_id,
                "name": request.name,
                "enabled": True,
                "apiRequestsPerMinute": request.api_requests_per_minute,
                "weight": request.weight,
                "limits": _stored(request.limits),
                "budget": request.budget
                and request.budget.model_dump(by_alias=True),
                "gateway": request.gateway
                and request.gateway.model_dump(by_alias=True),
                "keyDigest": security.digest(api_key, self._pepper),
            }
        )
        token = token_of(client_id, api_key)
        return ClientWithKey(**made.__dict__, api_key=api_key, token=token)

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
        """Change the name, the limits, or whether the client is enabled.

        Workers of a disabled client do not run; enabled again, those that
        were running continue.
        """
        client = await self._change(
            client_id, lambda current: _changes(current, request)
        )
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
        token = token_of(client_id, api_key)
        return RotatedKey(client_id=client_id, api_key=api_key, token=token)

    async def delete(self, client_id: str) -> None:
        """Delete the client: its key and its workers end for good."""
        where = {"clientId": client_id}
        before = await self._documents.find_one(where)
        deleted = await self._documents.soft_delete(where)
        self._keys.forget(client_id)
        if not deleted:
            raise NotFoundError("Client")
        if before is not None:
            note_deleted("Client", before)
        await self._workers.stop_all_of(client_id)

    async def authenticate(self, client_id: str, api_key: str) -> ClientKey:
        """Check a client's credentials.

        A key that was right a moment ago needs no look at the database.

        Raises:
            WrongKeyError: unknown, disabled, deleted or a wrong key; the
                message does not tell which.
        """
        sent = security.digest(api_key, self._pepper)
        kept = self._keys.kept(client_id)
        if kept is not None and security.same(sent, kept.digest):
            return kept
        found = await self._keys.read(client_id)
        stored = _NOBODYS_DIGEST if found is None else found.digest
        if not security.same(sent, stored) or found is None:
            raise WrongKeyError(WRONG_CREDENTIALS)
        return found

    def forget_key(self, client_id: str) -> None:
        """Read the client's key again before it is next compared."""
        self._keys.forget(client_id)

    async def _change(
        self,
        client_id: str,
        decide: Callable[[Client], Document],
        *,
        repeatable: bool = False,
    ) -> Client:
        where = {"clientId": client_id}
        try:
            return await self._clients.change_where(
                where, decide, repeatable=repeatable
            )
        finally:
            self._keys.forget(client_id)


def _changes(current: Client, request: ClientUpdate) -> Document:
    """Give the fields that a change of a client sets."""
    changes = request.model_dump(
        exclude_unset=True, exclude={"limits"}, by_alias=True
    )
    changes = {
        name: value
        for name, value in changes.items()
        if value is not None or name in _MAY_BE_NULL
    }
    if request.retention_days is not None:
        changes["retentionDays"] = payload.dump(request.retention_days)
    if "limits" in request.model_fields_set:
        changes["limits"] = _stored(_merged(current.limits, request.limits))
    return changes


def _merged(
    before: CallLimits | None, given: CallLimits | None
) -> CallLimits | None:
    """Put the given limits over those that were there; null is none."""
    if before is None or given is None:
        return given
    new = given.model_dump(exclude_unset=True)
    return before.model_copy(update=new)


def _stored(limits: CallLimits | None) -> Document | None:
    if limits is None or not limits.are_set:
        return None
    return limits.model_dump(by_alias=True)
