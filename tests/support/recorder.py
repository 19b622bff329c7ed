"""A provider that keeps what it was sent and answers as it is told."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

Answer = Callable[[dict[str, Any]], web.Response]


@dataclass
class Recorder:
    """`answer` gets each body and makes the response."""

    answer: Answer = lambda _body: web.json_response({})
    url: str = ""
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)

    async def serve(self, request: web.Request) -> web.Response:
        """Keep one request and answer it."""
        body = await request.json()
        self.paths.append(request.raw_path)
        self.headers.append(
            {name.lower(): value for name, value in request.headers.items()}
        )
        self.bodies.append(body)
        return self.answer(body)


def server_sent(*lines: str) -> web.Response:
    """Give a stream of events, each its own lines."""
    text = "".join(f"{line}\n\n" for line in lines)
    return web.Response(text=text, content_type="text/event-stream")


@asynccontextmanager
async def recorder() -> AsyncIterator[Recorder]:
    """Serve on every path until the block ends."""
    kept = Recorder()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", kept.serve)
    async with TestServer(app) as server:
        kept.url = str(server.make_url("")).rstrip("/")
        yield kept
