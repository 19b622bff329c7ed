"""Who is calling, however this was found out."""

from dataclasses import dataclass, replace
from enum import StrEnum

ADMIN_ROLE = "admin"
CLIENT_ROLE = "client"
# How the administrator and its key have always been named.
ADMIN_SUBJECT = "admin"


class SignedInBy(StrEnum):
    """What an identity was proved by."""

    ADMIN_KEY = "adminKey"
    CLIENT_KEY = "clientKey"
    BEARER = "bearer"
    TOKEN = "token"  # noqa: S105 - a name
    SERVICE = "serviceToken"
    SESSION = "session"


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody who is known.

    `clients` are those whose things it may see and use; None means all.
    `credential` is the id of its session or token, if it has one.
    """

    subject: str
    name: str
    roles: frozenset[str]
    clients: frozenset[str] | None
    by: SignedInBy
    credential: str | None = None

    @property
    def is_key(self) -> bool:
        """Whether it came with one of the keys, not by sign-in or token.

        The HTTP contract says what keys may do; the policy does not.
        """
        return self.by in {SignedInBy.ADMIN_KEY, SignedInBy.CLIENT_KEY}

    @property
    def actor(self) -> str:
        """How `_metadata` and the audit name it.

        Subjects are a provider's to choose: one that is called `admin` is
        not taken for the administrator.
        """
        if self.is_key:
            return self.subject
        kind = "service" if self.by is SignedInBy.SERVICE else "user"
        return f"{kind}:{self.subject}"

    def may_act_for(self, client_id: str) -> bool:
        """Tell whether this client is within its scope."""
        return self.clients is None or client_id in self.clients

    def narrowed(
        self, roles: frozenset[str], clients: frozenset[str] | None
    ) -> "Identity":
        """Give the same with at most these roles and clients."""
        return replace(
            self,
            roles=self.roles & roles,
            clients=common_clients(self.clients, clients),
        )


def common_clients(
    one: frozenset[str] | None, other: frozenset[str] | None
) -> frozenset[str] | None:
    """Give the clients that are in both scopes; None means all."""
    if one is None or other is None:
        return other if one is None else one
    return one & other


def administrator(by: SignedInBy = SignedInBy.ADMIN_KEY) -> Identity:
    """Give whoever has the administrator's key."""
    return Identity(
        ADMIN_SUBJECT, ADMIN_SUBJECT, frozenset({ADMIN_ROLE}), None, by
    )


def client_itself(client_id: str) -> Identity:
    """Give a client that came with its own key."""
    return Identity(
        client_id,
        client_id,
        frozenset({CLIENT_ROLE}),
        frozenset({client_id}),
        SignedInBy.CLIENT_KEY,
    )
