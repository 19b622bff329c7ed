"""A provider that shows what has come to it, on a real socket."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import web

from tests.support.served import served

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Seen:
    """One request; `target` is the path and the query as they came."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes = field(repr=False)

    def all(self, name: str) -> list[str]:
        """Return the values of a header."""
        return [value for each, value in self.headers if each == name]


class EchoProvider:
    """Notes each request; `handler` answers, if there is one."""

    def __init__(self) -> None:
        self.url = ""
        self.reset()

    def reset(self) -> None:
        """Forget what has come, and echo again."""
        self.seen: list[Seen] = []
        self.disconnected = 0
        self.handler: Handler | None = None
        # Reads no body by itself if the handler does.
        self.reads_body = True

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        body = await request.read() if self.reads_body else b""
        headers = [(k.lower(), v) for k, v in request.headers.items()]
        self.seen.append(Seen(request.method, request.raw_path, headers, body))
        try:
            if self.handler is not None:
                return await self.handler(request)
        except (asyncio.CancelledError, ConnectionError):
            self.disconnected += 1
            raise
        return web.json_response({"ok": True})


@contextmanager
def echo_provider() -> Iterator[EchoProvider]:
    """Serve in a thread until the block ends."""
    provider = EchoProvider()
    app = web.Application(client_max_size=256 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", provider.serve)
    with served(app) as provider.url:
        yield provider
