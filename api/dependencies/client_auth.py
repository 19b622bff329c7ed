"""Clients' credentials."""

from typing import Annotated

from fastapi import Depends, Header, Request

from api.core.addresses import address_of
from api.core.errors import (
    AuthenticationError,
    NotFoundError,
    WrongKeyError,
)
from api.dependencies.admin_auth import IsAdmin
from api.dependencies.services import AllServices
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
    sent_id: Annotated[str | None, _header("client_id")] = None,
    sent_key: Annotated[str | None, _header("client_api_key")] = None,
    id_hyphenated: Annotated[
        str | None, _header("client-id", shown=False)
    ] = None,
    key_hyphenated: Annotated[
        str | None, _header("client-api-key", shown=False)
    ] = None,
) -> str | None:
    """Return the client that asks, or for which the administrator asks.

    Raises:
        AuthenticationError: credentials came, and they are wrong or half.
        TooManyFailedLoginsError: wrong ones, as many times before.
    """
    # A request with a body was checked before its body was read.
    if not hasattr(request.state, "client_id"):
        client = _one_of(sent_id, id_hyphenated)
        key = _one_of(sent_key, key_hyphenated)
        try:
            found = await _checked(
                services.clients, client, key, is_admin=is_admin
            )
        except WrongKeyError as error:
            address = address_of(request.scope)
            services.login_limits.failed(address, error.client_id)
            raise
        request.state.client_id = found
    known: str | None = request.state.client_id
    return known


async def _checked(
    clients: ClientService,
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
        await clients.authenticate(client, key)
        return client
    if not is_admin:
        raise AuthenticationError("Client API key is required")
    return await _known(clients, client)


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
