"""What a connection may take: heads, bodies, time and places."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from api.core.connections import ConnectionLimits
from api.core.http_server import http_protocol
from tests.support.live_server import free_port
from tests.support.waiting import eventually

LIMITS = ConnectionLimits(
    head_bytes=8192,
    head_seconds=0.5,
    idle_seconds=0.5,
    body_bytes_per_second=1000,
    body_grace_seconds=0.5,
    write_seconds=0.5,
    linger_seconds=0.5,
    discard_bytes=1_000_000,
    connections=8,
    sweep_seconds=0.05,
)
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = 20_000_000


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body where the path says so; answer `ok` or a lot."""
    if scope["type"] != "http":
        return
    if scope["path"] == "/read":
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            more = message["more_body"]
    body = b"x" * LARGE if scope["path"] == "/large" else b"ok"
    headers = [(b"content-length", str(len(body)).encode())]
    await send(
        {"type": "http.response.start", "status": 200, "headers": headers}
    )
    await send({"type": "http.response.body", "body": body})


class Server:
    def __init__(self, limits: ConnectionLimits) -> None:
        protocol = http_protocol(limits)
        self.connections = protocol.shared
        self.port = free_port()
        self._server = uvicorn.Server(
            uvicorn.Config(
                application,
                port=self.port,
                http=protocol,
                log_config=None,
                lifespan="off",
                timeout_keep_alive=3600,
            )
        )
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def start(self) -> None:
        self._thread.start()
        eventually(lambda: self._server.started, what="a server")

    def stop(self) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(10)

    def connect(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        sock.settimeout(5)
        return sock

    def is_alive(self) -> bool:
        with self.connect() as sock:
            sock.sendall(GET)
            return answer(sock).startswith(b"HTTP/1.1 200")


@contextmanager
def running(limits: ConnectionLimits) -> Iterator[Server]:
    server = Server(limits)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running(LIMITS) as server:
        yield server


def answer(sock: socket.socket) -> bytes:
    with contextlib.suppress(ConnectionError, TimeoutError):
        return sock.recv(65536)
    return b""


def everything(sock: socket.socket) -> bytes:
    """Read until the server closes; fails if it does not."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while piece := sock.recv(65536):
            found += piece
    return found


def test_an_ordinary_request_is_answered(server: Server) -> None:
    with server.connect() as sock:
        for _ in range(3):
            sock.sendall(GET)
            assert answer(sock).endswith(b"ok")


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    with server.connect() as sock:
        sock.sendall(GET * 5)
        eventually(lambda: b"ok" in sock.recv(65536))


def test_a_silent_connection_is_closed(server: Server) -> None:
    with server.connect() as sock:
        assert everything(sock) == b""


def test_half_a_head_ends_with_408(server: Server) -> None:
    with server.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost:")
        assert everything(sock).startswith(b"HTTP/1.1 408")


def test_a_head_that_drips_ends_with_408(server: Server) -> None:
    with server.connect() as sock, contextlib.suppress(ConnectionError):
        started = time.monotonic()
        sock.sendall(b"GET / HTTP/1.1\r\n")
        sock.settimeout(0.05)
        found = b""
        while not found and time.monotonic() - started < 30:
            sock.sendall(b"A: b\r\n")
            with contextlib.suppress(TimeoutError):
                found = sock.recv(100)
        assert found.startswith(b"HTTP/1.1 408")


def test_an_idle_connection_is_closed(server: Server) -> None:
    with server.connect() as sock:
        sock.sendall(GET)
        assert everything(sock).endswith(b"ok")


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /?" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 2000 + b"\r\n",
    ],
)
def test_a_large_head_ends_with_431(server: Server, head: bytes) -> None:
    with server.connect() as sock:
        sock.sendall(head)
        assert everything(sock).startswith(b"HTTP/1.1 431")
    assert server.is_alive()


@pytest.mark.parametrize(
    "start", [b"GET /", b"GET / HTTP/1.1\r\nX: ", b"G", b"GET /?q="]
)
def test_an_endless_head_is_refused_early(
    server: Server, start: bytes
) -> None:
    piece, sent = b"a" * 65536, 0
    with server.connect() as sock:
        with contextlib.suppress(ConnectionError, TimeoutError):
            sock.sendall(start)
            while sent < 300_000_000:
                sock.sendall(piece)
                sent += len(piece)
        assert sent < 100_000_000
    assert server.is_alive()


def test_a_body_that_stops_ends_with_408(server: Server) -> None:
    with server.connect() as sock:
        sock.sendall(b"POST /read HTTP/1.1\r\nContent-Length: 9999\r\n\r\nab")
        assert everything(sock).startswith(b"HTTP/1.1 408")


def test_a_slow_body_ends_with_408(server: Server) -> None:
    with server.connect() as sock:
        sock.sendall(b"POST /read HTTP/1.1\r\nContent-Length: 9999\r\n\r\n")
        sock.settimeout(0.05)
        found = b""
        for _ in range(100):
            with contextlib.suppress(TimeoutError):
                found = sock.recv(100)
            if found:
                break
            sock.sendall(b"a")
        assert found.startswith(b"HTTP/1.1 408")


def test_a_body_that_is_fast_enough_is_taken(server: Server) -> None:
    with server.connect() as sock:
        sock.sendall(b"POST /read HTTP/1.1\r\nContent-Length: 6000\r\n\r\n")
        for _ in range(30):
            sock.sendall(b"a" * 200)
            threading.Event().wait(0.05)
        assert answer(sock).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("extra", [b"", b"Connection: close\r\n"])
def test_an_answer_before_the_body_reaches_the_client(
    server: Server, extra: bytes
) -> None:
    body = b"a" * 900_000
    head = b"POST / HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n"
    with server.connect() as sock:
        sock.sendall(head % (extra, len(body)))
        threading.Event().wait(0.1)
        for start in range(0, len(body), 100_000):
            sock.sendall(body[start : start + 100_000])
        assert answer(sock).startswith(b"HTTP/1.1 200")


def test_an_unwanted_body_is_read_for_a_time_only(server: Server) -> None:
    with server.connect() as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        with contextlib.suppress(ConnectionError):
            for _ in range(5000):
                sock.sendall(chunk)
            pytest.fail("the server reads for ever")
    assert server.is_alive()


def test_a_client_that_reads_nothing_loses_its_connection(
    server: Server,
) -> None:
    with server.connect() as sock:
        sock.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        eventually(lambda: not len(server.connections), what="its end")


def test_where_all_places_are_taken_the_longest_silent_makes_room() -> None:
    limits = ConnectionLimits(connections=4, head_seconds=60)
    with running(limits) as server, contextlib.ExitStack() as stack:
        silent = [stack.enter_context(server.connect()) for _ in range(4)]
        eventually(lambda: len(server.connections) == 4)
        assert server.is_alive()
        assert everything(silent[0]) == b""
        assert server.is_alive()


def test_work_in_progress_makes_no_room() -> None:
    limits = ConnectionLimits(connections=2, body_grace_seconds=60)
    busy = b"POST /read HTTP/1.1\r\nContent-Length: 2\r\n\r\na"
    with running(limits) as server, contextlib.ExitStack() as stack:
        working = [stack.enter_context(server.connect()) for _ in range(2)]
        for sock in working:
            sock.sendall(busy)
        shared = server.connections
        eventually(lambda: len(shared) == 2 and not shared.has_quiet)
        with server.connect() as sock:
            found = everything(sock)
            assert found.startswith(b"HTTP/1.1 503")
            assert b"retry-after: 2" in found
        working[0].sendall(b"b")
        assert answer(working[0]).startswith(b"HTTP/1.1 200")
        # It is without a request now.
        assert server.is_alive()


def test_one_address_has_so_many_places(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "api.core.http_server._limited_address", lambda _: "192.0.2.1"
    )
    limits = ConnectionLimits(connections_per_address=2)
    with running(limits) as server, contextlib.ExitStack() as stack:
        first = [stack.enter_context(server.connect()) for _ in range(2)]
        eventually(lambda: len(server.connections) == 2)
        with server.connect() as sock:
            assert everything(sock).startswith(b"HTTP/1.1 503")
        first[0].close()
        eventually(lambda: len(server.connections) == 1)
        assert server.is_alive()
