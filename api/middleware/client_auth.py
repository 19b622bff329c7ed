"""Clients' credentials, and who is calling in the end."""

from typing import Annotated

from fastapi import Depends, Header

from api.core.errors import AuthenticationError, NotFoundError
from api.middleware.admin_auth import IsAdmin
from api.services.caller import EITHER_IS_NEEDED, Caller
from api.services.dependencies import Clients
from utilities.cosmos_connector import current_actor


def _header(name: str, *, shown: bool = True) -> object:
    return Header(
        alias=name, convert_underscores=False, include_in_schema=shown
    )


async def optional_client_auth(
    clients: Clients,
    is_admin: IsAdmin,
    client_id: Annotated[str | None, _header("client_id")] = None,
    client_api_key: Annotated[str | None, _header("client_api_key")] = None,
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
    """
    client = client_id if client_id is not None else id_hyphenated
    key = client_api_key if client_api_key is not None else key_hyphenated
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


async def _known(clients: Clients, client_id: str) -> str:
    try:
        return (await clients.get(client_id)).client_id
    except NotFoundError:
        raise AuthenticationError("Invalid client credentials") from None


SomeClient = Annotated[str | None, Depends(optional_client_auth)]


async def verify_caller(is_admin: IsAdmin, client: SomeClient) -> Caller:
    """Return who is calling: a client, the administrator, or both.

    Raises:
        AuthenticationError: nobody who says who it is.
    """
    if not is_admin and client is None:
        raise AuthenticationError(EITHER_IS_NEEDED)
    return _acting(Caller(client, is_admin))


async def verify_client_auth(is_admin: IsAdmin, client: SomeClient) -> Caller:
    """Let only a client through, or the administrator for a named one.

    Raises:
        AuthenticationError: no client is named.
    """
    if client is None:
        raise AuthenticationError("Client ID is required")
    return _acting(Caller(client, is_admin))


def _acting(caller: Caller) -> Caller:
    current_actor.set(caller.name)
    return caller


AnyCaller = Annotated[Caller, Depends(verify_caller)]
ClientCaller = Annotated[Caller, Depends(verify_client_auth)]
