"""What waits, in a program with an event loop.

Its twin in `_sync` has the same names; everything else there is made from
this package.
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from typing import ParamSpec, TypeVar

import httpx2

# Whether rows may come with `async for`.
HAS_LOOP = True
HttpClient = httpx2.AsyncClient
Lock = asyncio.Lock
P = ParamSpec("P")
T = TypeVar("T")


async def sleep(seconds: float) -> None:
    """Let others run for this time."""
    await asyncio.sleep(seconds)


async def in_thread(
    call: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Run what blocks."""
    return await asyncio.to_thread(call, *args, **kwargs)


async def each(rows: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    """Go through rows of both kinds."""
    if isinstance(rows, AsyncIterable):
        async for row in rows:
            yield row
        return
    for row in rows:
        yield row
