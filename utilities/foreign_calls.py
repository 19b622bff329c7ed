"""Calls of other people's code, in threads that nobody waits for in vain.

A thread cannot be ended. So one that does not come back is left alone: it
does not keep the process from ending, and after some of them, nothing more
is called until one has come back.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
SECONDS, MOST_LEFT = 20.0, 4


class NoAnswerError(Exception):
    """The call has not come back in time, or was not made; says which."""


class ForeignCalls:
    """Makes calls, each in a thread of its own; for any event loop."""

    def __init__(
        self, seconds: float = SECONDS, most_left: int = MOST_LEFT
    ) -> None:
        self._seconds = seconds
        self._most_left = most_left
        self._guard = threading.Lock()
        self._left = 0

    async def run(self, function: Callable[[], T]) -> T:
        """Call a function.

        Raises:
            NoAnswerError: it has not come back in time, or too many calls
                have not.
            Exception: what the function raises; `RuntimeError` for what
                would end a process or a generator.
        """
        with self._guard:
            if self._left >= self._most_left:
                raise NoAnswerError("it is not called: it does not come back")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        call = _Call(function, future, loop)
        threading.Thread(target=call.make, daemon=True).start()
        done, _ = await asyncio.wait([future], timeout=self._seconds)
        if done:
            return future.result()
        self._leave(call)
        raise NoAnswerError(f"not done within {self._seconds:g} seconds")

    def _leave(self, call: "_Call") -> None:
        with self._guard:
            self._left += 1

        def returned() -> None:
            with self._guard:
                self._left -= 1

        call.leave(returned)


class _Call:
    """A call that its thread makes, and says so where that is wanted."""

    def __init__(
        self,
        function: Callable[[], Any],
        future: asyncio.Future[Any],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._function = function
        self._future = future
        self._loop = loop
        self._guard = threading.Lock()
        self._has_ended = False
        self._then: Callable[[], None] | None = None

    def make(self) -> None:
        """Call the function, in the thread that this is called in."""
        value: Any = None
        error: Exception | None = None
        try:
            value = self._function()
        except BaseException as raised:  # noqa: BLE001 - handed on
            error = _as_error(raised)
        with contextlib.suppress(RuntimeError):  # The loop has ended.
            self._loop.call_soon_threadsafe(self._hand_on, value, error)
        with self._guard:
            self._has_ended = True
            then = self._then
        if then is not None:
            then()

    def leave(self, then: Callable[[], None]) -> None:
        """Have a function called once the call has ended."""
        with self._guard:
            if not self._has_ended:
                self._then = then
                return
        then()

    def _hand_on(self, value: object, error: Exception | None) -> None:
        if self._future.done():
            return
        if error is not None:
            self._future.set_exception(error)
        else:
            self._future.set_result(value)


def _as_error(raised: BaseException) -> Exception:
    # A future takes no StopIteration, and others would end the event loop.
    if isinstance(raised, Exception) and not isinstance(raised, StopIteration):
        return raised
    return RuntimeError(type(raised).__name__)
