"""Measure Metasync on this machine: `make bench`, `make bench-full`.

    python -m benchmarks --only throughput --concurrency 400

`docs/performance.md` says how to read the tables.
"""

from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.latency import print_latency
from benchmarks.long_prompts import print_long_prompts
from benchmarks.queue_depth import print_queue
from benchmarks.throughput import Load, print_throughput

_WIDTH = 110


class Part(StrEnum):
    """What can be measured by itself."""

    THROUGHPUT = "throughput"
    QUEUE = "queue"
    LATENCY = "latency"
    LENGTH = "length"


def main(
    jobs: Annotated[
        int, typer.Option(min=1, envvar="BENCH_JOBS", help="Jobs a row.")
    ] = 2000,
    concurrency: Annotated[
        list[int], typer.Option(envvar="BENCH_CONCURRENCY")
    ] = [100, 400, 1000],  # noqa: B006 - typer copies it
    depth: Annotated[
        list[int],
        typer.Option(envvar="BENCH_DEPTH", help="Jobs that wait."),
    ] = [1000, 10_000, 50_000],  # noqa: B006 - as above
    rounds: Annotated[int, typer.Option(min=1, envvar="BENCH_ROUNDS")] = 1,
    repetitions: Annotated[
        int, typer.Option(min=5, help="Of what takes milliseconds.")
    ] = 20,
    seconds: Annotated[
        float,
        typer.Option(help="A client's loop starts no more calls after this."),
    ] = 5.0,
    only: Annotated[list[Part], typer.Option()] = list(Part),  # noqa: B006 - as above
) -> None:
    """Measure and print tables."""
    console = Console(width=_WIDTH)
    if Part.THROUGHPUT in only:
        print_throughput(console, Load(jobs, rounds, seconds), concurrency)
    if Part.QUEUE in only:
        print_queue(console, depth, repetitions)
    if Part.LATENCY in only:
        print_latency(console, repetitions * 5)
    if Part.LENGTH in only:
        print_long_prompts(console, rounds=rounds)


if __name__ == "__main__":
    typer.run(main)
