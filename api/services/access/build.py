"""Wires sign-in and roles; no I/O happens but reading the policy's file."""

from api.services.access.access_service import AccessService, BearerTokens
from api.services.access.claims import ClaimNames
from api.services.access.jwt_check import TokenCheck
from api.services.access.policy_file import load_policy
from api.services.access.provider_keys import ProviderKeys, new_http
from config import Settings


def build_access(settings: Settings) -> AccessService:
    """Make what knows who may do what.

    Raises:
        PolicyFileError: the policy cannot be read.
    """
    return AccessService(
        load_policy(settings.access_policy),
        claim_names(settings),
        _bearers(settings),
    )


def claim_names(settings: Settings) -> ClaimNames:
    """Give the claims that say who somebody is."""
    return ClaimNames(
        settings.oidc_roles_claim,
        settings.oidc_clients_claim,
        settings.oidc_name_claim,
    )


def _bearers(settings: Settings) -> BearerTokens | None:
    check = _check(settings)
    if check is None or settings.oidc_audience is None:
        return None
    return BearerTokens(check, settings.oidc_audience)


def _check(settings: Settings) -> TokenCheck | None:
    if settings.oidc_issuer is None:
        return None
    keys = ProviderKeys(
        settings.oidc_issuer,
        new_http,
        # What is on this machine may also be without TLS.
        allow_http=settings.oidc_issuer.startswith("http://"),
    )
    return TokenCheck(keys, settings.algorithms, settings.oidc_leeway_seconds)
