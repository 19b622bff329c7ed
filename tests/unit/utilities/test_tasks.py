import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from utilities.tasks import cancel_until_ended


async def deaf(times: int) -> None:
    """Lose that many cancellations."""
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if times == 0:
                raise
            times -= 1


async def done() -> str:
    return "kept"


@pytest.mark.parametrize("times", [0, 1, 2])
async def test_a_lost_cancellation_is_repeated(
    monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    monkeypatch.setattr("utilities.tasks._INSISTENCE_SECONDS", 0.01)
    task = await started(deaf(times))
    async with asyncio.timeout(5):
        await cancel_until_ended([task])
    assert task.cancelled()


async def test_what_has_ended_is_left_alone() -> None:
    task = await started(done())
    await task
    await cancel_until_ended([task])
    assert task.result() == "kept"


async def test_nothing_to_end_is_fine() -> None:
    await cancel_until_ended([])


async def started(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    task = asyncio.create_task(work)
    await asyncio.sleep(0)
    return task
