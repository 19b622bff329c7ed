"""Sends what a vendor's library would send, without its cost a call.

Asked once for each kind of call, a library tells what its request looks
like: address, credential, headers. The calls themselves then go through
aiohttp alone, which takes a fifth of the processor time.
"""

from dataclasses import dataclass
from functools import cache
from ssl import SSLContext
from typing import Self
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx2
from pydantic_core import to_json
from yarl import URL

from llm_sdks.wires.wire import MAX_CONNECTIONS, Call, Reply

# Set by each connection for itself, or true of one request only.
_NOT_KEPT = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "host",
        "transfer-encoding",
    }
)


# As the libraries have it: a connection that a server has closed meanwhile
# is a failed call.
_KEEPALIVE_SECONDS = 5.0


@cache
def ssl_context() -> SSLContext:
    """Give the certificates that httpx trusts; they take a while to load."""
    return httpx2.create_ssl_context()


@dataclass(frozen=True, slots=True, repr=False)
class Template:
    """What the requests of one kind of call have in common."""

    url: URL
    headers: dict[str, str]

    @classmethod
    def of(cls, request: httpx2.Request, call: Call) -> Self:
        """Take a library's request for a call as the pattern for others."""
        own = {name.lower() for name in call.headers} | _NOT_KEPT
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() not in own
        }
        return cls(URL(str(request.url), encoded=True), headers)


class Direct:
    """A pool of connections for whole answers, in one event loop."""

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=MAX_CONNECTIONS,
                keepalive_timeout=_KEEPALIVE_SECONDS,
                ssl=ssl_context(),
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def post(self, template: Template, call: Call) -> Reply:
        """Return the answer, of whatever status.

        Raises:
            aiohttp.ClientError: There is none.
            TimeoutError: There was none in time.
        """
        async with self._session.post(
            template.url,
            data=to_json(call.body),
            headers={**template.headers, **call.headers},
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(
                sock_connect=call.connect_timeout,
                sock_read=call.read_timeout,
            ),
        ) as response:
            content = await response.read()
            return Reply(content, response.headers, response.status)

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()


def needs_proxy(url: str) -> bool:
    """Tell whether the environment has an address reached by a proxy.

    Those calls are left to the libraries, which know how.
    """
    has_proxies = bool(getproxies().keys() - {"no"})
    return has_proxies and not proxy_bypass(httpx2.URL(url).host)
