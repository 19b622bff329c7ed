"""A request's body that goes on as it comes, and is kept nowhere."""

import asyncio
from collections.abc import AsyncIterator, Callable

from starlette.requests import ClientDisconnect


class Upload:
    """The body of one request; it can be sent once."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self.is_used = False
        # Nobody else may read from the client before it has ended.
        self.ended = asyncio.Event()

    async def chunks(
        self, on_gone: Callable[[], None]
    ) -> AsyncIterator[bytes]:
        """Yield the body; `on_gone` is called if the client goes away."""
        self.is_used = True
        try:
            async for chunk in self._chunks:
                if chunk:
                    yield chunk
        except ClientDisconnect:
            on_gone()
            raise
        finally:
            self.ended.set()
