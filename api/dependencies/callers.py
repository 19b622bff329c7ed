"""Who is calling, and whom a path lets through.

Whatever a path needs, every credential that was sent is checked: a wrong
one is never treated as none.
"""

from typing import Annotated

from fastapi import Depends

from api.core import openapi
from api.core.errors import AuthenticationError
from api.dependencies.admin_auth import IsAdmin
from api.dependencies.client_auth import SomeClient
from api.dependencies.scrape_auth import verify_scraper
from api.services.shared.caller import EITHER_IS_NEEDED, Caller
from utilities.cosmos_connector import current_actor


async def verify_admin_api_key(is_admin: IsAdmin, client: SomeClient) -> None:
    """Let only the administrator through.

    Raises:
        AuthenticationError: no key came, or a wrong one.
    """
    if not is_admin:
        raise AuthenticationError("Admin API key is required")
    _acting(Caller(client, is_admin))


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


# What the interface's description says of those who depend on each.
GUARDS: openapi.Guards = {
    verify_admin_api_key: openapi.BY_ADMIN,
    verify_caller: openapi.BY_ANYONE_KNOWN,
    verify_client_auth: openapi.BY_CLIENT,
    verify_scraper: openapi.BY_SCRAPER,
}

AnyCaller = Annotated[Caller, Depends(verify_caller)]
ClientCaller = Annotated[Caller, Depends(verify_client_auth)]
