"""Ending asyncio tasks for certain."""

import asyncio
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
