"""Headers that tell browsers what an answer may be used for."""

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_CSP: Final = b"content-security-policy"
# What an answer says itself is not changed.
_ALWAYS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
)
# A page with a policy of its own says itself who may frame it.
_WITHOUT_POLICY: Final = (
    (_CSP, b"frame-ancestors 'none'"),
    (b"x-frame-options", b"DENY"),
)
# Browsers heed it over TLS only, and must not be sent it otherwise.
_OVER_TLS: Final = ((b"strict-transport-security", b"max-age=31536000"),)


class SecurityHeadersMiddleware:
    """Adds them to every answer that does not have them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Pass the request on, and the answer with more headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                _add(message, is_safe=scope["scheme"] == "https")
            await send(message)

        await self._app(scope, receive, with_headers)


def _add(message: Message, *, is_safe: bool) -> None:
    headers = [*message.get("headers", ())]
    names = {name.lower() for name, _ in headers}
    wanted = _ALWAYS + (_OVER_TLS if is_safe else ())
    if _CSP not in names:
        wanted += _WITHOUT_POLICY
    headers += [each for each in wanted if each[0] not in names]
    message["headers"] = headers
