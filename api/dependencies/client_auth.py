"""Clients' credentials."""

from typing import Annotated

from fastapi import Depends, Header, Request

from api.core.addresses import address_of
from api.core.errors import (
    AuthenticationError,
    NotFoundError,
    TooManyRequestsError,
    WrongKeyError,
)
from api.dependencies.admin_auth import IsAdmin
from api.dependencies.identities import SomeIdentity
from api.dependencies.services import AllServices, Services
from api.services.access.identity import Identity
from api.services.clients.client_keys import ClientKey
from api.services.clients.client_service import (
    WRONG_CREDENTIALS,
    ClientService,
)


def _header(name: str, *, shown: bool = True) -> object:
    return Header(
        alias=name, convert_underscores=False, include_in_schema=shown
    )


async def optional_client_auth(
    request: Request,
    services: AllServices,
    is_admin: IsAdmin,
    identity: SomeIdentity,
    sent_id: Annotated[str | None, _header("client_id")] = None,
    sent_key: Annotated[str | None, _header("client_api_key")] = None,
    id_hyphenated: Annotated[
        str | None, _header("client-id", shown=False)
    ] = None,
    key_hyphenated: Annotated[
        str | None, _header("client-api-key", shown=False)
    ] = None,
) -> str | None:
    """Return the client that asks, or for which somebody else asks.

    Raises:
        AuthenticationError: credentials came, and they are wrong or half.
        NotFoundError: the client is not within the scope of who asks.
        TooManyFailedLoginsError: wrong ones, as many times before.
        TooManyRequestsError: the client has used up its limit.
    """
    # A request with a body was checked before its body was read.
    if not hasattr(request.state, "client_id"):
        client = _one_of(sent_id, id_hyphenated)
        key = _one_of(sent_key, key_hyphenated)
        if identity is not None:
            request.state.client_id = client and await _acted_for(
                services.clients, identity, client
            )
        else:
            request.state.client_id = await _checked(
                request, services, client, key, is_admin=is_admin
            )
    known: str | None = request.state.client_id
    return known


async def _checked(
    request: Request,
    services: Services,
    client: str | None,
    key: str | None,
    *,
    is_admin: bool,
) -> str | None:
    if client is None and key is None:
        return None
    if client is None:
        raise AuthenticationError("Client ID is required")
    if key is not None:
        known = await authenticated(request, services, client, key)
        if not is_admin:
            await count_request(request, services, known)
        return client
    if not is_admin:
        raise AuthenticationError("Client API key is required")
    return await _known(services.clients, client)


async def _acted_for(
    clients: ClientService, identity: Identity, client_id: str
) -> str:
    """Return the client that somebody who signed in asks for.

    Raises:
        NotFoundError: there is none, or not for this person.
    """
    if not identity.may_act_for(client_id):
        raise NotFoundError("Client")
    try:
        return await _known(clients, client_id)
    except AuthenticationError:
        # No credential is wrong: the same answer as for another's client.
        raise NotFoundError("Client") from None


async def authenticated(
    request: Request, services: Services, client: str, key: str
) -> ClientKey:
    """Check a client's credentials, and count wrong ones.

    Raises:
        WrongKeyError: they are wrong.
        TooManyFailedLoginsError: wrong ones came as many times before.
    """
    try:
        return await services.clients.authenticate(client, key)
    except WrongKeyError:
        services.login_limits.failed(address_of(request.scope), client)
        raise


async def count_request(
    request: Request, services: Services, client: ClientKey
) -> None:
    """Count a client's request.

    Raises:
        TooManyRequestsError: the client has used up its limit.
    """
    quota = await services.request_limits.take(
        client.client_id, client.requests_per_minute
    )
    request.state.request_quota = quota
    if quota is not None and not quota.is_granted:
        raise TooManyRequestsError(
            f"This client may send {quota.limit} requests a minute",
            quota.reset_seconds,
        )


def _one_of(underscored: str | None, hyphenated: str | None) -> str | None:
    if None not in (underscored, hyphenated) and underscored != hyphenated:
        raise AuthenticationError(WRONG_CREDENTIALS)
    return underscored if underscored is not None else hyphenated


async def _known(clients: ClientService, client_id: str) -> str:
    try:
        client = await clients.get(client_id)
    except NotFoundError:
        raise AuthenticationError(WRONG_CREDENTIALS) from None
    if not client.enabled:
        raise AuthenticationError(WRONG_CREDENTIALS)
    return client.client_id


SomeClient = Annotated[str | None, Depends(optional_client_auth)]
