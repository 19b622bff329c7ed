"""A receiver of webhooks, which keeps what it gets and answers as told."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from standardwebhooks import Webhook

Answer = Callable[[int], web.StreamResponse]


def _ok(_number: int) -> web.StreamResponse:
    return web.Response()


@dataclass
class Receiver:
    """`answer` gets the number of the request, from 0, and answers it."""

    url: str = ""
    answer: Answer = _ok
    delay: float = 0.0
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Keep one request and answer it."""
        number = len(self.bodies)
        self.headers.append({k.lower(): v for k, v in request.headers.items()})
        self.bodies.append(await request.text())
        await asyncio.sleep(self.delay)
        return self.answer(number)

    def verified(self, secret: str) -> list[dict[str, Any]]:
        """Return all messages, checked as a receiver would."""
        library = Webhook(secret)
        return [
            library.verify(body, headers)
            for body, headers in zip(self.bodies, self.headers, strict=True)
        ]

    def ids(self) -> list[str]:
        """Return the id of each message."""
        return [headers["webhook-id"] for headers in self.headers]


@contextmanager
def running_receiver(port: int = 0) -> Iterator[Receiver]:
    """Serve in a thread until the block ends."""
    receiver = Receiver()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> web.AppRunner:
        app = web.Application()
        app.router.add_post("/{path:.*}", receiver.serve)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        return runner

    runner = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield receiver
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
