"""Tells clients with a limit of requests what is left of it."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.services.limits.request_limits import RequestQuota


class RequestQuotaMiddleware:
    """Adds the headers `X-RateLimit-*` to the answers of such clients."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Pass the request on, watching."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                quota = scope.get("state", {}).get("request_quota")
                if quota is not None:
                    message["headers"] += _headers(quota)
            await send(message)

        await self._app(scope, receive, with_headers)


def _headers(quota: RequestQuota) -> list[tuple[bytes, bytes]]:
    return [
        (b"x-ratelimit-limit", b"%d" % quota.limit),
        (b"x-ratelimit-remaining", b"%d" % quota.remaining),
        (b"x-ratelimit-reset", b"%d" % quota.reset_seconds),
    ]
