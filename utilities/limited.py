"""Calls with a limit of time and memory, in processes that can be ended.

For work on other people's data whose cost cannot be known beforehand. A
thread cannot be ended, and holds the interpreter; a process can, and takes
nobody with it. The processes start when they are first needed, and end
with this one.
"""

import asyncio
import atexit
import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any, cast

from pydantic_core import from_json, to_json

from utilities.limited_child import receive, send
from utilities.server_process import child_environment

SECONDS = 2.0
_PROCESSES = 2
_MEMORY_BYTES = 1 << 29
_START_SECONDS = 60.0
# Calls wait for each other up to this long.
_QUEUE_SECONDS = 20.0


class LimitExceededError(Exception):
    """The call took too long or too much memory, and was ended."""


class CallFailedError(ValueError):
    """The function raised a `ValueError`; `kind` is its class's name."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class LimitedCalls:
    """Runs named functions in a few processes; safe from any thread.

    A function is named `package.module:function`; its arguments and its
    value are JSON. `preload` names modules that it needs.
    """

    def __init__(
        self,
        preload: Sequence[str] = (),
        *,
        seconds: float = SECONDS,
        memory_bytes: int = _MEMORY_BYTES,
        processes: int = _PROCESSES,
    ) -> None:
        self._command = [
            sys.executable,
            "-P",
            "-m",
            "utilities.limited_child",
            str(memory_bytes),
            *preload,
        ]
        self._seconds = seconds
        # Each of its threads has a process of its own.
        self._executor = ThreadPoolExecutor(processes, "limited")
        self._own = threading.local()
        self._children: set[subprocess.Popen[bytes]] = set()
        atexit.register(self.close)

    async def run(self, function: str, *arguments: object) -> Any:  # noqa: ANN401 - JSON
        """Call a function.

        It is not left before it ends, even if the task is cancelled: the
        limit comes soon, and what is read may have been paid for.

        Raises:
            LimitExceededError: it was ended, or was not begun in time.
            CallFailedError: it raised a `ValueError`.
        """
        call = to_json({"function": function, "arguments": arguments})
        future = asyncio.get_running_loop().run_in_executor(
            self._executor, self._call, call
        )
        await _end_of(future, _QUEUE_SECONDS)
        if not future.done():
            future.cancel()
            raise LimitExceededError("too much work of this kind is waiting")
        return _value(future.result())

    def close(self) -> None:
        """End the processes."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        for child in list(self._children):
            self._end(child)

    def _call(self, call: bytes) -> bytes | None:
        """Make a call in this thread's process; None if it was ended."""
        child = self._child()
        with _deadline(child, self._seconds):
            reply = _exchange(child, call)
        if reply is None:
            self._own.child = None
            self._end(child)
        return reply

    def _child(self) -> subprocess.Popen[bytes]:
        known = cast(
            "subprocess.Popen[bytes] | None",
            getattr(self._own, "child", None),
        )
        if known is not None and known.poll() is None:
            return known
        child = subprocess.Popen(  # noqa: S603 - our own module
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # A process that ran out of memory says so at length.
            stderr=subprocess.DEVNULL,
            env=child_environment(),
            process_group=0,
        )
        self._children.add(child)
        with _deadline(child, _START_SECONDS):
            receive(cast("IO[bytes]", child.stdout))
        self._own.child = child
        return child

    def _end(self, child: subprocess.Popen[bytes]) -> None:
        self._children.discard(child)
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            with contextlib.suppress(OSError):
                cast("IO[bytes]", pipe).close()


def _exchange(child: subprocess.Popen[bytes], call: bytes) -> bytes | None:
    try:
        send(cast("IO[bytes]", child.stdin), call)
        return receive(cast("IO[bytes]", child.stdout))
    except OSError:
        return None


@contextlib.contextmanager
def _deadline(
    child: subprocess.Popen[bytes], seconds: float
) -> Iterator[None]:
    """Kill a process after some time: reading from it then ends."""
    timer = threading.Timer(seconds, child.kill)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


async def _end_of(future: asyncio.Future[Any], seconds: float) -> None:
    clock = asyncio.get_running_loop().time
    deadline = clock() + seconds
    while not future.done() and (left := deadline - clock()) > 0:
        # See `run`: a cancelled task is left when this has ended.
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({future}, timeout=left)


def _value(reply: bytes | None) -> Any:  # noqa: ANN401 - JSON
    if reply is None:
        raise LimitExceededError("took too much time or memory")
    answer = from_json(reply)
    if "error" in answer:
        raise CallFailedError(answer["error"], answer["message"])
    return answer["value"]
