"""Access tokens: of people and services, made here, with less than all.

A token has 256 random bits; the database has its digest. It can do at most
what its maker could when it was made, and ends by itself.
"""

import secrets
from typing import Final

from api.core import security
from api.core.errors import ForbiddenError
from api.models.token_models import (
    Token,
    TokenCreate,
    TokenKind,
    TokenWithSecret,
)
from api.services.access.identity import ADMIN_ROLE, Identity, SignedInBy
from api.services.access.jwt_check import WrongTokenError
from api.services.access.kept import Kept
from api.services.access.policy import Policy, Role
from api.services.access.policy_file import EVERY_CLIENT
from api.services.shared.paging import Page, PageRequest, fetch_page
from api.services.shared.repository import Repository
from utilities.clock import Clock, now_ms
from utilities.cosmos_connector import Document, Documents, Filter

TOKENS: Final = "access_tokens"
PREFIX: Final = "mst_"
_LONGEST_SECRET = 128
_SHOWN = len(PREFIX) + 6
_DAY_MS = 24 * 3600 * 1000
# How often it is written down that a token is used.
_USED_MS = 60_000
_NO_MAKER = (
    "Tokens are made by people who have signed in, or with the Admin API "
    "key; not with a client's key or another token"
)


class AccessTokens:
    """Makes, finds and revokes tokens."""

    def __init__(
        self,
        documents: Documents,
        policy: Policy,
        pepper: str,
        clock: Clock = now_ms,
    ) -> None:
        self._documents = documents
        self._tokens = Repository(documents, Token, "Token")
        self._policy = policy
        self._pepper = pepper
        self._clock = clock
        self._kept: Kept[Document] = Kept()

    async def create(
        self, request: TokenCreate, maker: Identity
    ) -> TokenWithSecret:
        """Make a token; only this answer shows its secret.

        Raises:
            ForbiddenError: it would do more than its maker may.
        """
        if maker.by in {
            SignedInBy.CLIENT_KEY,
            SignedInBy.TOKEN,
            SignedInBy.SERVICE,
        }:
            raise ForbiddenError(_NO_MAKER)
        # Whoever has the key is no person.
        kind = TokenKind.SERVICE if maker.is_key else request.kind
        is_service = kind is TokenKind.SERVICE
        roles = self._roles(request.roles, maker)
        clients = _clients(request.clients, maker)
        secret = PREFIX + secrets.token_urlsafe(32)
        made = await self._tokens.add(
            {
                "digest": self._digest(secret),
                "prefix": secret[:_SHOWN],
                "name": request.name,
                "kind": kind,
                "subject": request.name if is_service else maker.subject,
                "roles": sorted(roles),
                "clients": sorted(clients or ()),
                "allClients": clients is None,
                "maker": maker.actor,
                "expiresAt": self._clock()
                + int(request.expires_in_days * _DAY_MS),
                "lastUsedAt": None,
            }
        )
        return TokenWithSecret(**made.__dict__, token=secret)

    async def page(self, asking: Identity, page: PageRequest) -> Page[Token]:
        """List the tokens that somebody has made; for an admin, all."""
        return await fetch_page(
            self._documents, _own(asking), page, Token.from_document
        )

    async def revoke(self, token_id: str, asking: Identity) -> None:
        """End a token.

        Raises:
            NotFoundError: there is none, or somebody else has made it.
        """
        await self._tokens.remove(token_id, _own(asking))
        # One that was used a moment ago must not be used again here.
        self._kept = Kept()

    async def find(self, secret: str) -> Identity:
        """Return who sends a token.

        Raises:
            WrongTokenError: there is none, or it has ended.
        """
        if len(secret) > _LONGEST_SECRET:
            raise WrongTokenError
        digest = self._digest(secret)
        document = self._kept.get(digest)
        if document is None:
            document = await self._read(digest)
            self._kept.put(digest, document)
        if self._clock() >= document["expiresAt"]:
            raise WrongTokenError
        return self._identity(document)

    async def remove_ended(self) -> None:
        """Mark the tokens that have ended by time as deleted."""
        await self._documents.soft_delete(
            {"expiresAt": {"$lte": self._clock()}}
        )

    async def _read(self, digest: str) -> Document:
        found = await self._documents.find_one({"digest": digest})
        if found is None:
            raise WrongTokenError
        now = self._clock()
        if now - (found["lastUsedAt"] or 0) >= _USED_MS:
            await self._documents.patch(
                {"_id": found["_id"]}, {"$set": {"lastUsedAt": now}}
            )
        return found

    def _identity(self, document: Document) -> Identity:
        is_service = document["kind"] == TokenKind.SERVICE
        return Identity(
            document["subject"],
            document["name"],
            frozenset(document["roles"]) & self._policy.roles.keys(),
            None if document["allClients"] else frozenset(document["clients"]),
            SignedInBy.SERVICE if is_service else SignedInBy.TOKEN,
            str(document["_id"]),
        )

    def _roles(
        self, wanted: list[str] | None, maker: Identity
    ) -> frozenset[str]:
        if wanted is None:
            return maker.roles
        allowed = self._with_included(maker.roles)
        if ADMIN_ROLE in maker.roles:
            allowed = frozenset(self._policy.roles)
        if more := sorted(set(wanted) - allowed):
            raise ForbiddenError(
                f"You cannot give the role {more[0]}: a token has at most "
                "the roles of its maker, or the Admin API key makes it"
            )
        return frozenset(wanted)

    def _with_included(self, names: frozenset[str]) -> frozenset[str]:
        found: set[str] = set()
        waiting: list[Role] = [
            self._policy.roles[name]
            for name in names
            if name in self._policy.roles
        ]
        while waiting:
            role = waiting.pop()
            found.add(role.name)
            waiting += role.includes
        return frozenset(found)

    def _digest(self, secret: str) -> str:
        return security.digest(secret, self._pepper)


def _clients(
    wanted: list[str] | None, maker: Identity
) -> frozenset[str] | None:
    """Return the clients of a token; None means all."""
    if wanted is None:
        return maker.clients
    is_every = EVERY_CLIENT in wanted
    if maker.clients is not None and (
        is_every or not maker.clients >= set(wanted)
    ):
        raise ForbiddenError(
            "A token has at most the clients of its maker, or the Admin API "
            "key makes it"
        )
    return None if is_every else frozenset(wanted)


def _own(asking: Identity) -> Filter:
    if ADMIN_ROLE in asking.roles and asking.clients is None:
        return {}
    return {"maker": asking.actor}
