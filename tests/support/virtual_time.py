"""An event loop whose time passes as soon as nobody has anything to do."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
START_MS = 4_000_000_000_000


class _Selector(selectors.DefaultSelector):
    """Skips the time until the next timer."""

    now = 0.0

    def select(
        self, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        found: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if not found:
            assert timeout is not None, "nothing is left that could happen"
            self.now += timeout
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs hours of timers in moments."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Return the time that has passed, in seconds."""
        return self._virtual.now

    def block(self, seconds: float) -> None:
        """Let time pass without anybody being able to run."""
        self._virtual.now += seconds

    def clock(self) -> int:
        """Return the same as a clock does, in ms."""
        return START_MS + round(self.time() * 1000)


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, without waiting for its timers."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def virtual_clock() -> int:
    """Return the time of the running virtual loop, in ms."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop.clock()
