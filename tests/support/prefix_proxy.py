"""A reverse proxy that serves a service under a prefix, and cuts it off."""

from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
from aiohttp import web

from tests.support.served import served

_OWN = frozenset({"transfer-encoding", "connection", "content-length"})


@contextmanager
def prefix_proxy(target: str, prefix: str) -> Iterator[str]:
    """Proxy until the block ends; yield the address with the prefix."""

    async def forward(request: web.Request) -> web.StreamResponse:
        path = str(request.rel_url).removeprefix(prefix)
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(
                request.method,
                f"{target}{path}",
                headers=request.headers,
                data=await request.read(),
                allow_redirects=False,
            ) as answer,
        ):
            headers = {
                name: value
                for name, value in answer.headers.items()
                if name.lower() not in _OWN
            }
            response = web.StreamResponse(
                status=answer.status, headers=headers
            )
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            return response

    app = web.Application()
    app.router.add_route("*", prefix + "{path:.*}", forward)
    with served(app) as url:
        yield f"{url}{prefix}"
