"""A provider that speaks OpenAI's wire format, on a real socket."""

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

from tests.support.served import served

Body = dict[str, Any]
Handler = Callable[[Body], Awaitable[web.StreamResponse]]


def completion(
    text: str, *, finish_reason: str = "stop", tokens: tuple[int, int] = (7, 3)
) -> web.Response:
    """Give a chat completion as OpenAI sends it."""
    return web.json_response(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "fake",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text},
                    "finish_reason": finish_reason,
                }
            ],
            "usage": {
                "prompt_tokens": tokens[0],
                "completion_tokens": tokens[1],
                "total_tokens": sum(tokens),
            },
        }
    )


def failure(status: int, message: str, **headers: str) -> web.Response:
    """Give an error as OpenAI sends it."""
    return web.json_response(
        {"error": {"message": message, "type": "x", "code": None}},
        status=status,
        headers=headers,
    )


class FakeProvider:
    """Echoes the user message; `handler` can be replaced at run time.

    While it `holds`, it answers nothing; of a stream, it sends
    `most_pieces`, and more when it may.
    """

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[Body] = []
        self.authorizations: list[str] = []
        self.running = 0
        self.most_running = 0
        self.disconnected = 0
        self.delay = 0.0
        self.holds = False
        self.handler: Handler = self.echo
        self.pieces = ["Hel", "lo ", "you"]
        self.piece_delay = 0.0
        self.most_pieces = math.inf
        self.breaks = False
        # Whether streams are streamed, whatever the `handler` is.
        self.streams = False

    async def echo(self, body: Body) -> web.StreamResponse:
        """Answer with what was asked."""
        return completion(
            json.dumps({"echo": json.loads(body["messages"][-1]["content"])})
        )

    def was_asked(self, times: int) -> bool:
        """Tell whether this number of requests has come."""
        return len(self.requests) >= times

    def reset(self) -> None:
        """Forget what happened and echo again."""
        self.requests.clear()
        self.authorizations.clear()
        self.most_running = self.disconnected = 0
        self.delay = 0.0
        self.holds = False
        self.handler = self.echo
        self.pieces = ["Hel", "lo ", "you"]
        self.piece_delay = 0.0
        self.most_pieces = math.inf
        self.breaks = False

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        body = await request.json()
        self.requests.append(body)
        self.authorizations.append(request.headers.get("Authorization", ""))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await asyncio.sleep(self.delay)
            while self.holds:  # noqa: ASYNC110 - a thread changes it
                await asyncio.sleep(0.005)
            is_echo = self.streams or self.handler == self.echo
            if body.get("stream") and is_echo:
                return await self._stream(request)
            return await self.handler(body)
        except asyncio.CancelledError:
            self.disconnected += 1
            raise
        finally:
            self.running -= 1

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream"}
        )
        await response.prepare(request)
        base = {
            "id": "c",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "fake",
        }
        for number, piece in enumerate(self.pieces):
            while number >= self.most_pieces:  # noqa: ASYNC110 - a thread's
                await asyncio.sleep(0.005)
            choice = {"index": 0, "delta": {"content": piece}}
            chunk = {**base, "choices": [choice]}
            await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
            await asyncio.sleep(self.piece_delay)
        if self.breaks:
            assert request.transport is not None
            request.transport.abort()
            return response
        usage = {
            "prompt_tokens": 4,
            "completion_tokens": 3,
            "total_tokens": 7,
        }
        last = {**base, "choices": [], "usage": usage}
        await response.write(f"data: {json.dumps(last)}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response


@contextmanager
def fake_provider() -> Iterator[FakeProvider]:
    """Serve in a thread until the block ends."""
    provider = FakeProvider()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/v1/chat/completions", provider.serve)
    with served(app) as url:
        provider.url = f"{url}/v1"
        yield provider
