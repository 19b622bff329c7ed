import asyncio
import time

import pytest

from utilities import slices
from utilities.slices import blocks, in_slices


async def test_the_results_are_in_order() -> None:
    assert await in_slices(lambda n: n * n, range(1000)) == [
        n * n for n in range(1000)
    ]


async def test_others_run_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE_SECONDS", 0.0)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await in_slices(lambda _: time.perf_counter(), range(50))
    task.cancel()
    assert turns >= 50


def test_blocks_are_the_whole_in_order() -> None:
    assert list(blocks([1, 2, 3, 4, 5], 2)) == [[1, 2], [3, 4], [5]]
    assert list(blocks([], 2)) == []
