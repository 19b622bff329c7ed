"""Stands in for an OpenID Connect provider: metadata, keys, tokens."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.api_jws import PyJWS

from tests.support.served import served

AUDIENCE = "metasync-api"
Json = dict[str, Any]
_KINDS: dict[str, Any] = {
    "RS256": RSAAlgorithm,
    "ES256": ECAlgorithm,
    "EdDSA": OKPAlgorithm,
}


@dataclass
class Key:
    """A key that signs, and its public half as the provider shows it."""

    key_id: str | None
    algorithm: str = "RS256"
    private: Any = None

    def __post_init__(self) -> None:
        self.private = self.private or _new_private(self.algorithm)

    def public(self) -> Json:
        """Give the JWK."""
        made = _KINDS[self.algorithm].to_jwk(self.private.public_key())
        named = {"kid": self.key_id} if self.key_id else {}
        return {
            **json.loads(made),
            **named,
            "use": "sig",
            "alg": self.algorithm,
        }


def _new_private(algorithm: str) -> Any:
    if algorithm == "RS256":
        return rsa.generate_private_key(65537, 2048)
    if algorithm == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    return ed25519.Ed25519PrivateKey.generate()


@dataclass
class IdentityProvider:
    """The provider; tests change what it answers."""

    issuer: str = ""
    key: Key = field(default_factory=lambda: Key("first"))
    keys: list[Json] = field(default_factory=list)
    fetches: int = 0
    is_down: bool = False
    metadata: Json = field(default_factory=dict)
    # What the next code is exchanged for, and who has asked.
    tokens: Json = field(default_factory=dict)
    asked: list[tuple[str, Json]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.keys = [self.key.public()]

    def token(self, key: Key | None = None, **claims: Any) -> str:
        """Sign a token; claims that are None are left out."""
        key, now = key or self.key, int(time.time())
        whole = {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "sub": "alice",
            "iat": now,
            "exp": now + 300,
            **claims,
        }
        kept = {name: each for name, each in whole.items() if each is not None}
        headers = {"kid": key.key_id} if key.key_id else {}
        raw = json.dumps(kept).encode()
        return PyJWS().encode(raw, key.private, key.algorithm, headers)

    async def discovery(self, _: web.Request) -> web.Response:
        """Answer the metadata."""
        found = {
            "issuer": self.issuer,
            "jwks_uri": f"{self.issuer}/jwks",
            "authorization_endpoint": f"{self.issuer}/authorize?own=1",
            "token_endpoint": f"{self.issuer}/token",
            "end_session_endpoint": f"{self.issuer}/end",
            **self.metadata,
        }
        return web.json_response(found)

    async def jwks(self, _: web.Request) -> web.Response:
        """Answer the keys."""
        self.fetches += 1
        if self.is_down:
            raise web.HTTPInternalServerError
        return web.json_response({"keys": self.keys})

    async def exchange(self, request: web.Request) -> web.Response:
        """Exchange a code for what the test wants."""
        form = {
            name: str(text) for name, text in (await request.post()).items()
        }
        self.asked.append((request.headers.get("Authorization", ""), form))
        return web.json_response(
            self.tokens, status=200 if self.tokens else 400
        )


@contextmanager
def identity_provider() -> Iterator[IdentityProvider]:
    """Serve a provider until the block ends."""
    provider, app = IdentityProvider(), web.Application()
    app.router.add_get("/.well-known/openid-configuration", provider.discovery)
    app.router.add_get("/jwks", provider.jwks)
    app.router.add_post("/token", provider.exchange)
    with served(app) as url:
        provider.issuer = url
        yield provider


def bearer(token: str, **more: str) -> dict[str, str]:
    """Give the headers of a request with a token."""
    return {"Authorization": f"Bearer {token}", **more}
