"""Who is calling, and whom a path lets through.

Whatever a path needs, every credential that was sent is checked: a wrong
one is never treated as none.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

from api.core import openapi
from api.core.errors import AuthenticationError, InvalidRequestError
from api.dependencies.admin_auth import IsAdmin, optional_admin_auth
from api.dependencies.client_auth import SomeClient, optional_client_auth
from api.dependencies.scrape_auth import verify_scraper
from api.dependencies.services import services_of
from api.dependencies.signed_in import has_key, signed_in
from api.services.shared.caller import EITHER_IS_NEEDED, Caller
from utilities.cosmos_connector import StoreError, current_actor


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
        AuthenticationError: there is no credential.
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


async def caller_of(connection: HTTPConnection) -> Caller:
    """Return who opens a connection that is no request, by its headers.

    Raises:
        AuthenticationError: there is no credential, or a wrong one.
    """
    refuse_contradictions(connection.headers)
    is_admin, client = await _checked(connection)
    return await verify_caller(is_admin, client)


async def still_known(request: HTTPConnection, caller: Caller) -> bool:
    """Tell whether who has called may still call, while the answer goes on.

    Sessions end, keys are replaced, clients are disabled.
    """
    services, headers = services_of(request), request.headers
    key = headers.get("client_api_key") or headers.get("client-api-key")
    try:
        if key is not None and caller.client_id is not None:
            await services.clients.authenticate(caller.client_id, key)
        elif not has_key(request):
            person = await signed_in(request, anew=True)
            return person is not None
    except (AuthenticationError, StoreError) as error:
        # While the database is away, nothing new is shown either.
        return isinstance(error, StoreError)
    return True


def _acting(caller: Caller) -> Caller:
    current_actor.set(caller.name)
    return caller


_CREDENTIALS = {
    b"client_id": "Invalid client credentials",
    b"client_api_key": "Invalid client credentials",
    b"admin_api_key": "Invalid admin API key",
}
_IDEMPOTENCY_KEY = b"idempotency_key"


def refuse_contradictions(headers: Headers) -> None:
    """Refuse a header that came twice with different values.

    Frameworks and proxies differ in which one they take: nobody can tell
    which was meant, and one of two credentials is wrong.

    Raises:
        AuthenticationError: it is a credential.
        InvalidRequestError: it is an idempotency key.
    """
    sent: dict[bytes, bytes] = {}
    for spelt, value in headers.raw:
        name = spelt.replace(b"-", b"_")
        if name not in _CREDENTIALS and name != _IDEMPOTENCY_KEY:
            continue
        if sent.setdefault(name, value) == value:
            continue
        if name in _CREDENTIALS:
            raise AuthenticationError(_CREDENTIALS[name])
        raise InvalidRequestError(
            "header_repeated",
            ("header", "Idempotency-Key"),
            "Idempotency-Key was sent twice with different values",
        )


Guard = Callable[[bool, str | None], Awaitable[Any]]


async def check_before_body(request: Request, guards: list[Guard]) -> None:
    """Check who is calling by the headers alone.

    FastAPI reads and parses a body before it looks at any dependency; this
    comes before that, by the same rules.

    Raises:
        AuthenticationError: as the guards raise it.
    """
    is_admin, client = await _checked(request)
    for guard in guards:
        await guard(is_admin, client)


async def _checked(connection: HTTPConnection) -> tuple[bool, str | None]:
    services, headers = services_of(connection), connection.headers
    is_admin = await optional_admin_auth(
        connection,
        services,
        headers.get("admin_api_key"),
        headers.get("admin-api-key"),
    )
    client = await optional_client_auth(
        connection,
        services,
        is_admin,
        headers.get("client_id"),
        headers.get("client_api_key"),
        headers.get("client-id"),
        headers.get("client-api-key"),
    )
    return is_admin, client


# Which of the guards below stand before paths with a body.
BEFORE_BODY: tuple[Guard, ...] = (
    verify_admin_api_key,
    verify_caller,
    verify_client_auth,
)

# What the interface's description says of those who depend on each.
GUARDS: openapi.Guards = {
    verify_admin_api_key: openapi.BY_ADMIN,
    verify_caller: openapi.BY_ANYONE_KNOWN,
    verify_client_auth: openapi.BY_CLIENT,
    verify_scraper: openapi.BY_SCRAPER,
}

AnyCaller = Annotated[Caller, Depends(verify_caller)]
ClientCaller = Annotated[Caller, Depends(verify_client_auth)]
