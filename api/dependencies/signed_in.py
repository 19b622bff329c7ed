"""People who have signed in: the session behind a request's cookie.

Sessions belong to the console, which this package does not know:
`main_app` puts them in place.
"""

from typing import Final, Protocol

from starlette.requests import HTTPConnection

from api.services.shared.caller import Caller

# Who sends a key is known by it, whatever the cookie says.
_KEYS: Final = (
    "admin_api_key",
    "admin-api-key",
    "client_api_key",
    "client-api-key",
)


class SignedIn(Protocol):
    """Knows who has signed in."""

    async def caller_of(self, connection: HTTPConnection) -> Caller | None:
        """Return who has signed in; None: there is no session's cookie.

        Raises:
            AuthenticationError: the session has ended.
            ForbiddenError: a change that does not come from our pages.
        """


def has_key(request: HTTPConnection) -> bool:
    """Tell whether a key came."""
    return any(name in request.headers for name in _KEYS)


async def signed_in(
    request: HTTPConnection, *, anew: bool = False
) -> Caller | None:
    """Return who has signed in; None where a key came, or no session.

    Once a request, unless it is to be found out `anew`.

    Raises:
        AuthenticationError, ForbiddenError: as `SignedIn.caller_of`.
    """
    if has_key(request):
        return None
    sessions: SignedIn | None = getattr(request.app.state, "sessions", None)
    if sessions is None:
        return None
    # A request with a body is checked before its body is read, and after.
    if anew or not hasattr(request.state, "signed_in"):
        request.state.signed_in = await sessions.caller_of(request)
    known: Caller | None = request.state.signed_in
    return known
