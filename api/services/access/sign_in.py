"""Sign-in with a browser: OpenID Connect's authorization code with PKCE.

What must be known when the browser comes back (state, nonce, verifier and
where to go) is in a sealed cookie of that browser: an answer that belongs
to another browser's sign-in is refused.
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final
from urllib.parse import quote_plus, urlencode

import httpx2
import structlog
from pydantic_core import from_json, to_json

from api.core.errors import AuthenticationError, RuleError
from api.services.access.claims import Claims
from api.services.access.jwt_check import TokenCheck, WrongTokenError
from api.services.access.provider_keys import (
    Metadata,
    ProviderKeys,
    read_json,
)
from api.services.access.sealed import Sealer, SealError

# How long somebody may take at the provider.
MOST_SECONDS: Final = 600
_LONGEST_RETURN = 1000
_LONGEST_CODE = 4096
# One slash, then no second one and no backslash: browsers take both for
# the beginning of a host.
_RETURN = re.compile(r"/(?![/\\])[\x21-\x7e]*")

log = structlog.get_logger(__name__)


class SignInFailedError(AuthenticationError):
    """A sign-in was not completed; the log says why."""

    def __init__(self) -> None:
        super().__init__("The sign-in was not completed; sign in again")


@dataclass(frozen=True, slots=True)
class AtProvider:
    """How this service is known to the provider."""

    client_id: str
    client_secret: str | None
    scopes: str
    # Where browsers find this service, without a slash at the end.
    public_url: str

    @property
    def callback(self) -> str:
        """Where the provider sends browsers back to."""
        return f"{self.public_url}/auth/callback"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the browser brings back from the provider."""

    state: str | None
    code: str | None
    issuer: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Somebody who has signed in, and where to go on."""

    claims: Claims
    id_token: str
    return_to: str


@dataclass(frozen=True, slots=True)
class _Begun:
    """A sign-in that is under way."""

    state: str
    nonce: str
    verifier: str
    return_to: str


class SignIn:
    """Sends browsers to the provider, and takes them back."""

    def __init__(
        self,
        provider: ProviderKeys,
        check: TokenCheck,
        us: AtProvider,
        sealer: Sealer,
        http: Callable[[], httpx2.AsyncClient],
    ) -> None:
        self.us = us
        self._provider = provider
        self._check = check
        self._sealer = sealer
        self._http = http

    async def begin(self, return_to: str) -> tuple[str, str]:
        """Return the address to go to, and the cookie to come back with.

        Raises:
            RuleError: `return_to` leads elsewhere.
            ProviderUnavailableError: the provider does not answer.
        """
        check_return(return_to)
        metadata = await self._provider.metadata()
        begun = _Begun(
            secrets.token_urlsafe(24),
            secrets.token_urlsafe(24),
            secrets.token_urlsafe(48),
            return_to,
        )
        query = {
            "response_type": "code",
            "client_id": self.us.client_id,
            "redirect_uri": self.us.callback,
            "scope": self.us.scopes,
            "state": begun.state,
            "nonce": begun.nonce,
            "code_challenge": _challenge(begun.verifier),
            "code_challenge_method": "S256",
        }
        endpoint = _required(metadata.authorization_endpoint)
        return _with_query(endpoint, query), self._sealer.seal(
            to_json(asdict(begun))
        )

    async def complete(self, answer: Answer, cookie: str | None) -> SignedIn:
        """Find out who has come back from the provider.

        Raises:
            SignInFailedError: nobody who can be believed.
            ProviderUnavailableError: the provider does not answer.
        """
        begun = self._begun(cookie)
        metadata = await self._provider.metadata()
        code = self._code_of(answer, begun, metadata)
        try:
            return await self._redeemed(code, begun, metadata)
        except (httpx2.HTTPError, ValueError, KeyError) as error:
            raise _failed(type(error).__name__) from None
        except WrongTokenError:
            raise _failed("the ID token is not believed") from None

    async def end_address(self, id_token: str | None) -> str | None:
        """Return where the session at the provider is ended, if it can be."""
        metadata = await self._provider.metadata()
        if metadata.end_session_endpoint is None:
            return None
        query = {
            "client_id": self.us.client_id,
            "post_logout_redirect_uri": f"{self.us.public_url}/",
        }
        if id_token is not None:
            query["id_token_hint"] = id_token
        return _with_query(metadata.end_session_endpoint, query)

    def _begun(self, cookie: str | None) -> _Begun:
        try:
            found = from_json(self._sealer.open(cookie or "", MOST_SECONDS))
            return _Begun(**found)
        except (SealError, TypeError):
            raise _failed("no sign-in was begun in this browser") from None

    def _code_of(
        self, answer: Answer, begun: _Begun, metadata: Metadata
    ) -> str:
        sent = (answer.state or "").encode(errors="replace")
        if not hmac.compare_digest(sent, begun.state.encode()):
            raise _failed("the state is another one's")
        # Another provider's answer (RFC 9207).
        if answer.issuer is None and metadata.sends_issuer:
            raise _failed("the answer names no issuer")
        if answer.issuer not in {None, self._provider.issuer}:
            raise _failed("the answer is another issuer's")
        if answer.error is not None:
            raise _failed("the provider refused it")
        if not answer.code or len(answer.code) > _LONGEST_CODE:
            raise _failed("there is no code")
        return answer.code

    async def _redeemed(
        self, code: str, begun: _Begun, metadata: Metadata
    ) -> SignedIn:
        async with self._http() as http:
            tokens = await read_json(
                http,
                _required(metadata.token_endpoint),
                method="POST",
                data=self._form(code, begun),
                headers=self._authorization(),
            )
            id_token = tokens["id_token"]
            if not isinstance(id_token, str):
                raise _failed("there is no ID token")
            claims = await self._check.claims_of(id_token, self.us.client_id)
            self._check_claims(claims, begun)
            more = await _user_info(http, metadata, tokens)
        if more.get("sub", claims["sub"]) != claims["sub"]:
            raise _failed("the user info is another one's")
        return SignedIn({**more, **claims}, id_token, begun.return_to)

    def _check_claims(self, claims: Claims, begun: _Begun) -> None:
        nonce = str(claims.get("nonce")).encode(errors="replace")
        if not hmac.compare_digest(nonce, begun.nonce.encode()):
            raise _failed("the nonce is another one's")
        audience, party = claims["aud"], claims.get("azp")
        is_shared = isinstance(audience, list) and len(audience) > 1
        if (party is not None or is_shared) and party != self.us.client_id:
            raise _failed("the ID token is for another party")

    def _form(self, code: str, begun: _Begun) -> dict[str, str]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.us.callback,
            "code_verifier": begun.verifier,
        }
        if self.us.client_secret is None:
            form["client_id"] = self.us.client_id
        return form

    def _authorization(self) -> dict[str, str]:
        if self.us.client_secret is None:
            return {}
        # Encoded before they are joined (RFC 6749, 2.3.1).
        pair = ":".join(
            quote_plus(each)
            for each in (self.us.client_id, self.us.client_secret)
        )
        encoded = base64.b64encode(pair.encode()).decode()
        return {"Authorization": f"Basic {encoded}"}


def check_return(path: str) -> None:
    """Refuse to lead a browser anywhere but to a page of this service.

    Raises:
        RuleError: it leads elsewhere.
    """
    if len(path) > _LONGEST_RETURN or not _RETURN.fullmatch(path):
        raise RuleError(
            "next must be a path of this service, such as /console"
        )


async def _user_info(
    http: httpx2.AsyncClient, metadata: Metadata, tokens: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Read claims that some providers do not put into the ID token."""
    token = tokens.get("access_token")
    if metadata.userinfo_endpoint is None or not isinstance(token, str):
        return {}
    headers = {"Authorization": f"Bearer {token}"}
    return await read_json(http, metadata.userinfo_endpoint, headers=headers)


def _challenge(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _with_query(address: str, query: Mapping[str, str]) -> str:
    return f"{address}{'&' if '?' in address else '?'}{urlencode(query)}"


def _required(endpoint: str | None) -> str:
    if endpoint is None:
        raise _failed("the provider has no such endpoint")
    return endpoint


def _failed(reason: str) -> SignInFailedError:
    log.warning("sign_in_failed", reason=reason)
    return SignInFailedError()
