"""CONNECT: a blind tunnel to a host of the allow-list."""

import asyncio
from collections.abc import Collection, Coroutine
from dataclasses import dataclass, field
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from api.core.connections import Phase
from api.core.http_server import BoundedHttpProtocol
from cli.forward_proxy import ForwardProxy, refusal
from cli.proxy_token import token_of

_CONNECT_SECONDS = 10.0
_USUAL_PORT = 443
_OPEN = b"HTTP/1.1 200 Connection established\r\n\r\n"


class Refused(Exception):  # noqa: N818 - an answer
    """There is no tunnel; says why."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


@dataclass
class Tunnels:
    """Decides which tunnels there are.

    `allowed` has hosts, or hosts with a port; without one it is 443.
    """

    allowed: Collection[str]
    proxy: ForwardProxy
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run it until it ends."""
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def check(
        self, target: bytes, headers: list[tuple[bytes, bytes]]
    ) -> tuple[str, int]:
        """Return the host and the port that a client may reach.

        Raises:
            Refused: it may not.
        """
        host, port = _address(target)
        wanted = f"{host}:{port}"
        if wanted not in {_with_port(each) for each in self.allowed}:
            raise Refused(
                403,
                f"No tunnel leads to {wanted}: its host is not in "
                "PROXY_CONNECT_HOSTS",
            )
        token = token_of(headers)
        if token is None or not await self.proxy.knows(token):
            raise Refused(407, "The client's id and key are needed")
        return host, port


class End(asyncio.Protocol):
    """One end of a tunnel: what comes here goes to the other."""

    def __init__(self, on_lost: Any = None) -> None:  # noqa: ANN401 - a callback
        self.transport: asyncio.Transport
        self.other: End | None = None
        self._on_lost = on_lost
        self.has_ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Hand it on."""
        if self.other is not None:
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        """Let nothing more come while it cannot be written here."""
        if self.other is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        if self.other is not None:
            self.other.transport.resume_reading()

    def eof_received(self) -> bool:
        """Tell the other end; it may still have something to say."""
        self.has_ended = True
        other = self.other
        if other is None or other.has_ended:
            return False
        other.transport.write_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """End the other end, too."""
        del exc
        if self._on_lost is not None:
            self._on_lost()
        if self.other is not None:
            self.other.transport.close()


class ProxyProtocol(BoundedHttpProtocol):
    """A connection to the proxy, with the limits of the service's.

    It adds the target to each request's scope, and takes CONNECT.
    """

    # Set by the server.
    tunnels: Tunnels
    _target: bytes | None = None

    def on_headers_complete(self) -> None:
        """Note the target."""
        if self.parser.get_method() == b"CONNECT":
            self._target = self.url
            return
        super().on_headers_complete()
        cast("dict[str, Any]", self.scope)["target"] = self.url

    def on_message_complete(self) -> None:
        """Note that a request is whole."""
        if self._target is None:
            super().on_message_complete()

    def _unsupported_upgrade_warning(self) -> None:
        # The parser has stopped: what follows is not HTTP.
        if self._target is None:
            self.refuse(400)
            return
        self._enter(Phase.ANSWER)
        self.connections.discard(self)
        near = End(lambda: self.shared.forget(self))
        near.connection_made(self.transport)
        self.transport.pause_reading()
        self.transport.set_protocol(near)
        self.tunnels.start(self._open(near, self._target))

    async def _open(self, near: End, target: bytes) -> None:
        try:
            far = await self._reached(target)
        except Refused as error:
            near.transport.write(_refusal(error))
            near.transport.close()
            return
        near.other, far.other = far, near
        near.transport.write(_OPEN)
        if near.transport.is_closing():
            far.transport.close()
            return
        near.transport.resume_reading()

    async def _reached(self, target: bytes) -> End:
        host, port = await self.tunnels.check(target, self.headers)
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                _, far = await self.loop.create_connection(End, host, port)
        except (OSError, TimeoutError):
            raise Refused(502, f"{host}:{port} cannot be reached") from None
        return far


def _refusal(error: Refused) -> bytes:
    headers, body = refusal(error.status, error.detail)
    lines = b"".join(b"%s: %s\r\n" % each for each in headers)
    return b"%s%sconnection: close\r\n\r\n%s" % (
        STATUS_LINE[error.status],
        lines,
        body,
    )


def _address(target: bytes) -> tuple[str, int]:
    host, colon, port = target.decode("latin-1").lower().rpartition(":")
    is_port = port.isascii() and port.isdecimal() and len(port) <= 5  # noqa: PLR2004 - digits
    if not colon or not host or not is_port:
        shown = target[:99].decode("latin-1")
        raise Refused(400, f"CONNECT needs a host and a port, not {shown}")
    return host, int(port)


def _with_port(allowed: str) -> str:
    plain = allowed.strip().lower()
    host, colon, port = plain.rpartition(":")
    has_port = bool(colon) and port.isdecimal() and bool(host)
    return plain if has_port else f"{plain}:{_USUAL_PORT}"
