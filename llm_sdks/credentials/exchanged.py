"""Credentials that are no keys themselves: they are exchanged for tokens.

The secret behind a key reference may be a JSON object in place of a key:

- an OAuth 2 client (RFC 6749, section 4.4): its id and secret are sent to a
  token endpoint; with `tenant` alone, to that of Microsoft Entra ID;
- a key to sign a JWT with (RFC 7523): the JWT is the token, or is sent to a
  token endpoint;
- what Google hands out as a file (of a service account, or of a user):
  Google's library exchanges it.

Whoever sets the environment writes it: unlike a model's endpoint, it may
name any address. It must be https, but on this machine.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import httpx2
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel

from llm_sdks import errors

_ENTRA = "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token"
_ENTRA_SCOPE = "https://cognitiveservices.azure.com/.default"
_GOOGLE_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_GOOGLE_TYPES = frozenset({"service_account", "authorized_user"})
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_THIS_MACHINE = frozenset({"127.0.0.1", "localhost", "::1"})
_SECONDS = 30.0
_MOST_BYTES = 64 * 1024
_USUAL_LIFE, _SHORTEST_LIFE, _LONGEST_LIFE = 3600.0, 1.0, 86_400.0
_MOST_TOKEN_CHARACTERS = 16_384
_REFUSED = 400
_SERVER_ERROR = 500
_SAFE_WORDS = 200
_SOME_TOKEN = SecretStr("token")


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token, and how long it lives (s) from its exchange on."""

    value: str = field(repr=False)
    seconds: float


def _check_address(url: str) -> str:
    parts = urlsplit(url)
    is_local = parts.scheme == "http" and parts.hostname in _THIS_MACHINE
    if not parts.hostname or not (parts.scheme == "https" or is_local):
        raise ValueError("must be an https URL")
    return url


_Address = Annotated[str, AfterValidator(_check_address)]


class _Settings(BaseModel):
    """Names as they are in the wild: camelCase, or with underscores."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        hide_input_in_errors=True,
    )

    name: str | None = None
    # The User-Agent of requests that are made with it.
    agent: Annotated[
        str | None, Field(max_length=256, pattern=r"^[\x20-\x7e]+$")
    ] = None


class OAuthClient(_Settings):
    """An OAuth 2 client."""

    type: Literal["clientCredentials"] = "clientCredentials"
    client_id: Annotated[str, Field(min_length=1)]
    client_secret: SecretStr
    tenant: Annotated[
        str | None, Field(pattern=r"^[A-Za-z0-9.\-]{1,128}$")
    ] = None
    token_url: _Address | None = None
    scope: str | None = None
    audience: str | None = None

    @model_validator(mode="after")
    def _has_an_address(self) -> "OAuthClient":
        if self.token_url is None and self.tenant is None:
            raise ValueError("tenant or tokenUrl is needed")
        return self

    def exchange(self) -> Token:
        """Get a token; see `ExchangedCredential.exchange`."""
        address, scope = self.token_url, self.scope
        if address is None:
            address = _ENTRA.format(tenant=self.tenant)
            scope = scope or _ENTRA_SCOPE
        form = {
            "grant_type": "client_credentials",
            "client_id": self.client_id,
            "client_secret": self.client_secret.get_secret_value(),
        }
        further = {"scope": scope, "audience": self.audience}
        form |= {name: text for name, text in further.items() if text}
        return _asked(address, form, self.agent)


class SignedToken(_Settings):
    """A key that signs a JWT: RS256, or ES256 for a key on a curve."""

    type: Literal["jwt"]
    private_key: SecretStr
    key_id: str | None = None
    issuer: Annotated[str, Field(min_length=1)]
    subject: str | None = None
    audience: Annotated[str, Field(min_length=1)]
    scope: str | None = None
    seconds: Annotated[int, Field(ge=60, le=86_400)] = 3600
    token_url: _Address | None = None

    def exchange(self) -> Token:
        """Sign, and exchange if there is an address."""
        signed = self._signed()
        if self.token_url is None:
            return Token(signed, float(self.seconds))
        form = {"grant_type": _GRANT, "assertion": signed}
        if self.scope:
            form["scope"] = self.scope
        return _asked(self.token_url, form, self.agent)

    def _signed(self) -> str:
        # They take a tenth of a second, and few models need them.
        from google.auth import crypt, jwt  # noqa: PLC0415

        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "sub": self.subject or self.issuer,
            "aud": self.audience,
            "iat": now,
            "exp": now + self.seconds,
        }
        if self.scope:
            claims["scope"] = self.scope
        text = self.private_key.get_secret_value()
        for signer in (crypt.RSASigner, crypt.EsSigner):
            try:
                made = signer.from_string(text, self.key_id)
                encode: Any = jwt.encode  # it has no types
                return str(encode(made, claims).decode())
            except (ValueError, TypeError, AttributeError):
                continue
        raise errors.ConfigurationError(
            "privateKey of the credential is no PEM of an RSA or EC key"
        )


class _GoogleFile:
    """What Google's tools write: a service account, a user, a federation."""

    agent: str | None = None

    def __init__(self, info: Mapping[str, Any]) -> None:
        self._info = dict(info)

    def exchange(self) -> Token:
        """Have Google's library get a token."""
        # They take a tenth of a second, and few models need them.
        from google.auth import exceptions  # noqa: PLC0415
        from google.auth.transport.requests import (  # noqa: PLC0415
            Request,
        )

        try:
            credentials = self._credentials()
            credentials.refresh(Request())
        except exceptions.TransportError:
            raise errors.CannotConnectError(
                "Google's token endpoint cannot be reached"
            ) from None
        except exceptions.RefreshError as error:
            if getattr(error, "retryable", False):
                raise errors.ProviderError(
                    "Google's token endpoint fails"
                ) from None
            raise errors.NotAuthorizedError(
                "Google refuses the credential"
            ) from None
        except (exceptions.GoogleAuthError, ValueError, TypeError):
            raise errors.ConfigurationError(
                "Google's library cannot use the credential: check the file"
            ) from None
        left = _USUAL_LIFE
        if credentials.expiry is not None:
            left = credentials.expiry.timestamp() - _utc_now_as_naive()
        return _token(credentials.token, left)

    def _credentials(self) -> Any:  # noqa: ANN401 - the library's, untyped
        from google.oauth2 import (  # noqa: PLC0415 - as above
            credentials,
            service_account,
        )

        read: Any = credentials.Credentials.from_authorized_user_info
        if self._info["type"] == "service_account":
            read = service_account.Credentials.from_service_account_info
        return read(self._info, scopes=[_GOOGLE_SCOPE])


def _utc_now_as_naive() -> float:
    # The library's times are in UTC and do not say so.
    from datetime import UTC, datetime  # noqa: PLC0415 - only here

    return datetime.now(UTC).replace(tzinfo=None).timestamp()


@dataclass(frozen=True, slots=True)
class ExchangedCredential:
    """A credential that has been read; `agent` is its User-Agent, if any."""

    exchange_now: Callable[[], Token] = field(repr=False)
    agent: str | None = None

    def exchange(self) -> Token:
        """Exchange it for a token; blocks for up to 30 s.

        Raises:
            LLMError: there is none; says why, without any secret.
        """
        return self.exchange_now()


def is_exchanged(secret: SecretStr) -> bool:
    """Tell whether a secret is a credential in place of a key."""
    return secret.get_secret_value().lstrip().startswith("{")


def read_credential(secret: SecretStr) -> ExchangedCredential:
    """Read a credential.

    Raises:
        ConfigurationError: it cannot be used; says why, without quoting it.
    """
    try:
        fields = json.loads(secret.get_secret_value())
    except ValueError:
        raise errors.ConfigurationError(
            "The credential begins with { but is no JSON object"
        ) from None
    if fields.get("type") in _GOOGLE_TYPES:
        file = _GoogleFile(fields)
        return ExchangedCredential(file.exchange)
    model = SignedToken if fields.get("type") == "jwt" else OAuthClient
    try:
        made = model.model_validate(fields)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, each['loc']))}: {each['msg']}"
            for each in error.errors(include_input=False, include_url=False)
        )
        raise errors.ConfigurationError(
            f"The credential cannot be used: {problems}"
        ) from None
    return ExchangedCredential(made.exchange, made.agent)


def sent_for(secret: SecretStr) -> SecretStr:
    """Give what settings are checked with: a credential is not exchanged.

    Raises:
        ConfigurationError: it is a credential that cannot be used.
    """
    if not is_exchanged(secret):
        return secret
    read_credential(secret)
    return _SOME_TOKEN


def _asked(address: str, form: Mapping[str, str], agent: str | None) -> Token:
    """Send a form to a token endpoint, and read the token."""
    headers = {"accept": "application/json"}
    if agent:
        headers["user-agent"] = agent
    local = urlsplit(address).hostname in _THIS_MACHINE
    try:
        with (
            # A redirection would take the secret somewhere else.
            httpx2.Client(
                timeout=_SECONDS, follow_redirects=False, trust_env=not local
            ) as http,
            http.stream("POST", address, data=form, headers=headers) as sent,
        ):
            content = b""
            for piece in sent.iter_bytes():
                content += piece
                if len(content) > _MOST_BYTES:
                    raise errors.ProviderError(
                        "The token endpoint's answer is too long"
                    )
            status = sent.status_code
    except httpx2.TimeoutException:
        raise errors.CallTimeoutError(
            f"The token endpoint has not answered within {_SECONDS:g} s"
        ) from None
    except httpx2.HTTPError:
        raise errors.CannotConnectError(
            "The token endpoint cannot be reached"
        ) from None
    return _read(status, content)


def _read(status: int, content: bytes) -> Token:
    try:
        fields = json.loads(content)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        fields = {}
    if status >= _SERVER_ERROR:
        raise errors.ProviderError(
            f"The token endpoint fails: HTTP {status}", http_status=status
        )
    if status >= _REFUSED:
        # By RFC 6749 a word such as `invalid_client`.
        word = str(fields.get("error") or "")[:_SAFE_WORDS]
        shown = word if word.replace("_", "").isalnum() else "no reason"
        raise errors.NotAuthorizedError(
            f"The token endpoint refuses the credential: HTTP {status}, "
            f"{shown}",
            http_status=status,
        )
    return _token(fields.get("access_token"), fields.get("expires_in"))


def _token(value: object, seconds: object) -> Token:
    is_text = isinstance(value, str) and value.isascii()
    if not (is_text and str(value).isprintable() and value) or (
        len(str(value)) > _MOST_TOKEN_CHARACTERS
    ):
        raise errors.ProviderError("The token endpoint has sent no token")
    try:
        life = float(str(seconds))
    except ValueError:
        life = _USUAL_LIFE
    if not life >= _SHORTEST_LIFE:  # also not a number
        life = _SHORTEST_LIFE
    return Token(str(value), min(life, _LONGEST_LIFE))
