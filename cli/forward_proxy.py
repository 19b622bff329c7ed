"""`metasync proxy`: a forward proxy in front of a running Metasync.

A request for `http://api.openai.com/v1/...` becomes one for
`/forward/api.openai.com/v1/...` of the service, which knows the models and
their keys, and sends it over TLS.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import aiohttp
from starlette.types import Receive, Scope, Send
from yarl import URL

from cli.proxy_token import token_of, without_credentials

_TARGET = re.compile(
    rb"https?://([^/?#@\s]{1,300})(/[^?#\s]*)?(\?[^#\s]*)?", re.IGNORECASE
)
_CONNECT_SECONDS = 10.0
_NOT_ADDED = ("accept", "accept-encoding", "content-type", "user-agent")
# Those of one connection, and what HTTP writes anew.
_NOT_KEPT = frozenset(
    {
        b"connection", b"host", b"keep-alive", b"proxy-authenticate",
        b"proxy-authorization", b"proxy-connection", b"te", b"trailer",
        b"transfer-encoding", b"upgrade", b"x-forwarded-for",
    }
)  # fmt: skip
_HELP = (
    "This is a forward proxy: it takes requests for the whole address of a "
    "provider, such as `curl -x http://CLIENT:KEY@HOST:PORT "
    "http://api.openai.com/v1/models`"
)
_LOGIN_NEEDED = (
    "Send the client's id and key as the proxy's user and password, or "
    "`Authorization: Bearer CLIENT_ID:KEY`"
)
Headers = list[tuple[bytes, bytes]]


class ForwardProxy:
    """The proxy as an ASGI application.

    `scope["target"]` is what the client has asked for.
    """

    def __init__(self, service: str) -> None:
        self._service = service.rstrip("/")
        self._session: aiohttp.ClientSession | None = None

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer one request."""
        found = _TARGET.fullmatch(scope["target"])
        headers: Headers = scope["headers"]
        if found is None:
            await answer(send, 400, _HELP)
            return
        token = token_of(headers)
        if token is None:
            await answer(send, 407, _LOGIN_NEEDED)
            return
        host, path, query = (each or b"" for each in found.groups())
        address = quote(host.decode("latin-1"), safe="")
        target = f"/forward/{address}" + (path + query).decode("latin-1")
        sent = _sent_headers(scope, without_credentials(headers), token)
        try:
            response = await self._request(scope, receive, target, sent)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            await answer(send, 502, "Metasync cannot be reached")
            return
        async with response:
            await _hand_back(response, receive, send)

    async def knows(self, token: str) -> bool:
        """Tell whether the service lets a client in."""
        headers = {"authorization": f"Bearer {token}"}
        with suppress(aiohttp.ClientError, TimeoutError, OSError, ValueError):
            async with self._http.get(
                f"{self._service}/v1/models",
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=_CONNECT_SECONDS),
            ) as response:
                return response.ok
        return False

    async def close(self) -> None:
        """Close the connections to the service."""
        if self._session is not None:
            await self._session.close()

    @property
    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                max_line_size=256 * 1024,
                max_field_size=256 * 1024,
            )
        return self._session

    async def _request(
        self,
        scope: Scope,
        receive: Receive,
        target: str,
        headers: list[tuple[str, str]],
    ) -> aiohttp.ClientResponse:
        names = {name for name, _ in scope["headers"]}
        has_body = not names.isdisjoint(
            {b"content-length", b"transfer-encoding"}
        )
        return await self._http.request(
            scope["method"],
            URL(f"{self._service}{target}", encoded=True),
            headers=headers,
            data=_body(receive) if has_body else None,
            skip_auto_headers=_NOT_ADDED,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(sock_connect=_CONNECT_SECONDS),
        )


def refusal(status: int, detail: str) -> tuple[Headers, bytes]:
    """Give the headers and the body of a refusal."""
    body = json.dumps({"detail": detail}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    if status == 407:  # noqa: PLR2004 - proxy authentication required
        headers.append((b"proxy-authenticate", b'Basic realm="Metasync"'))
    return headers, body


async def answer(send: Send, status: int, detail: str) -> None:
    """Refuse a request."""
    headers, body = refusal(status, detail)
    start: Mapping[str, Any] = {"status": status, "headers": headers}
    await send({"type": "http.response.start", **start})
    await send({"type": "http.response.body", "body": body})


def _sent_headers(
    scope: Scope, headers: Headers, token: str
) -> list[tuple[str, str]]:
    dropped = _NOT_KEPT | _listed(headers)
    kept = [
        (name.decode("latin-1"), value.decode("utf-8", "replace"))
        for name, value in headers
        if name not in dropped
    ]
    client = scope.get("client")
    if client:
        # Wrong keys are counted by it.
        kept.append(("x-forwarded-for", client[0]))
    return [*kept, ("authorization", f"Bearer {token}")]


def _listed(headers: Headers) -> frozenset[bytes]:
    """Return the names that the connection's headers list."""
    values = [value for name, value in headers if name == b"connection"]
    return frozenset(
        each.strip().lower() for value in values for each in value.split(b",")
    )


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("the client went away")
        if message.get("body"):
            yield message["body"]
        if not message.get("more_body"):
            return


async def _hand_back(
    response: aiohttp.ClientResponse, receive: Receive, send: Send
) -> None:
    headers = [
        (name.lower(), value)
        for name, value in response.raw_headers
        if name.lower() not in _NOT_KEPT
    ]
    start: Mapping[str, Any] = {"status": response.status, "headers": headers}
    await send({"type": "http.response.start", **start})
    watching = asyncio.create_task(_close_when_gone(response, receive))
    try:
        async for chunk in response.content.iter_any():
            await send(_piece(chunk, more=True))
    except (aiohttp.ClientError, OSError):
        # The server closes a connection whose answer has no end.
        return
    finally:
        watching.cancel()
    await send(_piece(b"", more=False))


async def _close_when_gone(
    response: aiohttp.ClientResponse, receive: Receive
) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    response.close()


def _piece(content: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.response.body", "body": content, "more_body": more}
