"""Sends what a vendor's library would send, without its cost a call.

Asked once for each kind of call, a library shows what its request looks
like: address, credential, headers. The calls themselves then go through
aiohttp alone, which takes a fifth of the processor time.
"""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from ssl import SSLContext
from typing import Self
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx2
from aiohttp.http_exceptions import ContentEncodingError
from pydantic_core import to_json
from yarl import URL

from llm_sdks import errors
from llm_sdks.formats import failures
from llm_sdks.formats.decoding import is_json
from llm_sdks.wires.wire import (
    MAX_ANSWER_BYTES,
    MAX_CONNECTIONS,
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    Call,
    Reply,
    Stream,
)

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
    # The body, if the library has written it; else the call's.
    content: bytes | None = None

    @classmethod
    def of(cls, request: httpx2.Request, call: Call) -> Self:
        """Take a library's request for a call as the pattern for others."""
        own = {name.lower() for name in call.headers}
        headers = {
            name: value
            for name, value in kept_headers(request.headers).items()
            if name.lower() not in own
        }
        return cls(URL(str(request.url), encoded=True), headers)


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that are not one connection's own."""
    return {
        name: value
        for name, value in headers.items()
        if name.lower() not in _NOT_KEPT
    }


class Direct:
    """A pool of connections in one event loop."""

    def __init__(self, *, trust_env: bool = False) -> None:
        self._session = session_with(
            aiohttp.TCPConnector(
                limit=MAX_CONNECTIONS,
                keepalive_timeout=_KEEPALIVE_SECONDS,
                ssl=ssl_context(),
            ),
            trust_env=trust_env,
        )

    async def post(self, template: Template, call: Call) -> Reply:
        """Return the answer, of whatever status.

        Raises:
            aiohttp.ClientError: There is none.
            TimeoutError: There was none in time.
        """
        async with await self._send(template, call) as response:
            content = await _content_of(response)
            return Reply(content, response.headers, response.status)

    async def open(self, template: Template, call: Call) -> Reply | Stream:
        """Return the stream; the whole answer if its status is not 2xx.

        Raises:
            aiohttp.ClientError: There is none.
            TimeoutError: There was none in time.
        """
        response = await self._send(template, call)
        if is_success(response.status):
            return Stream(_chunks(response), response.headers)
        async with response:
            content = await _content_of(response)
            return Reply(content, response.headers, response.status)

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def _send(
        self, template: Template, call: Call
    ) -> aiohttp.ClientResponse:
        return await self._session.post(
            template.url,
            data=template.content or call.content or to_json(call.body),
            headers={**template.headers, **call.headers},
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(
                sock_connect=call.connect_timeout,
                sock_read=call.read_timeout,
            ),
        )


async def _content_of(response: aiohttp.ClientResponse) -> bytes:
    """Read a whole answer, as far as it is one."""
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in response.content.iter_any():
            chunks.append(chunk)
            size += len(chunk)
            if size > MAX_ANSWER_BYTES:
                break
    except aiohttp.ClientPayloadError:
        # Some servers promise more bytes than they have.
        if not is_json(b"".join(chunks)):
            raise
    return b"".join(chunks)


async def _chunks(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes]:
    try:
        async for chunk in response.content.iter_any():
            yield chunk
    finally:
        response.close()


def session_with(
    connector: aiohttp.BaseConnector,
    *,
    trust_env: bool = False,
    auto_decompress: bool = True,
) -> aiohttp.ClientSession:
    """Make a session that takes what providers send."""
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=trust_env,
        auto_decompress=auto_decompress,
        max_line_size=MAX_HEADER_BYTES,
        max_field_size=MAX_HEADER_BYTES,
        max_headers=MAX_HEADERS,
    )


def is_success(status: int) -> bool:
    """Tell whether a status is 2xx; not every one has a name in HTTP."""
    return HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES


def is_undecodable(error: BaseException) -> bool:
    """Tell whether an answer is not encoded as its headers say."""
    cause: BaseException | None = error
    # The libraries wrap aiohttp's errors once or twice.
    while cause is not None and not isinstance(cause, ContentEncodingError):
        cause = cause.__cause__
    return cause is not None


def needs_proxy(url: str) -> bool:
    """Tell whether the environment has an address reached by a proxy.

    Those calls are left to the libraries, which know how.
    """
    has_proxies = bool(getproxies().keys() - {"no"})
    return has_proxies and not proxy_bypass(httpx2.URL(url).host)


def refusal(
    reply: Reply, template: Template, call: Call, key: str
) -> errors.LLMError:
    """Give the error for an answer that is no 2xx."""
    is_others = call.content is not None
    error = failures.of_answer(
        reply.status,
        reply.headers,
        reply.content,
        key,
        template.url.path,
        is_quoting=is_others,
    )
    return handed_on(error, reply.content, key) if is_others else error


def handed_on(
    error: errors.LLMError, content: bytes | str, key: str
) -> errors.LLMError:
    """Give an error what came in place of an answer, without the key."""
    raw = content.encode() if isinstance(content, str) else content
    secret = key.encode()
    error.content = raw.replace(secret, b"***") if secret else raw
    return error
