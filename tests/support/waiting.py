"""Waiting for a condition, with a deadline instead of a hope."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
# In seconds. Each look costs: most ask a server.
_FIRST_PAUSE, _LONGEST_PAUSE, _GROWTH = 0.01, 0.1, 1.4


def eventually(
    check: Callable[[], T | None], *, seconds: float = 15.0, what: str = ""
) -> T:
    """Return the first true result of `check`."""
    deadline = time.monotonic() + seconds
    pause = _FIRST_PAUSE
    while True:
        if result := check():
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or check}")
        time.sleep(pause)
        pause = min(pause * _GROWTH, _LONGEST_PAUSE)


async def eventually_so(
    check: Callable[[], bool | Awaitable[bool]], *, seconds: float = 15.0
) -> None:
    """Let the event loop go on until `check` is true."""
    async with asyncio.timeout(seconds):
        while True:
            result = check()
            if inspect.isawaitable(result):
                result = await result
            if result:
                return
            await asyncio.sleep(0.005)
