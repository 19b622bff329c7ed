"""Asynchronous calls for those who block: a private event loop each."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import TypeVar

T = TypeVar("T")

_END = object()


def iterate(make: Callable[[], AsyncGenerator[T]]) -> Iterator[T]:
    """Yield what an asynchronous generator gives, item by item.

    Leaving early closes the generator. The thread may change between two
    items, but must not run an event loop of its own.
    """
    with asyncio.Runner() as runner:
        items = make()

        async def following() -> T | object:
            return await anext(items, _END)

        try:
            while (item := runner.run(following())) is not _END:
                yield item  # type: ignore[misc]  # not the sentinel
        finally:
            runner.run(items.aclose())
