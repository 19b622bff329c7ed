"""Ending asyncio tasks for certain."""

import asyncio
import contextlib
import time
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
    """Base of a background part that repeats until it is stopped.

    It is told to stop, not only cancelled: see `cancel_until_ended`. All
    methods but `wake_safely` belong to the loop's own thread, which
    `attach` sets. It fulfils `utilities.supervision.Part`.
    """

    name = "loop"
    # Whether the process is not ready while this part has a problem.
    vital = True
    # After how many seconds without a pause it counts as stalled.
    stalls_after: float | None = None

    def __init__(self) -> None:
        self.stopping = False
        # What it cannot do now; set by the part itself.
        self.complaint: str | None = None
        self._news = asyncio.Event()
        self._event_loop: asyncio.AbstractEventLoop | None = None
        self._last_pause: float | None = None

    @property
    def problem(self) -> str | None:
        """Say what it cannot do now; None if all is well."""
        if self.stalls_after is not None and self._last_pause is not None:
            seconds = time.monotonic() - self._last_pause
            if seconds > self.stalls_after:
                return "stalled: one of its rounds does not end"
        return self.complaint

    def attach(self) -> None:
        """Belong to the running event loop."""
        self._event_loop = asyncio.get_running_loop()
        self._last_pause = time.monotonic()

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

    async def rest(self, seconds: float) -> None:
        """Let others work for this time in the middle of a round."""
        if not self.stopping:
            self._last_pause = time.monotonic()
            await asyncio.sleep(seconds)

    async def pause(self, seconds: float) -> None:
        """Wait for this time, or until it is woken."""
        self._last_pause = time.monotonic()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
            self._news.clear()
        self._last_pause = time.monotonic()
