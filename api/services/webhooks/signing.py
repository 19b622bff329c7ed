"""Signatures as Standard Webhooks say (standardwebhooks.com).

A webhook's secret is not stored: it is derived from `API_KEY_PEPPER`, the
webhook's id and a salt, so neither the database nor a backup has it.
"""

import base64
import hashlib
import hmac
import secrets

_PREFIX = "whsec_"


def new_salt() -> str:
    """Make what separates a secret from the ones before it."""
    return secrets.token_hex(16)


class Signer:
    """Derives the secrets of webhooks and signs with them."""

    def __init__(self, pepper: str) -> None:
        self._pepper = pepper.encode()

    def secret(self, webhook_id: str, salt: str) -> str:
        """Give a webhook's secret, as its receiver keeps it."""
        return _PREFIX + base64.b64encode(self._key(webhook_id, salt)).decode()

    def headers(
        self, webhook_id: str, salt: str, message: tuple[str, int, str]
    ) -> dict[str, str]:
        """Give the headers of a message: its id, its time (s), its body."""
        event_id, timestamp, body = message
        signed = f"{event_id}.{timestamp}.{body}".encode()
        key = self._key(webhook_id, salt)
        digest = hmac.digest(key, signed, hashlib.sha256)
        return {
            "webhook-id": event_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
        }

    def _key(self, webhook_id: str, salt: str) -> bytes:
        text = f"webhook-secret\x00{webhook_id}\x00{salt}"
        return hmac.digest(self._pepper, text.encode(), hashlib.sha256)
