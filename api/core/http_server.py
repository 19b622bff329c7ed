"""Limits of the HTTP server: what a connection may take, and how long.

uvicorn's own protocol reads a head of any size for any time, keeps a
connection that says nothing, and takes any number of connections. The one
below adds limits to it. Times are checked by one sweep over all
connections, so that a request costs no timer of its own.
"""

import asyncio
import errno
import json
import socket
from typing import Any, cast

import httptools
from starlette.types import ASGIApp
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from api.core.addresses import counted_address
from api.core.connections import (
    QUIET,
    ConnectionLimits,
    Connections,
    Phase,
)
from config import Settings, SettingsError
from utilities.descriptors import most_connections

_TOO_SLOW = 408
_HEAD_TOO_LARGE = 431
_BUSY = 503
# Of WebSocket connections: bytes of a message, and messages that wait.
_LONGEST_MESSAGE, _MOST_MESSAGES = 1024 * 1024, 16
_LINE_EXTRA = len(b": \r\n")


class BoundedHttpProtocol(HttpToolsProtocol):
    """uvicorn's connection, with limits."""

    # Set by `http_protocol`, for all connections of one server.
    shared: Connections

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(*args, **kwargs)
        self.address: str | None = None
        self._limits = self.shared.limits
        self._phase = Phase.HEAD
        self._since = self.loop.time()
        # In this phase, so far.
        self._received = 0
        self._head_bytes = 0
        self._head_is_new = True
        self._refusal = 0
        # The unsent bytes of an answer, and since when they are unchanged.
        self._unsent = (0, 0.0)
        self._output: _Output

    # What the transport calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn
        """Begin, or refuse."""
        super().connection_made(transport)
        self._output = _Output(self, transport)
        self.address = _limited_address(self.client)
        if not self.shared.admit(self):
            # Not counted, and not to be taken from the counts either.
            self.address = None
            self._write_refusal(_BUSY)
            transport.close()
            self._phase = Phase.LINGER

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self.shared.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, within the limits."""
        self._received += len(data)
        if self._phase is Phase.LINGER:
            self._count_discarded()
            return
        if self._phase is Phase.IDLE:
            self._enter(Phase.HEAD)
            self._received = len(data)
        super().data_received(data)
        if self._phase is Phase.HEAD:
            self._count_head(len(data))
        elif self._phase is Phase.DISCARD:
            self._count_discarded()

    def handle_websocket_upgrade(self) -> None:
        """Leave the connection to another protocol."""
        self.shared.forget(self)
        super().handle_websocket_upgrade()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._head_bytes = 0
        self._head_is_new = True

    def on_headers_complete(self) -> None:
        """Check a head that is complete."""
        size = len(self.url) + sum(
            len(name) + len(value) + _LINE_EXTRA
            for name, value in self.headers
        )
        if size > self._limits.head_bytes:
            self._refusal = _HEAD_TOO_LARGE
            # The parser stops and has `send_400_response` called.
            raise httptools.HttpParserError
        super().on_headers_complete()
        if self._latest is not None:
            self.cycle.transport = cast("asyncio.Transport", self._output)
            self._enter(Phase.BODY)

    def on_message_complete(self) -> None:
        """Note that a request is whole."""
        super().on_message_complete()
        cycle = self._latest
        done = cycle is None or cycle.response_complete
        self._enter(Phase.IDLE if done else Phase.ANSWER)

    # What uvicorn calls.

    def on_response_complete(self) -> None:
        """Note that an answer is whole."""
        more_body = self.cycle.more_body and not self.pipeline
        super().on_response_complete()
        if self._phase is Phase.LINGER:
            return
        if self.pipeline or not self.cycle.response_complete:
            self._enter(Phase.ANSWER)
        else:
            self._enter(Phase.DISCARD if more_body else Phase.IDLE)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request, or one with too large a head."""
        del msg
        self.refuse(self._refusal or 400)

    # Our own.

    def check(self, now: float) -> None:
        """End the connection if it took too long; called every so often."""
        if self.transport.is_closing():
            return
        if self.flow.write_paused:
            self._check_writing(now)
            return
        self._unsent = (0, now)
        elapsed = now - self._since
        limits = self._limits
        match self._phase:
            case Phase.HEAD if elapsed > limits.head_seconds:
                self._end_head()
            case Phase.IDLE if elapsed > limits.idle_seconds:
                self.transport.close()
            case Phase.LINGER if elapsed > limits.linger_seconds:
                self.transport.close()
            case Phase.BODY | Phase.DISCARD:
                self._check_progress(elapsed)

    def drop(self) -> None:
        """End the connection now: another one needs its place."""
        self.shared.forget(self)
        self.transport.abort()

    def refuse(self, status: int) -> None:
        """Answer for the application, and end the connection."""
        if self._phase is Phase.LINGER:
            return
        cycle = self._latest
        if cycle is None or cycle.response_complete:
            self._write_refusal(status)
        elif not cycle.response_started:
            self._write_refusal(status)
            self._tell_of_end()
        self.linger()

    def linger(self) -> None:
        """Send nothing more; read what the client still sends, for a time.

        A connection that is closed with unread bytes is reset, and the
        client would lose its answer.
        """
        self._enter(Phase.LINGER)
        self.flow.resume_reading()
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()

    @property
    def has_unread_body(self) -> bool:
        """Tell whether the client has more of its request to send."""
        return self._phase is Phase.BODY

    @property
    def _latest(self) -> RequestResponseCycle | None:
        # uvicorn's type leaves out that there is none at first.
        return cast("RequestResponseCycle | None", self.cycle)

    def _enter(self, phase: Phase) -> None:
        if (phase in QUIET) != (self._phase in QUIET):
            self.shared.moved(self, is_quiet=phase in QUIET)
        self._phase = phase
        self._since = self.loop.time()
        self._received = 0

    def _count_head(self, size: int) -> None:
        # A piece may begin with the end of the request before.
        if self._head_is_new:
            self._head_is_new = False
        else:
            self._head_bytes += size
        if self._head_bytes > self._limits.head_bytes:
            self.refuse(_HEAD_TOO_LARGE)

    def _count_discarded(self) -> None:
        if self._received > self._limits.discard_bytes:
            self.transport.abort()

    def _end_head(self) -> None:
        if self._received:
            self.refuse(_TOO_SLOW)
        else:
            self.transport.close()

    def _check_progress(self, elapsed: float) -> None:
        limits = self._limits
        if self.flow.read_paused:
            # We do not read: the client cannot be faster.
            self._since += limits.sweep_seconds
            return
        beyond_grace = elapsed - limits.body_grace_seconds
        if self._received < beyond_grace * limits.body_bytes_per_second:
            self.refuse(_TOO_SLOW)

    def _check_writing(self, now: float) -> None:
        size = self.transport.get_write_buffer_size()
        before, since = self._unsent
        if size != before:
            self._unsent = (size, now)
        elif now - since > self._limits.write_seconds:
            self.transport.abort()

    def _write_refusal(self, status: int) -> None:
        body = json.dumps({"detail": _DETAILS[status]}).encode()
        retry = b"retry-after: 2\r\n" if status == _BUSY else b""
        self.transport.write(
            b"%scontent-type: application/json\r\ncontent-length: %d\r\n"
            b"%sconnection: close\r\n\r\n%s"
            % (STATUS_LINE[status], len(body), retry, body)
        )

    def _tell_of_end(self) -> None:
        # The application must not answer a second time.
        self.cycle.disconnected = True
        self.cycle.message_event.set()


_DETAILS = {
    400: "Invalid HTTP request received.",
    _TOO_SLOW: "The request was sent too slowly",
    _HEAD_TOO_LARGE: "The request's address and headers are too large",
    _BUSY: "The server has no free connection; try again",
}


class _Output:
    """The transport as an answer sees it: it may linger when it closes."""

    __slots__ = ("_protocol", "_transport")

    def __init__(
        self, protocol: BoundedHttpProtocol, transport: asyncio.Transport
    ) -> None:
        self._protocol = protocol
        self._transport = transport

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def close(self) -> None:
        if self._protocol.has_unread_body:
            self._protocol.linger()
        else:
            self._transport.close()


def http_protocol(limits: ConnectionLimits) -> type[BoundedHttpProtocol]:
    """Make the protocol class of one server: for uvicorn's `http`."""
    members = {"shared": Connections(limits)}
    return type("LimitedHttpProtocol", (BoundedHttpProtocol,), members)


def server_config(app: ASGIApp, settings: Settings) -> Config:
    """Give uvicorn's configuration, with our limits."""
    limits = ConnectionLimits(
        connections=most_connections(settings.max_connections),
        connections_per_address=settings.max_connections_per_address,
    )
    return Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=http_protocol(limits),
        log_config=None,
        server_header=False,
        ws="websockets-sansio",
        ws_max_size=_LONGEST_MESSAGE,
        ws_max_queue=_MOST_MESSAGES,
        forwarded_allow_ips=list(settings.proxies),
        timeout_graceful_shutdown=round(settings.stop_grace_seconds) + 1,
    )


def bound_sockets(
    host: str, port: int, *, is_shared: bool = False
) -> list[socket.socket]:
    """Take the server's port on every address of `host`.

    `is_shared` lets other processes of this user take it, too: the kernel
    gives each connection to one of those that listen.

    Raises:
        PortError: it cannot be had; says what to do.
    """
    taken: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            sock = socket.socket(family, kind, protocol)
            taken.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if is_shared:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind(address)
    except OSError as error:
        for sock in taken:
            sock.close()
        raise PortError(_cannot_listen(host, port, error)) from None
    return taken


class PortError(SettingsError):
    """HOST and PORT cannot be listened on."""


def _cannot_listen(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} on {host} cannot be used: address already in use. "
            "Stop the other program, or set PORT to another one (0: any that "
            "is free)."
        )
    return (
        f"Port {port} on {host} cannot be listened on: "
        f"{error.strerror or error}. Set HOST and PORT."
    )


def _limited_address(client: tuple[str, int] | None) -> str | None:
    """Return the address that a connection counts for, if any."""
    if client is None:
        return None
    host = client[0].removeprefix("::ffff:")
    if host == "::1" or host.startswith("127."):
        return None
    return counted_address(host)
