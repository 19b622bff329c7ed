"""Ending asyncio tasks for certain."""

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any

_INSISTENCE_SECONDS = 0.5


async def cancel_until_ended(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait until they have ended, asking again if need be.

    Once is not enough: `asyncio.wait_for`, in Python 3.11 and in the
    libraries below us, loses a cancellation that comes in the moment in
    which what it waits for is done (python/cpython#86296).
    """
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_INSISTENCE_SECONDS)


class Loop:
    """What something that goes on until it is told to stop is made of.

    Told, not cancelled: see `cancel_until_ended`. All but `wake_safely`
    belongs to its own event loop, which it enters by `attach`.
    """

    def __init__(self) -> None:
        self.stopping = False
        self._news = asyncio.Event()
        self._event_loop: asyncio.AbstractEventLoop | None = None

    def attach(self) -> None:
        """Belong to the running event loop."""
        self._event_loop = asyncio.get_running_loop()

    def stop(self) -> None:
        """Have it end soon."""
        self.stopping = True
        self._news.set()

    def wake(self) -> None:
        """End the pause that is under way, or the next one."""
        self._news.set()

    def wake_safely(self) -> None:
        """Do so from any thread."""
        if self._event_loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._event_loop.call_soon_threadsafe(self._news.set)

    async def pause(self, seconds: float) -> None:
        """Wait so long, or until there is news."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
            self._news.clear()
