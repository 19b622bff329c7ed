"""API keys: made, kept and compared.

A client's key is 256 random bits, so nothing is gained by a slow password
hash, which would let anybody burn our processor by sending keys; a digest
keyed with the pepper is enough, and a stolen database has no keys.
"""

import hmac
import secrets

# The name of the administrator's key, where wrong ones are counted.
ADMIN = "admin"


def new_api_key() -> str:
    """Make a key of 64 hex digits."""
    return secrets.token_hex(32)


def digest(api_key: str, pepper: str) -> str:
    """Return the HMAC-SHA-256 of a key, in hex, as it is stored."""
    return hmac.digest(
        pepper.encode(), api_key.encode(errors="replace"), "sha256"
    ).hex()


def same(left: str, right: str) -> bool:
    """Compare two secrets in constant time."""
    return hmac.compare_digest(
        left.encode(errors="replace"), right.encode(errors="replace")
    )
