"""Failed logins: all counted, some of them logged."""

import time
from collections.abc import Callable

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.core.addresses import address_of
from api.services.monitoring.observer import Observer

_UNAUTHORIZED = 401
_TOO_MANY = 429
# More would let anybody fill the disk.
LINES_A_SECOND = 5

log = structlog.get_logger(__name__)


class FailedLoginsMiddleware:
    """Notes each, with the caller's address and no credential.

    These are all answers 401, and those 429 that stand for one.
    """

    def __init__(
        self,
        app: ASGIApp,
        observer: Observer,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._observer = observer
        self._clock = clock
        self._second = 0
        self._lines = 0
        self._not_logged = 0

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Pass the request on, watching."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def watching_send(message: Message) -> None:
            if _is_failed_login(scope, message):
                self._note(scope)
            await send(message)

        await self._app(scope, receive, watching_send)

    def _note(self, scope: Scope) -> None:
        self._observer.login_failed()
        if not self._may_log():
            self._not_logged += 1
            return
        log.warning(
            "login_failed",
            address=address_of(scope),
            notLogged=self._not_logged,
        )
        self._not_logged = 0

    def _may_log(self) -> bool:
        second = int(self._clock())
        if second != self._second:
            self._second, self._lines = second, 0
        self._lines += 1
        return self._lines <= LINES_A_SECOND


def _is_failed_login(scope: Scope, message: Message) -> bool:
    status = message.get("status")
    if status == _TOO_MANY:
        return bool(scope.get("state", {}).get("login_failed"))
    return status == _UNAUTHORIZED
