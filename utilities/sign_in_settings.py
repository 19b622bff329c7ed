"""The settings of sign-in, roles and audit; part of `config.Settings`."""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings

from utilities.key_variables import listed

# With these, whoever can read a key may sign with it, or nobody signs.
_REFUSED: Final = ("HS", "NONE")
_KNOWN: Final = frozenset(
    {
        *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
        *("ES256", "ES384", "ES512", "EdDSA"),
    }
)


class SignInSettings(BaseSettings):
    """Who may sign in, how, and what each may do."""

    access_policy: Path | None = None
    # Where browsers find the service: scheme, host, and a prefix if any.
    public_url: str | None = None

    oidc_issuer: str | None = None
    oidc_audience: str | None = None
    oidc_client_id: str | None = None
    oidc_client_secret: SecretStr | None = None
    oidc_scopes: str = "openid profile email"
    oidc_algorithms: str = "RS256,PS256,ES256,EdDSA"
    oidc_roles_claim: str = "roles"
    oidc_clients_claim: str = "clients"
    oidc_name_claim: str = "preferred_username"
    oidc_leeway_seconds: Annotated[float, Field(ge=0, le=300)] = 60
    # Only for a provider in the same private network.
    oidc_allow_http: bool = False

    session_hours: Annotated[float, Field(gt=0, le=24 * 31)] = 12
    session_idle_minutes: Annotated[float, Field(gt=0, le=60 * 24 * 31)] = 120

    audit_log: bool = True
    audit_syslog: str | None = None

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The algorithms that tokens may be signed by."""
        return listed(self.oidc_algorithms)

    @field_validator("oidc_algorithms")
    @classmethod
    def _are_algorithms(cls, text: str) -> str:
        given = listed(text)
        if any(each.upper().startswith(_REFUSED) for each in given):
            raise ValueError("must be algorithms with a public key")
        if not given or not set(given) <= _KNOWN:
            raise ValueError(f"must be of {', '.join(sorted(_KNOWN))}")
        return text

    @field_validator("public_url")
    @classmethod
    def _is_address(cls, text: str | None) -> str | None:
        if text is None:
            return None
        parts = urlsplit(text)
        if (
            parts.scheme not in {"https", "http"}
            or not parts.hostname
            or parts.username is not None
            or parts.query
            or parts.fragment
        ):
            raise ValueError(
                "must be an address such as https://metasync.example.com, "
                "without user, query and fragment"
            )
        return text.rstrip("/")

    @field_validator("audit_syslog")
    @classmethod
    def _is_syslog(cls, text: str | None) -> str | None:
        if text is None:
            return None
        parts = urlsplit(text)
        if parts.scheme not in {"udp", "tcp"} or not parts.hostname:
            raise ValueError("must be udp://host:port or tcp://host:port")
        return text

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        given = self.oidc_audience or self.oidc_client_id
        if given and self.oidc_issuer is None:
            raise ValueError(
                "OIDC_ISSUER is needed with OIDC_AUDIENCE and OIDC_CLIENT_ID"
            )
        if self.oidc_client_id and self.public_url is None:
            raise ValueError("PUBLIC_URL is needed with OIDC_CLIENT_ID")
        if self.oidc_issuer is not None:
            _check_issuer(self.oidc_issuer, allow_http=self.oidc_allow_http)
        return self


def _check_issuer(issuer: str, *, allow_http: bool) -> None:
    parts = urlsplit(issuer)
    is_safe = parts.scheme == "https" or (
        parts.scheme == "http" and (allow_http or _is_here(parts.hostname))
    )
    if not is_safe or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(
            "OIDC_ISSUER must begin with https://, and have no query; "
            "OIDC_ALLOW_HTTP=true lets it be http://"
        )


def _is_here(host: str | None) -> bool:
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False
