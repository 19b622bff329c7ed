"""Counts answers to requests, by the templates of their paths."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.services.monitoring.observer import Observer

# What leads nowhere is one: a path is the caller's to choose.
NO_ROUTE = "none"
_FAILED = 500


class HttpMetricsMiddleware:
    """Times every request, to the end of its answer."""

    def __init__(self, app: ASGIApp, observer: Observer) -> None:
        self._app = app
        self._observer = observer

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Pass the request on, watching."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Used for clients that hang up before an answer.
        status = _FAILED

        async def watching_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        started = time.perf_counter()
        self._observer.request_began()
        try:
            await self._app(scope, receive, watching_send)
        finally:
            seconds = time.perf_counter() - started
            self._observer.request_ended(
                scope["method"], _route(scope), status, seconds
            )


def _route(scope: Scope) -> str:
    route = scope.get("route")
    template = getattr(route, "path_format", None)
    return template if isinstance(template, str) else NO_ROUTE
