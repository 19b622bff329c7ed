"""A provider that shows what has come to it, on a real socket."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import web

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
    loop = asyncio.new_event_loop()
    started = threading.Event()

    async def start() -> web.AppRunner:
        app = web.Application(client_max_size=256 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", provider.serve)
        runner = web.AppRunner(
            app, handler_cancellation=True, shutdown_timeout=0.1
        )
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        provider.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        started.set()
        return runner

    def run() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(start())
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield provider
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
