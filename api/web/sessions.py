"""Sessions of people who have signed in to the console.

This is the only place that knows how somebody has signed in. A session is a
document; the browser has a random token, of which only a keyed digest is
stored. It ends when it is signed out, after `SESSION_HOURS`, and as soon as
the key that it was opened with is not valid any more.
"""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import HTTPConnection

from api.core import security
from api.core.addresses import address_of
from api.core.errors import (
    AuthenticationError,
    ForbiddenError,
    WrongKeyError,
)
from api.core.login_limits import LoginLimits
from api.services.clients.client_service import ClientService
from api.services.shared.caller import Caller
from utilities.clock import Clock, now_ms
from utilities.cosmos_connector import Document, Documents

COOKIE = "metasync_session"
CSRF_HEADER = "x-csrf-token"
SESSION_HOURS = 12
COLLECTION = "console_sessions"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_PAGES = frozenset({"same-origin", "none"})
_ENDED = "The session has ended; sign in again"
_WRONG = "The key is not valid"
_FORGED = "The request does not come from the console: its token is missing"
_LONGEST_KEY = 1024
# A session that another process has ended is accepted for this time.
_KEEP_SECONDS = 1.0
_MOST_KEPT = 10_000
_ERASED_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Session:
    """Who has signed in, until when (ms); `key_digest` of which key."""

    session_id: str
    client_id: str | None
    key_digest: str
    expires_at: int

    @property
    def caller(self) -> Caller:
        """The caller of its requests."""
        return Caller(self.client_id, is_admin=self.client_id is None)


class Sessions:
    """Opens sessions, finds them again, and ends them."""

    def __init__(
        self,
        documents: Documents,
        clients: ClientService,
        logins: LoginLimits,
        *,
        admin_api_key: str,
        pepper: str,
        clock: Clock = now_ms,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._documents = documents
        self._clients = clients
        self._logins = logins
        self._admin_key = admin_api_key
        self._pepper = pepper
        self._clock = clock
        self._timer = timer
        self._kept: OrderedDict[str, tuple[float, Session | None]] = (
            OrderedDict()
        )

    async def open(self, key: str, connection: HTTPConnection) -> str:
        """Sign in with the admin key, or a client's `id:key`.

        Returns the new session's token.

        Raises:
            WrongKeyError: the key is not valid.
            TooManyFailedLoginsError: too many wrong ones came before.
        """
        if len(key) > _LONGEST_KEY:
            raise WrongKeyError(_WRONG)
        client_id, digest = await self._checked(key.strip(), connection)
        token = secrets.token_urlsafe(32)
        now = self._clock()
        await self._documents.insert(
            {
                "_id": self._id_of(token),
                "clientId": client_id,
                "keyDigest": digest,
                "expiresAt": now + SESSION_HOURS * 3_600_000,
            }
        )
        expired = {"expiresAt": {"$lte": now}}
        await self._documents.erase_some(expired, _ERASED_AT_ONCE)
        return token

    async def caller_of(self, connection: HTTPConnection) -> Caller | None:
        """Return who has signed in; see `SignedIn`.

        Raises:
            AuthenticationError: the session has ended.
            ForbiddenError: a change that does not come from our pages.
        """
        token = connection.cookies.get(COOKIE)
        if token is None:
            return None
        caller = await self.caller_by_token(token)
        if connection.scope.get("method", "GET") not in _SAFE:
            self._check_origin(token, connection)
        return caller

    async def caller_by_token(self, token: str) -> Caller:
        """Return whose session has this token.

        Raises:
            AuthenticationError: it has ended.
        """
        session = await self._valid(token)
        if session is None:
            raise AuthenticationError(_ENDED)
        return session.caller

    def csrf_token(self, token: str) -> str:
        """Return what changes of this session must bring along."""
        return security.digest(f"csrf {token}", self._pepper)

    async def close(self, token: str) -> None:
        """End a session, in this process at once."""
        await self._close(self._id_of(token))

    async def close_all(self, token: str) -> None:
        """End all sessions of whoever has this one."""
        session = await self._find(self._id_of(token))
        if session is None:
            return
        where = {"clientId": {"$eq": session.client_id}}
        for found in await self._documents.find(where, fields=["_id"]):
            await self._close(found["_id"])

    async def _close(self, session_id: str) -> None:
        await self._documents.erase({"_id": session_id})
        self._keep(session_id, None)

    async def _checked(
        self, key: str, connection: HTTPConnection
    ) -> tuple[str | None, str]:
        client_id, colon, client_key = key.partition(":")
        address = address_of(connection.scope)
        if not colon:
            self._check_admin(key, address)
            return None, self._admin_digest
        try:
            found = await self._clients.authenticate(client_id, client_key)
        except WrongKeyError:
            self._logins.failed(address, client_id)
            raise WrongKeyError(_WRONG) from None
        return found.client_id, found.digest

    def _check_admin(self, key: str, address: str) -> None:
        self._logins.check(security.ADMIN, address)
        if not security.same(key, self._admin_key):
            self._logins.failed(address)
            raise WrongKeyError(_WRONG)
        self._logins.succeeded(security.ADMIN, address)

    async def _valid(self, token: str) -> Session | None:
        session = await self._find(self._id_of(token))
        if session is None or session.expires_at <= self._clock():
            return None
        if session.client_id is None:
            same = security.same(session.key_digest, self._admin_digest)
        else:
            key = await self._clients.key_of(session.client_id)
            same = key is not None and security.same(
                session.key_digest, key.digest
            )
        return session if same else None

    async def _find(self, session_id: str) -> Session | None:
        now = self._timer()
        read_at, session = self._kept.get(session_id, (-_KEEP_SECONDS, None))
        if now - read_at < _KEEP_SECONDS:
            return session
        found = await self._documents.find_one({"_id": session_id})
        session = None if found is None else _read(found)
        if session is not None:
            # What does not exist is not kept: anybody can invent cookies.
            self._keep(session_id, session)
        return session

    def _keep(self, session_id: str, session: Session | None) -> None:
        self._kept[session_id] = (self._timer(), session)
        self._kept.move_to_end(session_id)
        if len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)

    def _check_origin(self, token: str, connection: HTTPConnection) -> None:
        sent = connection.headers.get(CSRF_HEADER, "")
        site = connection.headers.get("sec-fetch-site", "same-origin")
        own = security.same(sent, self.csrf_token(token))
        if not own or site not in _OWN_PAGES:
            raise ForbiddenError(_FORGED)

    @property
    def _admin_digest(self) -> str:
        return security.digest(self._admin_key, self._pepper)

    def _id_of(self, token: str) -> str:
        return security.digest(token, self._pepper)


def _read(document: Document) -> Session:
    return Session(
        document["_id"],
        document["clientId"],
        document["keyDigest"],
        document["expiresAt"],
    )
