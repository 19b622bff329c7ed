"""`/proxy`: any request of a provider's own interface, with its credential.

`/proxy/{model}/{path}` names a model, `/forward/{host}/{path}` the host that
a forward proxy was asked for. Paths are taken as they were sent: decoded,
some would lead elsewhere.
"""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, cast
from urllib.parse import unquote

from asgi_correlation_id import correlation_id
from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from api.core.dialects import dialect_of
from api.core.errors import ParameterError
from api.dependencies.gateway_auth import proxy_client
from api.dependencies.services import get_services
from api.routers.gateway_route import (
    HUNG_UP,
    LiveResponse,
    bodies_of,
    max_wait,
)
from api.services.clients.client_keys import ClientKey
from api.services.gateway.asked import read_body
from api.services.gateway.cleaning import (
    clean_query,
    safe_path,
    sent_headers,
)
from api.services.gateway.proxied import Proxied, is_json
from api.services.gateway.upload import Upload

_Handler = Callable[[Request], Awaitable[Response]]
# TRACE would show the credential to the client; CONNECT is for proxies.
_METHODS = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]


class ProxyRoute(APIRoute):
    """A path of the proxy: the client is known, no more."""

    # It changes nothing that the audit records.
    only_calls = True

    def get_route_handler(self) -> Any:  # noqa: ANN401 - as FastAPI's
        """Give what answers a request."""
        endpoint = cast("Any", self.endpoint)

        async def handle(request: Request) -> Response:
            client = await proxy_client(request)
            try:
                response: Response = await endpoint(request, client)
            except ClientDisconnect:
                # The client has gone and cannot read it.
                return Response(status_code=HUNG_UP)
            return response

        return handle


router = APIRouter(route_class=ProxyRoute, include_in_schema=False)


@router.api_route("/proxy/{rest:path}", methods=_METHODS, response_model=None)
async def pass_to_model(request: Request, client: ClientKey) -> Response:
    """Pass a request to the provider of a model."""
    name, path = _parts(request)
    async with AsyncExitStack() as stack:
        asked = await _asked(request, client, path, stack)
        return await _answer(request, client, replace(asked, model=name))


@router.api_route(
    "/forward/{rest:path}",
    methods=_METHODS,
    response_model=None,
)
async def pass_to_host(request: Request, client: ClientKey) -> Response:
    """Pass a request to the provider at a host."""
    host, path = _parts(request)
    async with AsyncExitStack() as stack:
        asked = await _asked(request, client, path, stack)
        name = await get_services(request).gateway.model_at(host, asked)
        return await _answer(request, client, replace(asked, model=name))


async def _answer(
    request: Request, client: ClientKey, asked: Proxied
) -> Response:
    live = await get_services(request).gateway.pass_on(asked, client)
    return await LiveResponse.begun(live, request.receive, asked.upload)


def _parts(request: Request) -> tuple[str, str]:
    """Return the model or host, and the path, which stays encoded."""
    raw = request.scope["raw_path"].decode("latin-1")
    parts = raw.split("/", 3)
    if len(parts) < 3 or not parts[2]:  # noqa: PLR2004 - "", "proxy", name
        raise ParameterError("The path must name a model", "path")
    path = parts[3] if len(parts) > 3 else ""  # noqa: PLR2004 - as above
    return unquote(parts[2]), safe_path(f"/{path}")


async def _asked(
    request: Request, client: ClientKey, path: str, stack: AsyncExitStack
) -> Proxied:
    """Read a request; its JSON body is in memory as long as the stack."""
    dialect = dialect_of(request.scope)
    assert dialect is not None  # noqa: S101 - it knows these paths
    secret = request.state.client_secret
    query = request.scope["query_string"].decode("latin-1")
    headers = [
        (name.decode("latin-1"), value.decode("utf-8", "replace"))
        for name, value in request.headers.raw
    ]
    asked = Proxied(
        dialect,
        "",
        request.method,
        path,
        clean_query(query, secret),
        sent_headers(headers, secret),
        max_wait=max_wait(request, client),
        request_id=correlation_id.get() or "",
    )
    return await _with_body(request, asked, stack)


async def _with_body(
    request: Request, asked: Proxied, stack: AsyncExitStack
) -> Proxied:
    headers = request.headers
    if headers.get("content-length", "0") == "0" and (
        "transfer-encoding" not in headers
    ):
        return asked
    encoding = headers.get("content-encoding", "identity").lower()
    is_plain = encoding == "identity"
    if not is_json(headers.get("content-type", "")) or not is_plain:
        return replace(asked, upload=Upload(request.stream()))
    raw = await stack.enter_async_context(bodies_of(request).body_of(request))
    content = bytes(raw)
    try:
        return replace(asked, body=read_body(raw), raw=content)
    except ParameterError:
        # The provider knows what to say of it.
        return replace(asked, raw=content)
