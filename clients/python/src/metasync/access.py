"""Where the server is and who the user is, from arguments and environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx2

from metasync.errors import ConfigurationError

URL_VARIABLE = "METASYNC_URL"
TOKEN_VARIABLE = "METASYNC_TOKEN"  # noqa: S105 - a name
ADMIN_VARIABLE = "ADMIN_API_KEY"
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class Access:
    """A server, and the credentials of its user."""

    url: str
    client_id: str
    key: str = field(repr=False)
    admin_key: str | None = field(default=None, repr=False)

    @property
    def is_on_this_machine(self) -> bool:
        """Whether no proxy leads there."""
        return httpx2.URL(self.url).host in _LOOPBACK

    def headers(self, *, as_admin: bool = False) -> Mapping[str, str]:
        """Give the headers that say who asks.

        Raises:
            ConfigurationError: the administrator's key is not known.
        """
        if not as_admin:
            return {"client-id": self.client_id, "client-api-key": self.key}
        if self.admin_key is None:
            raise ConfigurationError(
                "Only the administrator may do this: give admin_key=..., or "
                f"set {ADMIN_VARIABLE}"
            )
        return {"admin-api-key": self.admin_key}

    def without_secrets(self, text: str) -> str:
        """Take the keys out of a text, should a server send them back."""
        for secret in (self.key, self.admin_key):
            if secret:
                text = text.replace(secret, "***")
        return text


def find_access(
    url: str | None, token: str | None, admin_key: str | None
) -> Access | None:
    """Return what is given or set; None if no server is named.

    Raises:
        ConfigurationError: only a part of it, or it cannot be right.
    """
    url = url or os.environ.get(URL_VARIABLE)
    if not url:
        if token:
            raise ConfigurationError(
                f"There is a token but no server: give url=..., or set "
                f"{URL_VARIABLE}"
            )
        return None
    token = token or os.environ.get(TOKEN_VARIABLE)
    if not token:
        raise ConfigurationError(
            f"Give token=..., or set {TOKEN_VARIABLE} to the client's id and "
            "key with a colon between them (`token` in the answer to POST "
            "/clients)"
        )
    admin_key = admin_key or os.environ.get(ADMIN_VARIABLE)
    return Access(checked(url), *_split(token), admin_key or None)


def checked(url: str) -> str:
    """Return a server's URL without a slash at its end.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL:
        parsed = None
    known = parsed is not None and parsed.scheme in {"http", "https"}
    if parsed is None or not (known and parsed.host):
        raise ConfigurationError(
            "The URL must be one such as http://127.0.0.1:8001"
        )
    if parsed.userinfo:
        raise ConfigurationError("The URL must not have a user or password")
    return url.rstrip("/")


def _split(token: str) -> tuple[str, str]:
    client_id, colon, key = token.strip().partition(":")
    if not (client_id and colon and key and token.isascii()):
        raise ConfigurationError(
            "The token must be a client's id and key with a colon between them"
        )
    return client_id, key
