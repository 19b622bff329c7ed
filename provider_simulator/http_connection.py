"""HTTP/1.1 on a transport of our own.

A framework would not let a handler break a connection, or its own answer,
in the ways that providers' connections break.
"""

import asyncio
import socket
import struct
from collections import deque
from http import HTTPStatus
from typing import cast
from urllib.parse import unquote
from uuid import uuid4

from httptools import (
    HttpParserError,
    HttpParserUpgrade,
    HttpRequestParser,
    parse_url,
)

from provider_simulator.values import (
    Delivery,
    Event,
    Handler,
    Reply,
    Request,
)

CORRELATION = "x-correlation-id"

_LARGEST_BODY = 64 * 1024 * 1024
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n"
    for status in HTTPStatus
}
_END_OF_CHUNKS = b"0\r\n\r\n"


class HttpConnection(asyncio.Protocol):
    """One client's connection: its requests, one after the other."""

    def __init__(
        self, handler: Handler, connections: set["HttpConnection"]
    ) -> None:
        self._handler = handler
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._parser = HttpRequestParser(self)
        self._waiting: deque[tuple[Request, bool]] = deque()
        self._work: asyncio.Task[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._start()

    def _start(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = 0

    def abort(self) -> None:
        """End the connection now."""
        self._transport.abort()

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop working for a client that has gone."""
        del exc
        self._connections.discard(self)
        if self._work is not None:
            self._work.cancel()

    def data_received(self, data: bytes) -> None:
        """Read on."""
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._transport.close()
        except HttpParserError:
            self._refuse(HTTPStatus.BAD_REQUEST)

    def pause_writing(self) -> None:
        """Make writers wait: the client reads slowly."""
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        """Let writers go on."""
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._start()

    def on_url(self, url: bytes) -> None:
        """Keep a part of the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Let a careful client go on."""
        if "100-continue" in self._headers.get("expect", ""):
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        self._size += len(body)
        if self._size > _LARGEST_BODY:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Have a whole request answered after those before it."""
        url = parse_url(self._url)
        request = Request(
            method=self._parser.get_method().decode("latin-1"),
            path=unquote((url.path or b"/").decode("latin-1")),
            query=(url.query or b"").decode("latin-1"),
            headers=self._headers,
            body=b"".join(self._body),
        )
        self._waiting.append((request, self._parser.should_keep_alive()))
        if self._work is None:
            self._work = self._loop.create_task(self._answer_waiting())
            self._work.add_done_callback(self._ended)

    # Answering.

    async def _answer_waiting(self) -> None:
        while self._waiting:
            request, keep_alive = self._waiting.popleft()
            correlation = request.headers.get(CORRELATION) or str(uuid4())

            async def respond(
                reply: Reply, correlation: str = correlation
            ) -> None:
                await self._respond(reply, correlation)

            await self._handler(request, respond)
            if not keep_alive:
                self._transport.close()
        self._work = None

    def _ended(self, work: asyncio.Task[None]) -> None:
        # A mistake of ours must not leave the client waiting.
        if not work.cancelled() and (error := work.exception()):
            self._transport.abort()
            self._loop.call_exception_handler(
                {"message": "The simulator failed", "exception": error}
            )

    async def _respond(self, reply: Reply, correlation: str) -> None:
        if reply.delivery is Delivery.RESET:
            _reset(self._transport)
        elif reply.delivery is Delivery.HANG:
            await self._loop.create_future()
        elif isinstance(reply.body, bytes):
            self._send(reply, reply.body, correlation)
        else:
            await self._stream(reply, reply.body, correlation)
        if self._writable is not None:
            await self._writable

    def _send(self, reply: Reply, body: bytes, correlation: str) -> None:
        framing = f"content-length: {len(body)}"
        whole = reply.delivery is Delivery.WHOLE
        sent = body if whole else body[: len(body) // 2]
        self._transport.write(_head(reply, correlation, framing) + sent)
        if not whole:
            self._transport.close()

    async def _stream(
        self, reply: Reply, events: tuple[Event, ...], correlation: str
    ) -> None:
        framing = "transfer-encoding: chunked"
        self._transport.write(_head(reply, correlation, framing))
        whole = reply.delivery is Delivery.WHOLE
        sent = events if whole else events[: len(events) // 2]
        if reply.seconds_a_token:
            await self._write_paced(sent, reply.seconds_a_token)
        else:
            self._transport.write(b"".join(map(_chunk, sent)))
        if whole:
            self._transport.write(_END_OF_CHUNKS)
        else:
            self._transport.close()

    async def _write_paced(
        self, events: tuple[Event, ...], seconds_a_token: float
    ) -> None:
        # Against the clock: what a sleep takes too long does not add up.
        due = self._loop.time()
        for event in events:
            due += event.tokens * seconds_a_token
            if (early := due - self._loop.time()) > 0:
                await asyncio.sleep(early)
            if self._writable is not None:
                await self._writable
            self._transport.write(_chunk(event))

    def _refuse(self, status: HTTPStatus) -> None:
        reply = Reply(b"", status=status)
        self._send(reply, b"", str(uuid4()))
        self._transport.close()


def _head(reply: Reply, correlation: str, framing: str) -> bytes:
    status = _STATUS_LINES.get(reply.status)
    lines = [
        status or f"HTTP/1.1 {reply.status} \r\n",
        f"content-type: {reply.content_type}\r\n",
        f"{framing}\r\n{CORRELATION}: {correlation}\r\n",
    ]
    lines += [f"{name}: {value}\r\n" for name, value in reply.headers]
    return ("".join(lines) + "\r\n").encode("latin-1", errors="replace")


def _chunk(event: Event) -> bytes:
    return b"%x\r\n%s\r\n" % (len(event.data), event.data)


def _reset(transport: asyncio.Transport) -> None:
    """Break the connection as a crashed server does, with a TCP RST."""
    connection = transport.get_extra_info("socket")
    no_linger = struct.pack("ii", 1, 0)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
    transport.abort()
