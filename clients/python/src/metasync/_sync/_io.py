"""What waits, in a program without an event loop."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import ParamSpec, TypeVar

import httpx2

HAS_LOOP = False
HttpClient = httpx2.Client
Lock = threading.Lock
P = ParamSpec("P")
T = TypeVar("T")


def sleep(seconds: float) -> None:
    """Wait for this time."""
    time.sleep(seconds)


def in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run what blocks."""
    return call(*args, **kwargs)


def each(rows: Iterable[T]) -> Iterator[T]:
    """Go through rows."""
    return iter(rows)
