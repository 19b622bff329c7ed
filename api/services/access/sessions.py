"""Sessions of people who have signed in with a browser.

The browser has a random secret in a cookie; the database has its digest, so
that whoever reads the database cannot use a session.
"""

import secrets
from dataclasses import dataclass
from typing import Final

from api.core import security
from api.core.errors import AuthenticationError
from api.services.access.identity import Identity, SignedInBy
from api.services.access.kept import Kept
from api.services.access.sealed import Sealer, SealError
from utilities.clock import Clock, now_ms
from utilities.cosmos_connector import Document, Documents, ObjectId

SESSIONS: Final = "access_sessions"
ENDED: Final = "The session has ended; sign in again"
_LONGEST_SECRET = 128
# How often it is written down that a session is used.
_SEEN_MS = 60_000
_CSRF = "csrf:"


class SessionEndedError(AuthenticationError):
    """There is no such session, or not any more."""

    def __init__(self) -> None:
        super().__init__(ENDED)


@dataclass(frozen=True, slots=True)
class SessionTimes:
    """How long sessions last, and how long without use; in ms."""

    longest: int
    idle: int


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody's session; times in ms."""

    identity: Identity
    expires_at: int
    seen_at: int
    sealed_id_token: str | None = None


class Sessions:
    """Makes, finds and ends sessions."""

    def __init__(
        self,
        documents: Documents,
        times: SessionTimes,
        pepper: str,
        sealer: Sealer,
        clock: Clock = now_ms,
    ) -> None:
        self._documents = documents
        self._times = times
        self._pepper = pepper
        self._sealer = sealer
        self._clock = clock
        self._kept: Kept[Session] = Kept()

    @property
    def seconds(self) -> int:
        """How long a session lasts at most."""
        return self._times.longest // 1000

    async def begin(self, identity: Identity, id_token: str | None) -> str:
        """Make a session, and return its secret.

        It is always a new one: a secret that somebody has planted in the
        browser before is never taken on.
        """
        secret, now = secrets.token_urlsafe(32), self._clock()
        sealed = id_token and self._sealer.seal(id_token.encode())
        await self._documents.insert(
            {
                "_id": ObjectId(),
                "digest": self._digest(secret),
                "subject": identity.subject,
                "name": identity.name,
                "roles": sorted(identity.roles),
                "clients": sorted(identity.clients or ()),
                "allClients": identity.clients is None,
                "idToken": sealed,
                "expiresAt": now + self._times.longest,
                "seenAt": now,
            }
        )
        return secret

    async def find(self, secret: str) -> Session:
        """Return the session with this secret.

        Raises:
            SessionEndedError: there is none, or it has ended.
        """
        if len(secret) > _LONGEST_SECRET:
            raise SessionEndedError
        digest, now = self._digest(secret), self._clock()
        session = self._kept.get(digest)
        if session is None:
            session = await self._read(digest)
            self._kept.put(digest, session)
        if now >= min(session.expires_at, session.seen_at + self._times.idle):
            raise SessionEndedError
        return session

    async def end(self, secret: str) -> str | None:
        """End a session; return its ID token, if it has one.

        Raises:
            SessionEndedError: it has ended already.
        """
        session = await self.find(secret)
        digest = self._digest(secret)
        await self._documents.erase({"digest": digest})
        self._kept.forget(digest)
        if session.sealed_id_token is None:
            return None
        try:
            return self._sealer.open(session.sealed_id_token).decode()
        except SealError:
            return None

    async def remove_ended(self) -> None:
        """Remove the sessions that have ended by time."""
        now = self._clock()
        await self._documents.erase({"expiresAt": {"$lte": now}})
        await self._documents.erase(
            {"seenAt": {"$lte": now - self._times.idle}}
        )

    def csrf_token(self, secret: str) -> str:
        """Give what a page must send with its changes.

        Only pages of this service can read it, from `/auth/me`.
        """
        return security.digest(_CSRF + secret, self._pepper)[:43]

    async def _read(self, digest: str) -> Session:
        found = await self._documents.find_one({"digest": digest})
        if found is None:
            raise SessionEndedError
        session, now = _session_of(found), self._clock()
        if now - session.seen_at >= min(_SEEN_MS, self._times.idle // 4):
            await self._documents.patch(
                # One that has ended stays so.
                {
                    "_id": found["_id"],
                    "seenAt": {"$gt": now - self._times.idle},
                },
                {"$set": {"seenAt": now}},
            )
        return session

    def _digest(self, secret: str) -> str:
        return security.digest(secret, self._pepper)


def _session_of(document: Document) -> Session:
    clients = frozenset(document["clients"])
    identity = Identity(
        document["subject"],
        document["name"],
        frozenset(document["roles"]),
        None if document["allClients"] else clients,
        SignedInBy.SESSION,
        str(document["_id"]),
    )
    return Session(
        identity,
        document["expiresAt"],
        document["seenAt"],
        document["idToken"],
    )
