"""A call that waits for its turn, in its own event loop."""

import asyncio
from typing import Generic, TypeVar

from llm_sdks.resilience.fair_queue import NOBODYS, Turn

T = TypeVar("T")


class Waiter(Generic[T]):
    """Waits for a value that another thread gives it."""

    def __init__(self, units: float = 1.0, turn: Turn = NOBODYS) -> None:
        self.units = units
        self.turn = turn
        # Both are set under the lock of its queue.
        self.has_left = False
        self.given: T | None = None
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[T] = self._loop.create_future()

    async def wait(self, seconds: float) -> T:
        """Wait for the value.

        Raises:
            TimeoutError: it did not come in time.
        """
        async with asyncio.timeout(seconds):
            return await self._future

    def give(self, value: T) -> bool:
        """Give it the value, from any thread; False if its loop has ended."""
        try:
            self._loop.call_soon_threadsafe(self._set, value)
        except RuntimeError:
            return False
        return True

    def _set(self, value: T) -> None:
        if not self._future.done():
            self._future.set_result(value)
