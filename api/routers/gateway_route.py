"""What every path of the vendors' interfaces has in common.

In this order: who is calling (401), the body's size (413, 503), the body
itself (400), the call. FastAPI's own way of reading a body would parse it
into a model; here it is handed on.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, cast

from asgi_correlation_id import correlation_id
from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from api.core.dialects import dialect_of
from api.core.error_responses import MODEL_NAME, STREAM_ID
from api.core.errors import ParameterError
from api.core.request_body import RequestBodies
from api.dependencies.gateway_auth import gateway_client
from api.dependencies.services import get_services
from api.models.client_models import LONGEST_WAIT_SECONDS
from api.services.calls.routing.routed import shown_name
from api.services.clients.client_keys import ClientKey
from api.services.gateway.asked import Asked, model_of, read_body, stream_of
from api.services.gateway.live_answer import LiveAnswer
from api.services.gateway.upload import Upload
from llm_sdks.forwarding import Interface

_Handler = Callable[[Request], Coroutine[Any, Any, Response]]
_Endpoint = Callable[[Request, ClientKey], Awaitable[Response]]
_MAX_WAIT = "x-metasync-max-wait"
# Of a client's headers, those that are part of the vendors' interfaces.
_HANDED_ON = frozenset(
    {b"anthropic-beta", b"anthropic-version", b"openai-beta"}
)
HUNG_UP = 400
_STREAM_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


# What is kept here, and can be changed.
_KEPT = frozenset({"files", "batches"})


class GatewayRoute(APIRoute):
    """A path of a vendor's interface: the client is known, no more."""

    @property
    def only_calls(self) -> bool:
        """Whether it changes nothing that the audit records."""
        return _KEPT.isdisjoint(self.path.split("/"))

    def get_route_handler(self) -> _Handler:
        """Give what answers a request."""
        endpoint = cast("_Endpoint", self.endpoint)

        async def handle(request: Request) -> Response:
            return await endpoint(request, await gateway_client(request))

        return handle


def bodies_of(request: Request) -> RequestBodies:
    """Return what reads the bodies of the vendors' interfaces."""
    return cast("RequestBodies", request.app.state.gateway_bodies)


async def answer(
    request: Request, client: ClientKey, interface: Interface
) -> Response:
    """Answer a request of an interface."""
    try:
        async with bodies_of(request).body_of(request) as body:
            asked = _asked(request, client, interface, body)
            body.clear()
            live = await get_services(request).gateway.start(asked, client)
            return await LiveResponse.begun(live, request.receive)
    except ClientDisconnect:
        # The client has gone and cannot read it.
        return Response(status_code=HUNG_UP)


class LiveResponse(Response):
    """An answer while it is made; a client that hangs up ends the call."""

    def __init__(self, live: LiveAnswer, watching: asyncio.Task[None]) -> None:
        self._live = live
        self._watching = watching
        self.background = None

    @classmethod
    async def begun(
        cls, live: LiveAnswer, receive: Receive, upload: Upload | None = None
    ) -> "LiveResponse":
        """Wait for the answer's head: until then, the body is held.

        While an upload is read, nobody else may listen to the client.
        """
        watching = asyncio.create_task(_end_when_gone(live, receive, upload))
        try:
            await live.head()
        except BaseException:
            watching.cancel()
            live.end_call()
            raise
        return cls(live, watching)

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Send the answer; see ASGI."""
        del scope, receive
        try:
            await self._send(send)
        finally:
            self._watching.cancel()
            self._live.end_call()

    async def _send(self, send: Send) -> None:
        head = await self._live.head()
        headers = {STREAM_ID: self._live.record_id, **head.headers}
        if name := self._live.model_name:
            headers[MODEL_NAME] = shown_name(name)
        if head.size is not None:
            headers["content-length"] = str(head.size)
        else:
            headers = {**_STREAM_HEADERS, **headers}
        start = {
            "type": "http.response.start",
            "status": head.status,
            "headers": [
                (name.lower().encode(), value.encode("latin-1", "replace"))
                for name, value in headers.items()
            ],
        }
        await send(start)
        if head.size is not None:
            # In one piece, so that it takes one write.
            pieces = [piece async for piece in self._live.pieces()]
            await send(_body(b"".join(pieces), more=False))
            return
        async for piece in self._live.pieces():
            await send(_body(piece, more=True))
        if self._live.is_broken:
            # The server closes a connection whose answer has no end.
            return
        await send(_body(b"", more=False))


def _body(content: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.response.body", "body": content, "more_body": more}


async def _end_when_gone(
    live: LiveAnswer, receive: Receive, upload: Upload | None
) -> None:
    if upload is not None:
        await upload.ended.wait()
    while (await receive())["type"] != "http.disconnect":
        pass
    live.end_call()


def _asked(
    request: Request, client: ClientKey, interface: Interface, raw: bytearray
) -> Asked:
    body = read_body(raw)
    dialect = dialect_of(request.scope)
    assert dialect is not None  # noqa: S101 - the paths begin with /v1/
    return Asked(
        interface,
        dialect,
        model_of(body),
        body,
        bytes(raw),
        stream_of(body),
        max_wait(request, client),
        headers_of_interface(request),
        correlation_id.get() or "",
    )


def headers_of_interface(request: Request) -> dict[str, str]:
    """Return the headers that are part of the vendors' interfaces."""
    found: dict[str, str] = {}
    for raw, value in request.headers.raw:
        if raw in _HANDED_ON:
            name, text = raw.decode("latin-1"), value.decode("latin-1")
            found[name] = f"{found[name]},{text}" if name in found else text
    return found


def max_wait(request: Request, client: ClientKey) -> float:
    """Return how long (s) a request may wait for its limits.

    Raises:
        ParameterError: its header does not say it right.
    """
    text = request.headers.get(_MAX_WAIT)
    if text is None:
        return client.max_wait_seconds
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= LONGEST_WAIT_SECONDS:
        raise ParameterError(
            f"must be 0 to {LONGEST_WAIT_SECONDS} seconds",
            "X-Metasync-Max-Wait",
        )
    return seconds
