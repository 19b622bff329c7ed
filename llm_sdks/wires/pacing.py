"""The times that an answer may take."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from llm_sdks.base_sdk import CompletionRequest
from llm_sdks.formats import failures


async def in_time(
    chunks: AsyncGenerator[bytes], until: float, request: CompletionRequest
) -> AsyncGenerator[bytes]:
    """Yield what comes, as long as it comes in time."""
    loop = asyncio.get_running_loop()
    async with aclosing(chunks):
        while True:
            due = min(until, loop.time() + request.read_timeout)
            try:
                async with asyncio.timeout_at(due):
                    chunk = await anext(chunks, None)
            except TimeoutError:
                raise failures.timed_out() from None
            if chunk is None:
                return
            yield chunk
