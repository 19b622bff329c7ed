"""Two calls with one key are one: the second gets the first's answer."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from provider_simulator.limits import Clock

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Kept(Generic[T]):
    value: T
    until: float


class IdempotencyCache(Generic[T]):
    """Keeps a limited number of answers by key, each for a limited time.

    Work that runs belongs to no caller: it goes on when the one who
    began it has gone, and its answer is there for the next try. Work
    that fails leaves nothing behind, so the next try begins anew; so do
    answers that `worth_keeping` does not take.
    """

    def __init__(
        self,
        clock: Clock,
        entries: int,
        seconds: float,
        *,
        worth_keeping: Callable[[T], bool] = lambda _: True,
    ) -> None:
        self._clock = clock
        self._worth_keeping = worth_keeping
        self._entries = entries
        self._seconds = seconds
        self._kept: OrderedDict[Hashable, _Kept[T]] = OrderedDict()
        self._running: dict[Hashable, asyncio.Task[T]] = {}

    def __len__(self) -> int:
        """Return how many answers are kept."""
        return len(self._kept)

    def configure(self, entries: int, seconds: float) -> None:
        """Change the limits; `seconds` is for answers to come."""
        self._entries = entries
        self._seconds = seconds
        self._evict()

    def knows(self, key: Hashable) -> bool:
        """Tell whether a call with this key would be a duplicate."""
        return key in self._running or self._fresh(key) is not None

    async def get(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        """Return the key's answer: kept, on its way, or made by `work`."""
        if (kept := self._fresh(key)) is not None:
            return kept.value
        task = self._running.get(key)
        if task is None:
            task = asyncio.create_task(self._run(key, work))
            self._running[key] = task
            # Nobody may be left to hear of its failure.
            task.add_done_callback(_heard)
        return await asyncio.shield(task)

    async def _run(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        try:
            value = await work()
        finally:
            del self._running[key]
        if not self._worth_keeping(value):
            return value
        self._kept[key] = _Kept(value, self._clock() + self._seconds)
        self._kept.move_to_end(key)
        self._evict()
        return value

    def _fresh(self, key: Hashable) -> _Kept[T] | None:
        kept = self._kept.get(key)
        if kept is not None and kept.until <= self._clock():
            del self._kept[key]
            return None
        return kept

    def _evict(self) -> None:
        # The oldest answers go first.
        while len(self._kept) > self._entries:
            self._kept.popitem(last=False)


def _heard(task: "asyncio.Task[T]") -> None:
    if not task.cancelled():
        task.exception()
