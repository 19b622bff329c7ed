"""Sends requests of any kind, and returns what comes byte by byte.

Unlike the other wires it decodes nothing, follows nothing and adds no
header but those that HTTP needs.
"""

from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from llm_sdks import errors
from llm_sdks.formats import failures
from llm_sdks.passing import Destination, Passed, PassRequest
from llm_sdks.wires.direct import session_with, ssl_context
from llm_sdks.wires.pacing import in_time
from llm_sdks.wires.wire import MAX_CONNECTIONS

# aiohttp would add them where the client has sent none.
_NOT_ADDED = ("accept", "accept-encoding", "content-type", "user-agent")
_TIMEOUTS = (aiohttp.SocketTimeoutError, TimeoutError)


class PassingWire:
    """A pool of connections in one event loop, to any provider."""

    def __init__(self) -> None:
        self._session = session_with(
            aiohttp.TCPConnector(limit=MAX_CONNECTIONS, ssl=ssl_context()),
            auto_decompress=False,
        )

    async def send(
        self, destination: Destination, request: PassRequest, until: float
    ) -> Passed:
        """Return the answer once its head is there.

        `until` is when the answer must be whole, by the loop's clock.

        Raises:
            LLMError: there is no answer.
        """
        url = _url(destination.url, request)
        with _translated(destination.key):
            response = await self._session.request(
                request.method,
                url,
                proxy=_proxy_of(url),
                headers=[*request.headers, *destination.headers],
                data=request.body,
                skip_auto_headers=_NOT_ADDED,
                allow_redirects=False,
                timeout=_timeout(request),
            )
        chunks = _chunks(response, destination.key)
        headers = [
            (name.lower(), value) for name, value in response.headers.items()
        ]
        timed = in_time(chunks, until, request.base)
        return Passed(response.status, headers, timed)

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()


def _url(base: str, request: PassRequest) -> URL:
    query = f"?{request.query}" if request.query else ""
    url = URL(f"{base.rstrip('/')}{request.path}{query}", encoded=True)
    if url.origin() != URL(base).origin():
        # Whatever the path was: the key goes nowhere else.
        raise errors.BadRequestError("The path leaves the model's endpoint")
    return url


def _proxy_of(url: URL) -> str | None:
    """Return the environment's proxy for an address, if there is one.

    aiohttp could look for it itself, but would take a login from `.netrc`
    as well, beside the model's key.
    """
    proxies = getproxies()
    if not proxies or not url.host or proxy_bypass(url.host):
        return None
    return proxies.get(url.scheme) or proxies.get("all")


def _timeout(request: PassRequest) -> aiohttp.ClientTimeout:
    # An answer comes after the whole body, however long that takes.
    reads_at_once = request.body is None or isinstance(request.body, bytes)
    base = request.base
    return aiohttp.ClientTimeout(
        sock_connect=min(base.connect_timeout, base.timeout),
        sock_read=base.read_timeout if reads_at_once else None,
    )


async def _chunks(
    response: aiohttp.ClientResponse, key: str
) -> AsyncGenerator[bytes]:
    with _translated(key):
        try:
            async for chunk in response.content.iter_any():
                yield chunk
        finally:
            response.close()


@contextmanager
def _translated(key: str) -> Iterator[None]:
    try:
        yield
    except aiohttp.ConnectionTimeoutError as error:
        raise failures.unreachable(error, key) from error
    except _TIMEOUTS as error:
        raise failures.timed_out() from error
    except aiohttp.ClientResponseError as error:
        raise failures.not_http(error, key) from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise failures.unreachable(error, key) from error
