"""Texts that leave the service, or rest in the database, unreadable."""

import base64
import hmac
from typing import Final

from cryptography.fernet import Fernet, InvalidToken

_LABEL: Final = b"metasync sealed texts"


class SealError(ValueError):
    """A text was not sealed here, was changed, or is too old."""


class Sealer:
    """Encrypts and signs with a key that is derived from the pepper."""

    def __init__(self, pepper: str) -> None:
        key = hmac.digest(pepper.encode(), _LABEL, "sha256")
        self._fernet = Fernet(base64.urlsafe_b64encode(key))

    def seal(self, content: bytes) -> str:
        """Make it unreadable for others."""
        return self._fernet.encrypt(content).decode()

    def open(self, sealed: str, seconds: int | None = None) -> bytes:
        """Read it again; `seconds` is how old it may be.

        Raises:
            SealError: it is not ours, or too old.
        """
        try:
            return self._fernet.decrypt(sealed.encode("latin-1"), seconds)
        except (InvalidToken, UnicodeEncodeError):
            raise SealError("not sealed here") from None
