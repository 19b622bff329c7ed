"""The cookies of sign-in, and what protects them from other sites.

Browsers send cookies with requests that other sites' pages cause. So a
change needs, beside the cookie, a token that only this site's pages can
read; a WebSocket needs to come from this site.
"""

from urllib.parse import urlsplit

from fastapi import Response
from starlette.requests import HTTPConnection

from api.core import security
from api.core.errors import ForbiddenError
from api.services.access.sessions import Sessions

CSRF_HEADER = "X-CSRF-Token"
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_CROSS_SITE = (
    "A change by a browser needs the header X-CSRF-Token, with the "
    "csrfToken of GET /auth/me, and must come from a page of this service"
)


class Cookies:
    """The names and attributes of cookies, for one public address."""

    def __init__(self, public_url: str) -> None:
        parts = urlsplit(public_url)
        self._is_safe = parts.scheme == "https"
        # Browsers take this prefix from the host itself only, over TLS.
        prefix = "__Host-" if self._is_safe else ""
        self.session = f"{prefix}metasync-session"
        self.login = f"{prefix}metasync-login"
        self._origin = f"{parts.scheme}://{parts.netloc}".lower()

    def set(
        self, response: Response, name: str, value: str, seconds: int
    ) -> None:
        """Set a cookie that no script can read."""
        response.set_cookie(
            name,
            value,
            max_age=seconds,
            path="/",
            secure=self._is_safe,
            httponly=True,
            samesite="lax",
        )

    def remove(self, response: Response, name: str) -> None:
        """Have the browser forget a cookie."""
        response.delete_cookie(
            name,
            path="/",
            secure=self._is_safe,
            httponly=True,
            samesite="lax",
        )

    def check_site(
        self, connection: HTTPConnection, sessions: Sessions, secret: str
    ) -> None:
        """Refuse what another site's page has caused.

        Raises:
            ForbiddenError: it is not known to come from a page of ours.
        """
        origin = connection.headers.get("origin")
        if connection.scope["type"] == "websocket":
            # Scripts cannot set headers of a handshake.
            if origin is None or not self._is_ours(origin):
                raise ForbiddenError(_CROSS_SITE)
            return
        if connection.scope["method"] in _READING:
            return
        sent = connection.headers.get(CSRF_HEADER, "")
        if (origin is not None and not self._is_ours(origin)) or (
            not security.same(sent, sessions.csrf_token(secret))
        ):
            raise ForbiddenError(_CROSS_SITE)

    def _is_ours(self, origin: str) -> bool:
        return origin.lower() == self._origin
