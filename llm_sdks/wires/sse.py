"""Server-sent events, for libraries that leave them to their callers."""

from collections.abc import AsyncGenerator, AsyncIterable
from typing import Any

from pydantic_core import from_json

_END = b"[DONE]"


async def json_events(chunks: AsyncIterable[bytes]) -> AsyncGenerator[Any]:
    """Yield the JSON value of each event, up to OpenAI's end mark.

    Raises:
        ValueError: an event is no JSON.
    """
    data: list[bytes] = []
    async for line in _lines(chunks):
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif not line and data:
            event = b"\n".join(data)
            data.clear()
            if event.startswith(_END):
                return
            yield from_json(event)


async def _lines(chunks: AsyncIterable[bytes]) -> AsyncGenerator[bytes]:
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.removesuffix(b"\r")
    yield rest
    # The last event may lack the empty line that ends it.
    yield b""
