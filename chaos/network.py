"""A line between two processes that can be cut: a TCP proxy in a thread."""

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from enum import Enum

_CHUNK = 65_536
# Closed so, a socket sends a reset instead of a goodbye.
_NO_GOODBYE = struct.pack("ii", 1, 0)


class Cut(Enum):
    """How a line can be cut."""

    # Every connection is reset, and every new one.
    RESET = "reset"
    # Nothing passes; what was sent arrives, late, when the line is back.
    DELAY = "delay"
    # Connections are forgotten: what they send is gone, for good. New ones
    # pass.
    FORGET = "forget"


class _Connection:
    """One client's way through, in both directions."""

    def __init__(
        self, writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter]
    ) -> None:
        self.forgotten = False
        self._writers = writers

    def reset(self) -> None:
        for writer in self._writers:
            sock = writer.get_extra_info("socket")
            if sock is not None:
                with suppress(OSError):
                    sock.setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, _NO_GOODBYE
                    )
            writer.transport.abort()


class Line:
    """Listens on `port` and passes on to another port of this machine."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._cut: Cut | None = None
        self._passable = asyncio.Event()
        self._connections: set[_Connection] = set()
        self._loop = asyncio.new_event_loop()

    def cut(self, how: Cut) -> None:
        """Cut it; safe from any thread."""
        self._loop.call_soon_threadsafe(self._begin, how)

    def heal(self) -> None:
        """Let everything pass again; safe from any thread."""
        self._loop.call_soon_threadsafe(self._end)

    async def serve(
        self, started: "Future[None]", ended: Future[None]
    ) -> None:
        """Pass on until `ended`."""
        self._passable.set()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        started.set_result(None)
        await asyncio.wrap_future(ended)
        server.close()
        self._begin(Cut.RESET)

    def run(self, started: "Future[None]", ended: "Future[None]") -> None:
        """Serve in this thread."""
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self.serve(started, ended))

    def _begin(self, how: Cut) -> None:
        self._cut = how
        if how is Cut.DELAY:
            self._passable.clear()
        for connection in self._connections:
            if how is Cut.RESET:
                connection.reset()
            connection.forgotten |= how is Cut.FORGET

    def _end(self) -> None:
        self._cut = None
        self._passable.set()

    async def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if self._cut is Cut.RESET:
            _Connection((writer, writer)).reset()
            return
        try:
            there = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            _Connection((writer, writer)).reset()
            return
        connection = _Connection((writer, there[1]))
        self._connections.add(connection)
        try:
            # Whoever closes first closes both.
            await asyncio.wait(
                [
                    asyncio.create_task(self._pump(connection, *way))
                    for way in ((reader, there[1]), (there[0], writer))
                ],
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            self._connections.discard(connection)
            writer.close()
            there[1].close()

    async def _pump(
        self,
        connection: _Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                await self._passable.wait()
                if connection.forgotten:
                    continue
                writer.write(data)
                await writer.drain()


@contextmanager
def line_to(port: int) -> Iterator[Line]:
    """Run a line to a port until the block ends."""
    line = Line(port)
    started: Future[None] = Future()
    ended: Future[None] = Future()
    thread = threading.Thread(
        target=line.run, args=(started, ended), name="line", daemon=True
    )
    thread.start()
    started.result(10)
    try:
        yield line
    finally:
        ended.set_result(None)
        thread.join(10)
