"""Loads an HTTP server over plain sockets, and times every answer."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

_CHUNKED = b"transfer-encoding: chunked"
_LENGTH = b"content-length: "
_LAST_CHUNK = b"0\r\n\r\n"


class WrongAnswerError(Exception):
    """The server answered, and not with 200."""


@dataclass(frozen=True, slots=True)
class Target:
    """A request that a server is sent again and again."""

    url: str
    body: bytes
    headers: Mapping[str, str]

    def request(self) -> bytes:
        """Return the request's bytes."""
        address = urlsplit(self.url)
        lines = [
            f"POST {address.path} HTTP/1.1",
            f"Host: {address.netloc}",
            "Content-Type: application/json",
            f"Content-Length: {len(self.body)}",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        head = "\r\n".join(lines) + "\r\n\r\n"
        return head.encode() + self.body


class _Connection(asyncio.Protocol):
    """Sends its next request when it has the last answer."""

    def __init__(self, request: bytes, taken: list[float]) -> None:
        self._request = request
        self._taken = taken
        self._read = b""
        self._sent = 0.0
        self._transport: asyncio.Transport
        self.failed: asyncio.Future[None] = (
            asyncio.get_running_loop().create_future()
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.failed.done():
            error = WrongAnswerError(f"The connection ended: {exc}")
            self.failed.set_exception(error)

    def send(self) -> None:
        """Send a request."""
        self._read = b""
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._read += data
        if not _is_whole(self._read):
            return
        if not self._read.startswith(b"HTTP/1.1 200"):
            text = self._read[:1000].decode(errors="replace")
            self.failed.set_exception(WrongAnswerError(text))
            return
        self._taken.append(time.perf_counter() - self._sent)
        self.send()

    def close(self) -> None:
        """End the connection."""
        self.failed.cancel()
        self._transport.abort()


def _is_whole(read: bytes) -> bool:
    head, found, body = read.partition(b"\r\n\r\n")
    if not found:
        return False
    head = head.lower()
    if _CHUNKED in head:
        return body.endswith(_LAST_CHUNK)
    length = head.partition(_LENGTH)[2].partition(b"\r")[0]
    return len(body) >= int(length or 0)


async def load(
    target: Target, connections: int, seconds: float, warm_up: float
) -> list[float]:
    """Return the seconds that each answer took, after a time to warm up.

    Raises:
        WrongAnswerError: an answer was not 200.
    """
    address, request = urlsplit(target.url), target.request()
    taken: list[float] = []
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(
            lambda: _Connection(request, taken),
            address.hostname or "",
            address.port or 0,
        )
        for _ in range(connections)
    ]
    users = [user for _, user in made]
    for user in users:
        user.send()
    try:
        await _pause(users, warm_up)
        taken.clear()
        await _pause(users, seconds)
        return list(taken)
    finally:
        for user in users:
            user.close()


async def _pause(users: list[_Connection], seconds: float) -> None:
    failed, _ = await asyncio.wait(
        [user.failed for user in users],
        timeout=seconds,
        return_when=asyncio.FIRST_EXCEPTION,
    )
    for each in failed:
        each.result()
