"""Wires sign-in and roles; no I/O happens but reading the policy's file."""

from collections.abc import Callable

from api.services.access.access_service import AccessService, BearerTokens
from api.services.access.claims import ClaimNames
from api.services.access.jwt_check import TokenCheck
from api.services.access.policy_file import load_policy
from api.services.access.provider_keys import ProviderKeys, new_http
from api.services.access.sealed import Sealer
from api.services.access.sessions import SESSIONS, Sessions, SessionTimes
from api.services.access.sign_in import AtProvider, SignIn
from api.services.access.tokens import TOKENS, AccessTokens
from config import Settings
from utilities.clock import Clock
from utilities.cosmos_connector import Documents

_HOUR_MS, _MINUTE_MS = 3_600_000, 60_000


def build_access(
    settings: Settings, documents: Callable[[str], Documents], clock: Clock
) -> AccessService:
    """Make what knows who may do what.

    Raises:
        PolicyFileError: the policy cannot be read.
    """
    provider = _provider(settings)
    check = None
    if provider is not None:
        check = TokenCheck(
            provider, settings.algorithms, settings.oidc_leeway_seconds
        )
    pepper = settings.api_key_pepper.get_secret_value()
    sealer = Sealer(pepper)
    times = SessionTimes(
        int(settings.session_hours * _HOUR_MS),
        int(settings.session_idle_minutes * _MINUTE_MS),
    )
    us, sign_in = _at_provider(settings), None
    if provider is not None and check is not None and us is not None:
        sign_in = SignIn(provider, check, us, sealer, new_http)
    policy = load_policy(settings.access_policy)
    return AccessService(
        policy,
        claim_names(settings),
        Sessions(documents(SESSIONS), times, pepper, sealer, clock),
        AccessTokens(documents(TOKENS), policy, pepper, clock),
        _bearers(settings, check),
        sign_in,
    )


def claim_names(settings: Settings) -> ClaimNames:
    """Give the claims that say who somebody is."""
    return ClaimNames(
        settings.oidc_roles_claim,
        settings.oidc_clients_claim,
        settings.oidc_name_claim,
    )


def _bearers(
    settings: Settings, check: TokenCheck | None
) -> BearerTokens | None:
    if check is None or settings.oidc_audience is None:
        return None
    return BearerTokens(check, settings.oidc_audience)


def _provider(settings: Settings) -> ProviderKeys | None:
    if settings.oidc_issuer is None:
        return None
    # What is on this machine may also be without TLS.
    allow_http = settings.oidc_issuer.startswith("http://")
    return ProviderKeys(settings.oidc_issuer, new_http, allow_http=allow_http)


def _at_provider(settings: Settings) -> AtProvider | None:
    if settings.oidc_client_id is None or settings.public_url is None:
        return None
    secret = settings.oidc_client_secret
    return AtProvider(
        settings.oidc_client_id,
        secret.get_secret_value() if secret is not None else None,
        settings.oidc_scopes,
        settings.public_url,
    )
