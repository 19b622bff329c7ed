"""Waiting for a condition, with a deadline instead of a hope."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(
    check: Callable[[], T | None], *, seconds: float = 15.0, what: str = ""
) -> T:
    """Return the first true result of `check`."""
    deadline = time.monotonic() + seconds
    while True:
        if result := check():
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or check}")
        time.sleep(0.02)


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
