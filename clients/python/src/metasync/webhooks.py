"""Checks what comes to a webhook: Standard Webhooks' signatures.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec
"""

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any

from metasync.errors import ConfigurationError, SignatureError

_PREFIX = "whsec_"
_VERSION = "v1"
_TOLERANCE_SECONDS = 300
_MOST_SIGNATURES = 20
# A time in seconds: longer ones are none.
_LONGEST_TIME = 12


class WebhookVerifier:
    """Tells messages of the server from those of others."""

    def __init__(
        self, secret: str, *, tolerance: int = _TOLERANCE_SECONDS
    ) -> None:
        """Take the webhook's secret; `tolerance` is in seconds.

        Raises:
            ConfigurationError: it is no secret of a webhook.
        """
        try:
            text = secret.removeprefix(_PREFIX)
            self._key = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            self._key = b""
        if not self._key:
            raise ConfigurationError(
                f"The secret must be one such as {_PREFIX}... (base64)"
            )
        self._tolerance = tolerance

    def verify(
        self,
        body: bytes | str,
        headers: Mapping[str, str],
        *,
        now: float | None = None,
    ) -> dict[str, Any]:
        """Return the message, if it is the server's and was sent just now.

        `body` is what has come, byte for byte. The same message may come
        twice: its header `webhook-id` is then the same.

        Raises:
            SignatureError: it is not.
        """
        raw = body.encode() if isinstance(body, str) else body
        known = {name.lower(): value for name, value in headers.items()}
        message_id = _needed(known, "webhook-id")
        moment = _needed(known, "webhook-timestamp")
        self._check_time(moment, time.time() if now is None else now)
        signed = f"{message_id}.{moment}.".encode() + raw
        digest = hmac.digest(self._key, signed, hashlib.sha256)
        expected = base64.b64encode(digest)
        self._check_any(_needed(known, "webhook-signature"), expected)
        return _read(raw)

    def _check_time(self, moment: str, now: float) -> None:
        if not (
            moment.isascii()
            and moment.isdigit()
            and len(moment) <= _LONGEST_TIME
        ):
            raise SignatureError("webhook-timestamp is no time")
        if abs(now - int(moment)) > self._tolerance:
            raise SignatureError(
                "The message was not sent just now, or a clock is wrong"
            )

    @staticmethod
    def _check_any(signatures: str, expected: bytes) -> None:
        # Several, while the secret is being changed.
        for each in signatures.split(" ")[:_MOST_SIGNATURES]:
            version, _, value = each.partition(",")
            same = hmac.compare_digest(value.encode(), expected)
            if same and version == _VERSION:
                return
        raise SignatureError("The signature is not the server's")


def _needed(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name)
    if not value:
        raise SignatureError(f"There is no header {name}")
    return value


def _read(raw: bytes) -> dict[str, Any]:
    try:
        message = json.loads(raw)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise SignatureError("The message is no JSON object")
    return message
