"""Sends the audit's entries on to a syslog server (RFC 5424).

It gets entries when the database has them. A server that is away, or slow,
delays nobody: entries wait in a bounded queue, and what does not fit is
counted and logged. The database has them in any case.
"""

import asyncio
import os
import socket
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlsplit

import structlog

from api.services.access.audit.chain import body_of
from api.services.access.audit.events import DONE, REFUSED, Event
from api.services.monitoring.observer import NOBODY, Observer
from utilities.clock import to_datetime
from utilities.tasks import Loop

MOST_WAITING: Final = 10_000
# What a datagram carries for certain, and what servers take over TCP.
_LONGEST: Final = {"udp": 8 * 1024, "tcp": 64 * 1024}
_PORTS: Final = {"udp": 514, "tcp": 601}
_SECONDS = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_AT_ONCE = 100
# "Log audit", and how severe it is.
_FACILITY = 13
_SEVERITIES: Final = {DONE: 6, REFUSED: 4}
_ERROR = 3

log = structlog.get_logger(__name__)

Send = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class SyslogServer:
    """Where entries are sent to; `kind` is `udp` or `tcp`."""

    kind: str
    host: str
    port: int

    @classmethod
    def of_url(cls, url: str) -> "SyslogServer":
        """Read `udp://host:port` or `tcp://host:port`."""
        parts = urlsplit(url)
        kind = parts.scheme
        return cls(kind, parts.hostname or "", parts.port or _PORTS[kind])

    def connected(self) -> AbstractAsyncContextManager[Send]:
        """Connect until the block ends; yield what sends a message."""
        return self._by_udp() if self.kind == "udp" else self._by_tcp()

    @asynccontextmanager
    async def _by_udp(self) -> AsyncIterator[Send]:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(_SECONDS):
            transport, _ = await loop.create_datagram_endpoint(
                asyncio.DatagramProtocol, remote_addr=(self.host, self.port)
            )

        async def send(message: bytes) -> None:
            transport.sendto(message)

        try:
            yield send
        finally:
            transport.close()

    @asynccontextmanager
    async def _by_tcp(self) -> AsyncIterator[Send]:
        async with asyncio.timeout(_SECONDS):
            reader, writer = await asyncio.open_connection(
                self.host, self.port
            )

        async def send(message: bytes) -> None:
            # The server says nothing, so what can be read is its end.
            if reader.at_eof() or writer.is_closing():
                raise ConnectionResetError
            # Counted octets (RFC 6587): a message may have any byte.
            writer.write(b"%d %b" % (len(message), message))
            async with asyncio.timeout(_SECONDS):
                await writer.drain()

        try:
            yield send
        finally:
            writer.close()


class SyslogSender(Loop):
    """Sends what it is given, until stopped."""

    name = "auditSyslog"
    vital = False

    def __init__(
        self, server: SyslogServer, observer: Observer = NOBODY
    ) -> None:
        super().__init__()
        self._server = server
        self._observer = observer
        self._waiting: deque[Event] = deque()
        self._lost = 0

    def take(self, events: Sequence[Event]) -> None:
        """Take entries to be sent; returns at once and never raises."""
        for event in events:
            if len(self._waiting) >= MOST_WAITING:
                self._waiting.popleft()
                self._lost += 1
            self._waiting.append(event)
        self._tell_lost()
        self.wake()

    async def run(self) -> None:
        """Connect and send; again after a pause if that fails."""
        self.attach()
        pause = _FIRST_PAUSE
        while not self.stopping:
            try:
                async with self._server.connected() as send:
                    self.complaint, pause = None, _FIRST_PAUSE
                    await self._send_all(send)
            except (OSError, TimeoutError) as error:
                if self.complaint is None:
                    kind = type(error).__name__
                    log.warning("audit_syslog_waits", error=kind)
                self.complaint = "the syslog server does not answer"
                await self.pause(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    async def _send_all(self, send: Send) -> None:
        while not self.stopping:
            for _ in range(min(_AT_ONCE, len(self._waiting))):
                # It stays until it is sent.
                await send(self._message(self._waiting[0]))
                self._waiting.popleft()
                self._observer.audited("sent", 1)
            await self.pause(0 if self._waiting else 1.0)

    def _message(self, event: Event) -> bytes:
        longest = _LONGEST[self._server.kind]
        message = message_of(event)
        if len(message) > longest:
            # What has changed stays in the database.
            message = message_of(replace(event, changes=(), ids=()))
        return message[:longest]

    def _tell_lost(self) -> None:
        if self._lost:
            log.error("audit_syslog_full", lost=self._lost)
            self._observer.audited("notSent", self._lost)
            self._lost = 0


def message_of(event: Event) -> bytes:
    """Give an entry as one message; its text is JSON, in one line."""
    severity = _SEVERITIES.get(event.outcome, _ERROR)
    time = to_datetime(event.at).isoformat(timespec="milliseconds")
    time = time.replace("+00:00", "Z")
    host = socket.gethostname().encode("ascii", "replace").decode()[:255]
    priority = 8 * _FACILITY + severity
    head = f"<{priority}>1 {time} {host or '-'} metasync {os.getpid()} audit -"
    return f"{head} {body_of(event)}".encode()
