"""Who somebody is that signed in, or sent a token, instead of a key.

Keys come first: where one is sent, nothing else of the request is read to
find out who is calling, as the HTTP contract says.
"""

from typing import Annotated

from fastapi import Depends, Request
from starlette.requests import HTTPConnection

from api.core.addresses import address_of
from api.core.errors import AuthenticationError, WrongKeyError
from api.dependencies.services import AllServices, Services
from api.services.access.identity import Identity
from api.services.access.jwt_check import WRONG_TOKEN

_KEYS = frozenset({b"admin_api_key", b"client_api_key"})
_SCHEME = "bearer"


async def optional_identity(
    request: Request, services: AllServices
) -> Identity | None:
    """Return who sent a token or has signed in; a wrong token is refused.

    None if a key was sent, or no credential at all.

    Raises:
        AuthenticationError: a token came, and it is wrong.
        ForbiddenError: another site's page may have caused the request.
        TooManyFailedLoginsError: wrong ones, as many times before.
    """
    # A request with a body was checked before its body was read.
    if not hasattr(request.state, "proved_identity"):
        request.state.proved_identity = await identify(request, services)
    known: Identity | None = request.state.proved_identity
    return known


async def identify(
    connection: HTTPConnection, services: Services
) -> Identity | None:
    """As `optional_identity`, also of a WebSocket's handshake.

    Raises:
        AuthenticationError: as it.
    """
    names = {name.replace(b"-", b"_") for name, _ in connection.headers.raw}
    if names & _KEYS:
        return None
    token = _bearer_of(connection)
    if token is None:
        return await _by_cookie(connection, services)
    try:
        return await services.access.by_bearer(token)
    except WrongKeyError:
        services.login_limits.failed(address_of(connection.scope))
        raise


async def _by_cookie(
    connection: HTTPConnection, services: Services
) -> Identity | None:
    """Return whose session the browser has.

    Raises:
        SessionEndedError: nobody's any more.
        ForbiddenError: another site's page may have caused the request.
    """
    cookies, sessions = services.cookies, services.access.sessions
    if cookies is None:
        return None
    secret = connection.cookies.get(cookies.session)
    if secret is None:
        return None
    identity = await services.access.by_session(secret)
    cookies.check_site(connection, sessions, secret)
    return identity


def _bearer_of(connection: HTTPConnection) -> str | None:
    sent = set(connection.headers.getlist("authorization"))
    if len(sent) > 1:
        # Nobody can tell which was meant.
        raise AuthenticationError(WRONG_TOKEN)
    scheme, _, token = next(iter(sent), "").partition(" ")
    return token.strip() if scheme.lower() == _SCHEME else None


SomeIdentity = Annotated[Identity | None, Depends(optional_identity)]
