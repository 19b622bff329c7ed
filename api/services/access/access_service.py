"""Turns credentials into identities, and decides what each may do."""

from dataclasses import dataclass

from api.services.access.claims import ClaimNames, identity_of
from api.services.access.identity import Identity, SignedInBy
from api.services.access.jwt_check import TokenCheck, WrongTokenError
from api.services.access.policy import Decision, Policy


@dataclass(frozen=True, slots=True)
class BearerTokens:
    """The provider whose tokens the API takes, and for which audience."""

    check: TokenCheck
    audience: str


class AccessService:
    """Who somebody is, and what that somebody may do."""

    def __init__(
        self,
        policy: Policy,
        names: ClaimNames,
        bearers: BearerTokens | None = None,
    ) -> None:
        self.policy = policy
        self._names = names
        self._bearers = bearers

    async def by_bearer(self, token: str) -> Identity:
        """Return whose token this is.

        Raises:
            WrongKeyError: it is nobody's.
            ProviderUnavailableError: it cannot be checked now.
        """
        if self._bearers is None:
            raise WrongTokenError
        claims = await self._bearers.check.claims_of(
            token, self._bearers.audience
        )
        return identity_of(claims, self.policy, self._names, SignedInBy.BEARER)

    def decide(self, identity: Identity, method: str, path: str) -> Decision:
        """Decide about a request to the HTTP interface."""
        return self.policy.decide(identity.roles, method, path)

    def may_use_package(self, identity: Identity, package_id: str) -> bool:
        """Decide about a package of the WebSocket."""
        return self.policy.decide_package(
            identity.roles, package_id
        ).is_allowed
