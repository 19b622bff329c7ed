"""One request to a receiver: bounded in time and size, to where it may go."""

import asyncio
import ssl
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp

from api.services.webhooks.addresses import NOT_PUBLIC, public_socket
from api.services.webhooks.resolver import OwnResolver
from config import VERSION
from utilities import payload

# Of an answer, no more is read.
_MOST_BYTES = 1024
_USER_AGENT = f"Metasync/{VERSION} (webhooks)"


@dataclass(frozen=True, slots=True)
class SendTimes:
    """How long a receiver may take, in seconds."""

    connect: float = 5.0
    total: float = 15.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver answered; `error` is None if it has the event."""

    seconds: float
    status: int | None = None
    body: str = ""
    error: str | None = None


class Sender:
    """Sends to receivers; an asynchronous context manager.

    Redirects are not followed, proxies of the environment and cookies not
    used, compressed answers not unpacked.
    """

    def __init__(
        self, *, allow_private: bool, times: SendTimes | None = None
    ) -> None:
        self._allow_private = allow_private
        self._times = times or SendTimes()
        self._session: aiohttp.ClientSession | None = None
        self._resolver = OwnResolver()

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(
            limit=0,
            # What it remembers for some seconds is checked all the same.
            resolver=self._resolver,
            socket_factory=None if self._allow_private else public_socket,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(
                total=self._times.total, sock_connect=self._times.connect
            ),
            headers={"User-Agent": _USER_AGENT, "Accept-Encoding": "identity"},
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()
        await self._resolver.close()

    async def send(
        self, url: str, headers: dict[str, str], body: str
    ) -> Answer:
        """Send one message; whatever goes wrong is in the answer."""
        began = time.monotonic()
        try:
            status, text = await self._post(url, headers, body)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as e:
            return Answer(time.monotonic() - began, error=_reason(e))
        error = None if 200 <= status < 300 else _wrong(status)  # noqa: PLR2004 - HTTP's
        return Answer(time.monotonic() - began, status, text, error)

    async def _post(
        self, url: str, headers: dict[str, str], body: str
    ) -> tuple[int, str]:
        assert self._session is not None  # noqa: S101 - see `__aenter__`
        sending = self._session.post(
            url,
            data=body.encode(),
            headers={"Content-Type": "application/json", **headers},
            allow_redirects=False,
        )
        # A deadline of our own, too: the library's begins late.
        async with asyncio.timeout(self._times.total), sending as response:
            read = await _beginning(response)
            if not response.content.at_eof():
                response.close()  # the rest is not wanted
            return response.status, _text(read)


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    read = b""
    while len(read) < _MOST_BYTES:
        piece = await response.content.read(_MOST_BYTES - len(read))
        if not piece:
            break
        read += piece
    return read


def _text(read: bytes) -> str:
    text = read.decode("utf-8", errors="replace").replace("\x00", "")
    return payload.printable(text)


def _wrong(status: int) -> str:
    if 300 <= status < 400:  # noqa: PLR2004 - HTTP's
        return f"status {status}: redirects are not followed"
    return f"status {status}"


def _reason(error: Exception) -> str:
    """Say what went wrong, without what an error may quote."""
    cause = getattr(error, "os_error", error)
    if NOT_PUBLIC in str(cause):
        return NOT_PUBLIC
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the host was not found"
    if isinstance(error, ssl.SSLError | aiohttp.ClientSSLError):
        return "its certificate or TLS is not valid"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "it cannot be connected to"
    return f"the request failed: {type(error).__name__}"
