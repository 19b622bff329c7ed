"""The last boundary: unexpected errors get a clean answer too."""

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.core.error_responses import unexpected_error


class ErrorBoundaryMiddleware:
    """Answers 500 inside the other middlewares.

    Starlette's own net hangs outside all of them, where the correlation
    id is not known any more.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Pass the request on and answer for what it raises."""
        started = False

        async def watching_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watching_send)
        except Exception as error:  # the net of nets: logged, answered
            if started or scope["type"] != "http":
                raise
            response = await unexpected_error(Request(scope), error)
            await response(scope, receive, send)
