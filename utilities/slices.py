"""Long work on an event loop, in slices that let other tasks run between."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

# How long one slice may block the event loop.
SLICE_SECONDS = 0.005

T = TypeVar("T")
R = TypeVar("R")


async def in_slices(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Return `work` of each item, yielding to the event loop in between."""
    results: list[R] = []
    end = time.perf_counter() + SLICE_SECONDS
    for item in items:
        results.append(work(item))
        if time.perf_counter() > end:
            await asyncio.sleep(0)
            end = time.perf_counter() + SLICE_SECONDS
    return results


def blocks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Split into blocks of at most `size`, in order."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
