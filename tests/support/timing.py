"""Bounds on time that hold on slow and on busy machines.

A bound is written for the machine that it was measured on. It is scaled by
how much longer a fixed piece of work takes here and now, and a measurement
that exceeds it is repeated: what is too slow is too slow every time.
"""

import json
import time
from collections.abc import Callable

TRIES = 4
# Of `_reference_work`, where the bounds were chosen and nothing else ran.
_REFERENCE_SECONDS = 0.003
# Work on less than this is all noise.
_LEAST_SECONDS = 0.001


def processor_seconds(work: Callable[[], object]) -> float:
    """Measure how long this thread computes."""
    started = time.thread_time()
    work()
    return time.thread_time() - started


def elapsed_seconds(work: Callable[[], object]) -> float:
    """Measure how long it takes, with all that it waits for."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def slowness() -> float:
    """Tell how many times longer work takes than where bounds were chosen."""
    best = min(processor_seconds(_reference_work) for _ in range(5))
    return max(best / _REFERENCE_SECONDS, 1.0)


def is_within(bound: float, measure: Callable[[], float]) -> bool:
    """Tell whether one of some measurements is within `bound` seconds."""
    return any(measure() < bound * slowness() for _ in range(TRIES))


def is_linear(
    measure: Callable[[int], float], small: int, large: int, most: float
) -> bool:
    """Tell whether `large` takes less than `most` times as long as `small`."""

    def growth() -> float:
        least = min(measure(small) for _ in range(3))
        return measure(large) / max(least, _LEAST_SECONDS)

    return any(growth() < most for _ in range(TRIES))


def _reference_work() -> None:
    """Do what our code does: calls, small objects, dicts and JSON."""
    value = {"a": list(range(20)), "b": {"c": "x" * 100}}
    for _ in range(300):
        text = json.dumps(value)
        [str(n) for n in json.loads(text)["a"]]
