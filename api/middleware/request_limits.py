"""No request may fill the memory."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class _BodyTooLargeError(Exception):
    pass


class RequestLimitMiddleware:
    """Answers 413 to a body of more than `max_bytes`, announced or not."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Pass the request on, counting its bytes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._announced(scope) > self._max_bytes:
            await self._refuse(send)
            return
        await self._count(scope, receive, send)

    async def _count(self, scope: Scope, receive: Receive, send: Send) -> None:
        seen, answered = 0, False

        async def counting_receive() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._max_bytes:
                raise _BodyTooLargeError
            return message

        async def watching_send(message: Message) -> None:
            nonlocal answered
            if seen > self._max_bytes and not answered:
                # The framework's own words for a body it could not read.
                return
            answered = True
            await send(message)

        try:
            await self._app(scope, counting_receive, watching_send)
        except _BodyTooLargeError:
            if answered:
                raise
        if seen > self._max_bytes and not answered:
            await self._refuse(send)

    @staticmethod
    def _announced(scope: Scope) -> int:
        for name, value in scope["headers"]:
            if name == b"content-length":
                return int(value) if value.isdigit() else 0
        return 0

    async def _refuse(self, send: Send) -> None:
        text = f'{{"detail":"The limit is {self._max_bytes} bytes a request"}}'
        body = text.encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        start = {"type": "http.response.start", "status": 413}
        await send({**start, "headers": headers})
        await send({"type": "http.response.body", "body": body})
