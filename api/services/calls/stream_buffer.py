"""Pieces between a provider that sends and a reader that may be slow."""

import asyncio
from collections import deque
from typing import Generic, TypeVar

from api.services.calls.model_call import SlowReaderError

Piece = TypeVar("Piece", str, bytes)


class StreamBuffer(Generic[Piece]):
    """A bounded queue of text in one event loop; one writer, one reader.

    The pieces are text or bytes; `empty` is none of them. The writer waits
    while `max_characters` wait to be read, but no longer
    than `stall_seconds`: a reader that has stopped reading must not keep
    its place at the provider.
    """

    def __init__(
        self, max_characters: int, stall_seconds: float, empty: Piece
    ) -> None:
        self._max = max_characters
        self._stall_seconds = stall_seconds
        self._empty: Piece = empty
        self._pieces: deque[Piece] = deque()
        self._waiting = 0
        self._closed = False
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()

    async def put(self, piece: Piece) -> None:
        """Add a piece; an empty buffer takes one of any size.

        Raises:
            SlowReaderError: nothing was read for `stall_seconds`.
        """
        while self._waiting and self._waiting + len(piece) > self._max:
            self._writable.clear()
            try:
                async with asyncio.timeout(self._stall_seconds):
                    await self._writable.wait()
            except TimeoutError:
                raise SlowReaderError(
                    f"The client read nothing for {self._stall_seconds:g} s"
                ) from None
        self._pieces.append(piece)
        self._waiting += len(piece)
        self._readable.set()

    def close(self) -> None:
        """Tell the reader that nothing more comes; never waits."""
        self._closed = True
        self._readable.set()

    async def take(self) -> Piece | None:
        """Return all pieces that wait, joined; None at the end."""
        while not self._pieces:
            if self._closed:
                return None
            self._readable.clear()
            await self._readable.wait()
        joined = self._empty.join(self._pieces)
        self._pieces.clear()
        self._waiting = 0
        self._writable.set()
        return joined
