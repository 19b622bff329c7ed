"""An OpenID Connect provider's metadata and its signing keys.

Both are fetched when they are first needed, kept, and fetched again when
they are old or a token names a key that is not known. However many tokens
with invented keys come, the provider is asked at most once in
`FETCH_SECONDS`.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx2
import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from pydantic_core import from_json

from api.core.errors import OverloadedError

# After which time keys are fetched again, to learn of revoked ones, and
# how long the old ones are used while the provider does not answer.
FRESH_SECONDS: Final = 600.0
STALE_SECONDS: Final = 24 * 3600.0
FETCH_SECONDS: Final = 10.0
_TIMEOUT = httpx2.Timeout(5.0)
_LARGEST_ANSWER = 512 * 1024
_MOST_KEYS = 100
_LONGEST_KEY_ID = 256
_LEAST_RSA_BITS = 2048
_DISCOVERY = "/.well-known/openid-configuration"
# No key of these kinds is secret: a token cannot be signed with it.
_KINDS = frozenset({"RSA", "EC", "OKP"})

log = structlog.get_logger(__name__)


class ProviderUnavailableError(OverloadedError):
    """The identity provider does not answer as it should."""

    def __init__(self) -> None:
        super().__init__(
            "The identity provider cannot be reached; try again later"
        )


@dataclass(frozen=True, slots=True)
class Metadata:
    """Where a provider has what; None is not there."""

    jwks_uri: str
    authorization_endpoint: str | None = None
    token_endpoint: str | None = None
    userinfo_endpoint: str | None = None
    end_session_endpoint: str | None = None
    sends_issuer: bool = False


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key, and the algorithm that it is for, if it says so."""

    key_id: str | None
    kind: str
    algorithm: str | None
    key: Any


class ProviderKeys:
    """Fetches and keeps one provider's metadata and keys."""

    def __init__(
        self,
        issuer: str,
        http: Callable[[], httpx2.AsyncClient],
        *,
        allow_http: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.issuer = issuer
        self._http = http
        self._allow_http = allow_http
        self._clock = clock
        self._lock = asyncio.Lock()
        self._metadata: Metadata | None = None
        self._keys: tuple[SigningKey, ...] = ()
        self._read_at: float | None = None
        self._tried_at: float | None = None

    async def metadata(self) -> Metadata:
        """Return where the provider has what.

        Raises:
            ProviderUnavailableError: it does not say.
        """
        if self._metadata is None:
            await self._refresh()
        if self._metadata is None:
            raise ProviderUnavailableError
        return self._metadata

    async def find(self, key_id: str | None) -> tuple[SigningKey, ...]:
        """Return the keys that a token may be signed with.

        Without a `key_id` these are all; none if there is none of the name.

        Raises:
            ProviderUnavailableError: none could be fetched for long.
        """
        if self._is_older_than(FRESH_SECONDS):
            await self._refresh()
        if self._is_older_than(STALE_SECONDS):
            raise ProviderUnavailableError
        found = self._named(key_id)
        if not found:
            await self._refresh()
            found = self._named(key_id)
        return found

    def _named(self, key_id: str | None) -> tuple[SigningKey, ...]:
        if key_id is None:
            return self._keys
        return tuple(key for key in self._keys if key.key_id == key_id)

    def _is_older_than(self, seconds: float) -> bool:
        if self._read_at is None:
            return True
        return self._clock() - self._read_at >= seconds

    async def _refresh(self) -> None:
        """Fetch again, unless this was tried a moment ago."""
        async with self._lock:
            now = self._clock()
            last = self._tried_at
            if last is not None and now - last < FETCH_SECONDS:
                return
            self._tried_at = now
            try:
                await self._fetch()
            except (httpx2.HTTPError, ValueError, KeyError) as error:
                log.warning(
                    "provider_keys_not_fetched",
                    issuer=self.issuer,
                    error=type(error).__name__,
                )

    async def _fetch(self) -> None:
        async with self._http() as http:
            metadata = self._read_metadata(
                await read_json(http, self.issuer.rstrip("/") + _DISCOVERY)
            )
            document = await read_json(http, metadata.jwks_uri)
        self._metadata = metadata
        self._keys = read_keys(document)
        self._read_at = self._clock()

    def _read_metadata(self, found: Mapping[str, Any]) -> Metadata:
        # Another one's metadata would bring another one's keys.
        if found["issuer"] != self.issuer:
            raise ValueError("the metadata is another issuer's")
        names = (
            "authorization_endpoint",
            "token_endpoint",
            "userinfo_endpoint",
            "end_session_endpoint",
        )
        given = {
            name: self._address(found[name])
            for name in names
            if found.get(name) is not None
        }
        sends = found.get("authorization_response_iss_parameter_supported")
        jwks_uri = self._address(found["jwks_uri"])
        return Metadata(jwks_uri, **given, sends_issuer=sends is True)

    def _address(self, found: object) -> str:
        schemes = ("https://", "http://") if self._allow_http else "https://"
        if not isinstance(found, str) or not found.startswith(schemes):
            raise ValueError("an address of the metadata is not https")
        return found


def new_http() -> httpx2.AsyncClient:
    """Make what asks a provider; it follows no redirections."""
    return httpx2.AsyncClient(timeout=_TIMEOUT, follow_redirects=False)


async def read_json(
    http: httpx2.AsyncClient,
    url: str,
    *,
    method: str = "GET",
    data: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Read a JSON object of bounded size.

    Raises:
        httpx2.HTTPError: no answer, or an error.
        ValueError: it is too large, or no object.
    """
    async with http.stream(
        method, url, data=data, headers=headers
    ) as response:
        response.raise_for_status()
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > _LARGEST_ANSWER:
                raise ValueError("the answer is too large")
    found = from_json(bytes(body))
    if not isinstance(found, dict):
        raise ValueError("the answer is no object")  # noqa: TRY004 - as above
    return found


def read_keys(document: Mapping[str, Any]) -> tuple[SigningKey, ...]:
    """Read a set of keys (RFC 7517); those that cannot be used are left out.

    Raises:
        ValueError: it is no set of keys.
    """
    given = document.get("keys")
    if not isinstance(given, list):
        raise ValueError("there are no keys")  # noqa: TRY004 - one kind
    found = (_read_key(each) for each in given[:_MOST_KEYS])
    return tuple(key for key in found if key is not None)


def _read_key(given: Any) -> SigningKey | None:  # noqa: ANN401 - hostile
    if not isinstance(given, dict) or given.get("kty") not in _KINDS:
        return None
    if given.get("use", "sig") != "sig":
        return None
    key_id, algorithm = given.get("kid"), given.get("alg")
    if not isinstance(key_id, str | None) or len(key_id or "") > (
        _LONGEST_KEY_ID
    ):
        return None
    try:
        made = jwt.PyJWK(given)
    except (jwt.PyJWTError, NotImplementedError, ValueError, TypeError):
        return None
    key = made.key
    if isinstance(key, RSAPublicKey) and key.key_size < _LEAST_RSA_BITS:
        return None
    return SigningKey(key_id, given["kty"], algorithm, key)
