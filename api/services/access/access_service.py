"""Turns credentials into identities, and decides what each may do."""

from dataclasses import dataclass, replace

from api.core.errors import NotFoundError
from api.services.access.claims import ClaimNames, Claims, identity_of
from api.services.access.identity import Identity, SignedInBy
from api.services.access.jwt_check import TokenCheck, WrongTokenError
from api.services.access.policy import Decision, Policy
from api.services.access.sessions import Sessions
from api.services.access.sign_in import SignIn
from api.services.access.tokens import PREFIX, AccessTokens


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
        sessions: Sessions,
        tokens: AccessTokens,
        bearers: BearerTokens | None = None,
        sign_in: SignIn | None = None,
    ) -> None:
        self.policy = policy
        self.sessions = sessions
        self.tokens = tokens
        self._names = names
        self._bearers = bearers
        self._sign_in = sign_in

    @property
    def sign_in(self) -> SignIn:
        """The way to sign in with a browser.

        Raises:
            NotFoundError: no provider is set up for it.
        """
        if self._sign_in is None:
            raise NotFoundError("Sign-in")
        return self._sign_in

    async def by_bearer(self, token: str) -> Identity:
        """Return whose token this is.

        Raises:
            WrongKeyError: it is nobody's.
            ProviderUnavailableError: it cannot be checked now.
        """
        if token.startswith(PREFIX):
            return await self.tokens.find(token)
        if self._bearers is None:
            raise WrongTokenError
        claims = await self._bearers.check.claims_of(
            token, self._bearers.audience
        )
        return identity_of(claims, self.policy, self._names, SignedInBy.BEARER)

    async def by_session(self, secret: str) -> Identity:
        """Return whose session this is.

        Raises:
            SessionEndedError: it is nobody's, or has ended.
        """
        session = await self.sessions.find(secret)
        # The policy may have other roles by now.
        known = session.identity.roles & self.policy.roles.keys()
        return replace(session.identity, roles=known)

    def signed_in(self, claims: Claims) -> Identity:
        """Return who has signed in with a browser."""
        return identity_of(
            claims, self.policy, self._names, SignedInBy.SESSION
        )

    def decide(self, identity: Identity, method: str, path: str) -> Decision:
        """Decide about a request to the HTTP interface."""
        return self.policy.decide(identity.roles, method, path)

    def may_use_package(self, identity: Identity, package_id: str) -> bool:
        """Decide about a package of the WebSocket."""
        return self.policy.decide_package(
            identity.roles, package_id
        ).is_allowed
