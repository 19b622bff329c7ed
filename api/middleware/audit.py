"""Records what requests change, and which of them are refused."""

import ipaddress
from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from typing import Any, Final

from asgi_correlation_id import correlation_id
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.middleware.http_metrics import NO_ROUTE
from api.services.access.audit.audit_log import AuditLog
from api.services.access.audit.events import (
    DONE,
    FAILED,
    REFUSED,
    UNKNOWN,
    Event,
    new_event_id,
)
from api.services.access.identity import Identity
from api.services.shared.audit_trail import Trail, current_trail
from utilities.clock import Clock, now_ms

_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_UNAUTHORIZED, _FORBIDDEN, _TOO_MANY = 401, 403, 429
_FIRST_BAD, _FIRST_BROKEN = 400, 500
_LONGEST_TEXT = 256
_LONGEST_ADDRESS = 64
# Those come in masses. What they make, their documents say one by one.
_FREQUENT = frozenset({"POST /jobs", "POST /stream"})
# What is asked for is too long for a query string.
_ONLY_READ = frozenset({"/jobs/wait", "/jobs/answers"})


class AuditMiddleware:
    """Makes one event of each request that changes something or is refused.

    Calls through the vendors' interfaces change nothing here, and are kept
    as streams: of these, only what is refused is recorded.
    """

    def __init__(
        self, app: ASGIApp, audit: AuditLog, clock: Clock = now_ms
    ) -> None:
        self._app = app
        self._audit = audit
        self._clock = clock

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Pass the request on, watching."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = _FIRST_BROKEN

        async def watching_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        trail = None if scope["method"] in _READING else Trail()
        token = current_trail.set(trail)
        try:
            await self._app(scope, receive, watching_send)
        finally:
            current_trail.reset(token)
            outcome = _outcome(scope, status)
            if outcome is not None:
                self._record(scope, status, outcome, trail)
            if trail is not None:
                trail.is_closed = True

    def _record(
        self, scope: Scope, status: int, outcome: str, trail: Trail | None
    ) -> None:
        state: Mapping[str, Any] = scope.get("state", {})
        identity: Identity | None = state.get("identity")
        noted, now = trail or _NOTHING, self._clock()
        action = f"{scope['method']} {_template(scope)}"
        self._audit.add(
            Event(
                id=new_event_id(),
                at=now,
                until=now,
                actor=identity.actor if identity else UNKNOWN,
                name=identity.name if identity else _claimed(scope),
                by=identity.by if identity else None,
                address=_address(scope),
                action=action,
                path=_printable(scope["path"]),
                target=_target(scope, noted),
                status=status,
                outcome=outcome,
                correlation_id=correlation_id.get(),
                reason=state.get("refused_by"),
                kind=noted.kind,
                things=noted.things,
                ids=tuple(noted.ids),
                changes=tuple(map(asdict, noted.changes)),
                is_frequent=outcome == REFUSED or action in _FREQUENT,
            )
        )


_NOTHING: Final = Trail(is_closed=True)


def _outcome(scope: Scope, status: int) -> str | None:
    """Tell what is to be recorded of a request; None is nothing."""
    state = scope.get("state", {})
    if status in {_UNAUTHORIZED, _FORBIDDEN} or (
        status == _TOO_MANY and state.get("login_failed")
    ):
        return REFUSED
    only_reads = scope["method"] in _READING or scope["path"] in _ONLY_READ
    is_change = not only_reads or state.get("is_audited")
    if not is_change or getattr(scope.get("route"), "only_calls", False):
        return None
    if status >= _FIRST_BROKEN:
        return FAILED
    # What is wrong in itself has changed nothing.
    return DONE if status < _FIRST_BAD else None


def _template(scope: Scope) -> str:
    template = getattr(scope.get("route"), "path_format", None)
    return template if isinstance(template, str) else NO_ROUTE


def _target(scope: Scope, trail: Trail) -> str | None:
    named = list(scope.get("path_params", {}).values())
    if named:
        return _printable(str(named[-1]))
    if len(trail.changes) == 1:
        return trail.changes[0].id
    return trail.ids[0] if len(trail.ids) == 1 else None


def _claimed(scope: Scope) -> str:
    """Return the client that a refused request says it is from."""
    for name, value in scope["headers"]:
        if name in {b"client_id", b"client-id"}:
            return _printable(value.decode("latin-1"))
    return UNKNOWN


def _printable(text: str) -> str:
    text = text[:_LONGEST_TEXT]
    return "".join(
        c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text
    )


def _address(scope: Scope) -> str:
    """Return the whole address, which uvicorn takes from trusted proxies."""
    client = scope.get("client")
    return _read_address(str(client[0])[:_LONGEST_ADDRESS] if client else "")


@lru_cache(4096)
def _read_address(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return UNKNOWN
