"""One answer on its way to a client: its head, then its bytes.

The provider's call runs in a task of its own. So a client that hangs up
ends it cleanly, and the record is written however the answer ends.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from api.services.calls.live_stream import HUNG_UP, StreamError, StreamLimits
from api.services.calls.model_call import CallProgress
from api.services.calls.stream_buffer import StreamBuffer


@dataclass(frozen=True, slots=True)
class Head:
    """How an answer begins; `size` is its length, if it is known."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    size: int | None = None


class AnswerSink(Protocol):
    """Takes the answer to a request: a client's connection, or a file."""

    @property
    def record_id(self) -> str:
        """The id of the call's record."""

    def begin(self, head: Head) -> None:
        """Decide the head."""

    async def put(self, piece: bytes) -> None:
        """Add bytes.

        Raises:
            SlowReaderError: its reader reads nothing.
        """

    async def whole(self, head: Head, content: bytes) -> None:
        """Give an answer in one piece."""


class LiveAnswer:
    """An answer that is being made; one reader."""

    def __init__(self, record_id: str, limits: StreamLimits) -> None:
        self.record_id = record_id
        self.progress = CallProgress(canceled_as=HUNG_UP)
        self._buffer: StreamBuffer[bytes] = StreamBuffer(
            limits.max_characters, limits.stall_seconds, b""
        )
        self._head: asyncio.Future[Head] = (
            asyncio.get_running_loop().create_future()
        )
        self._is_closed = False
        # Whether the rest is missing, and the client has to notice.
        self.is_broken = False
        # The model that answers, once one was called.
        self.model_name = ""
        self.stop_reason = StreamError(HUNG_UP, "The client hung up")
        self.task: asyncio.Task[None]

    def start(self, work: Callable[[], Awaitable[None]]) -> None:
        """Begin; `work` writes the answer, and records it."""
        self.task = asyncio.create_task(self._run(work))

    def stop(self, kind: str, message: str) -> None:
        """End the provider's call; the record says why."""
        self.progress.canceled_as = kind
        self.stop_reason = StreamError(kind, message)
        self.end_call()

    def end_call(self) -> None:
        """End the provider's call, if it still runs."""
        if not self._is_closed:
            self.task.cancel()

    @property
    def has_begun(self) -> bool:
        """Whether the head is decided."""
        return self._head.done()

    def begin(self, head: Head) -> None:
        """Decide the head."""
        if not self._head.done():
            self._head.set_result(head)
            self.progress.has_begun = True

    async def put(self, piece: bytes) -> None:
        """Add bytes; waits for a reader that is slow.

        Raises:
            SlowReaderError: it reads nothing.
        """
        if not piece:
            return
        before = time.perf_counter()
        await self._buffer.put(piece)
        self.progress.reader_seconds += time.perf_counter() - before

    async def whole(self, head: Head, content: bytes) -> None:
        """Give an answer in one piece."""
        self.begin(head)
        await self.put(content)

    def close(self) -> None:
        """Nothing more comes; from here on, nothing can be cancelled."""
        self._is_closed = True
        self._buffer.close()

    async def head(self) -> Head:
        """Wait for the head."""
        return await asyncio.shield(self._head)

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the bytes."""
        while (piece := await self._buffer.take()) is not None:
            yield piece

    async def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        finally:
            self.close()
            # Whoever waits for it must not wait for ever.
            self.begin(Head(500))
