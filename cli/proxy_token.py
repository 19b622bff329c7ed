"""Who uses the forward proxy, by the headers of a request."""

import base64
import binascii
from collections.abc import Sequence

Headers = list[tuple[bytes, bytes]]

_PROXYS = b"proxy-authorization"
# Where the providers' clients have their key.
_KEYS = frozenset(
    {b"api-key", b"authorization", b"x-api-key", b"x-goog-api-key"}
)
_BASIC, _BEARER = b"basic ", b"bearer "


def token_of(headers: Sequence[tuple[bytes, bytes]]) -> str | None:
    """Return the client's token: its id and key with a colon between.

    The proxy's own credential goes before the one for the provider.
    """
    for name, value in headers:
        if name == _PROXYS and (token := _read(value)) is not None:
            return token
    for name, value in headers:
        if _plain(name) in _KEYS and (token := _read(value)) is not None:
            return token
    return None


def without_credentials(headers: Sequence[tuple[bytes, bytes]]) -> Headers:
    """Give the headers but for credentials, under whatever name."""
    return [
        (name, value)
        for name, value in headers
        if name != _PROXYS and _plain(name) not in _KEYS
    ]


def _plain(name: bytes) -> bytes:
    return name.replace(b"_", b"-")


def _read(value: bytes) -> str | None:
    kind = value[: len(_BEARER)].lower()
    if kind.startswith(_BASIC):
        try:
            value = base64.b64decode(value[len(_BASIC) :], validate=True)
        except binascii.Error:
            return None
    elif kind == _BEARER:
        value = value[len(_BEARER) :]
    text = value.decode("latin-1").strip()
    return text if text.isascii() and text.isprintable() and text else None
