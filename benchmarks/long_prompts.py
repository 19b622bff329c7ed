"""The table of long prompts: what their length costs on the way."""

import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from benchmarks.service import (
    LATENCY_MS,
    Layout,
    Service,
    Used,
    simulated_service,
)

_CONCURRENCY = 400
# A request to `POST /jobs/batch` is about this long.
_BATCH_BYTES = 4_000_000
_WORDS = (
    "the quick brown fox naïve “quoted” jumps\nover lazy dogs while prices "
    "rise to 12,50 € and 世界 reads on\t"
)


@dataclass(frozen=True, slots=True)
class Length:
    """So many jobs with texts of so many kB."""

    kilobytes: int
    jobs: int


LENGTHS = (Length(1, 2000), Length(50, 1000), Length(400, 200))


@dataclass(frozen=True, slots=True)
class _Measured:
    submitted: float
    finished: float
    used: Used
    megabytes: float


def print_long_prompts(
    console: Console, lengths: Sequence[Length] = LENGTHS, rounds: int = 3
) -> None:
    """Measure and print; each length in turn."""
    table = Table(
        title=f"Long prompts, {_CONCURRENCY} at once, {LATENCY_MS} ms an "
        f"answer; median of {rounds}; CPU in ms a job"
    )
    for heading in ("kB", "jobs", "submitted/s", "finished/s", "MB/s"):
        table.add_column(heading, justify="right")
    for heading in ("API", "worker", "database", "MiB"):
        table.add_column(heading, justify="right")
    for length in lengths:
        measured = [_measure(length) for _ in range(rounds)]
        table.add_row(*_cells(length, measured))
    console.print(table)


def _measure(length: Length) -> _Measured:
    with simulated_service(LATENCY_MS, Layout.APART) as (service, provider):
        provider.script({"text": '{"label": "positive"}'})
        service.work(_CONCURRENCY)
        _through(service, length, 20)
        return _through(service, length, length.jobs)


def _through(service: Service, length: Length, jobs: int) -> _Measured:
    text = _text(length.kilobytes * 1000)
    run = str(time.time_ns())
    block = max(1, min(1000, _BATCH_BYTES // len(text.encode())))
    before, started = service.used(), time.perf_counter()
    for first in range(0, jobs, block):
        numbers = range(first, min(first + block, jobs))
        bodies = service.jobs(numbers, run)
        for body in bodies:
            body["requestData"] |= {"text": text}
        service.api.post("/jobs/batch", {"jobs": bodies})
    submitted = time.perf_counter() - started
    service.wait(jobs, run)
    finished = time.perf_counter() - started
    return _Measured(
        jobs / submitted,
        jobs / finished,
        service.used() - before,
        service.megabytes(),
    )


def _text(size: int) -> str:
    """Make a text of so many bytes, with all that JSON has to escape."""
    choices = _WORDS.split(" ")
    draw, words, length = random.Random(size), list[str](), 0
    while length < size:
        words.append(draw.choice(choices))
        length += len(words[-1].encode()) + 1
    return " ".join(words)


def _cells(length: Length, measured: Sequence[_Measured]) -> list[str]:
    def median(values: Sequence[float]) -> float:
        return statistics.median(values)

    def cpu(seconds: Sequence[float]) -> str:
        return f"{median(seconds) / length.jobs * 1000:.2f}"

    finished = median([each.finished for each in measured])
    return [
        f"{length.kilobytes:,}",
        f"{length.jobs:,}",
        f"{median([each.submitted for each in measured]):,.0f}",
        f"{finished:,.0f}",
        f"{finished * length.kilobytes / 1000:,.1f}",
        cpu([each.used.api for each in measured]),
        cpu([each.used.workers for each in measured]),
        cpu([each.used.database for each in measured]),
        f"{median([each.megabytes for each in measured]):,.0f}",
    ]
