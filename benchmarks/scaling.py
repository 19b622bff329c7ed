"""Jobs a second with one, two and three worker processes on one queue.

Twice: with few calls at once, where waiting for the provider is the limit
and each process adds its own; and with many, where the processor is. The
provider simulator answers every call after a second. On one machine the
database, the interface and the simulator use the same cores as the
workers.

    python -m benchmarks.scaling [--jobs 13500] [--processes 3]
"""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import psutil
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.service import (
    Layout,
    Service,
    cpu_of,
    simulated_service,
    worker_process,
)
from provider_simulator.running import Simulator

_LATENCY_MS = 1000
# How many calls each of a process's places makes, if there are enough jobs.
_ROUNDS = 15
_START_SECONDS = 60.0


@dataclass(frozen=True)
class Outcome:
    """How one case went; of the processor, the worker processes' share."""

    processes: int
    concurrency: int
    rate: float
    cores: float
    shares: Sequence[int]


class Bench:
    """A queue whose interface runs no workers, and a worker to spread."""

    def __init__(self, service: Service, simulator: Simulator) -> None:
        self._service = service
        self._api = service.api
        self._simulator = simulator
        body = {"workerId": "bench", "config": {}}
        created = self._api.post("/workers", body)["workerId"]
        self._worker = f"/workers/{created}"
        self._api.post(f"{self._worker}/start")

    def run(self, processes: int, concurrency: int, jobs: int) -> Outcome:
        """Measure from the start of the work to the last answer."""
        config = {
            "replicas": processes,
            "maxConcurrency": concurrency,
            "maxItemsPerBatch": min(concurrency, 1000),
            # Nothing until all are there.
            "operationFilter": "none",
        }
        self._api.patch(self._worker, {"config": config})
        case = f"{processes}-{concurrency}"
        with self._workers(processes) as workers:
            self._wait_for_threads(processes)
            self._service.submit(jobs, case)
            self._simulator.reset_stats()
            busy, started = (
                [cpu_of(each) for each in workers],
                time.monotonic(),
            )
            change = {"config": {"operationFilter": "bench"}}
            self._api.patch(self._worker, change)
            self._wait(case, jobs)
            seconds = time.monotonic() - started
            cpu = [
                cpu_of(worker) - before
                for worker, before in zip(workers, busy, strict=True)
            ]
        shares = [round(100 * each / max(sum(cpu), 0.01)) for each in cpu]
        return Outcome(
            processes, concurrency, jobs / seconds, sum(cpu) / seconds, shares
        )

    def _wait(self, case: str, jobs: int) -> None:
        # Counting jobs costs the database time that they need.
        while self._simulator.stats()["requests"] < jobs:
            time.sleep(0.1)
        while True:
            counts = self._service.counts(case)
            if counts["PROCESSED"] + counts["ERROR_PROCESSING"] == jobs:
                return
            time.sleep(0.2)

    def _wait_for_threads(self, processes: int) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            info = self._api.get(self._worker)["threadInfo"] or {}
            pools = {thread["pool"] for thread in info.get("threads", ())}
            if len(pools) == processes:
                return
            time.sleep(0.2)
        raise TimeoutError("the workers were not spread in time")

    @contextlib.contextmanager
    def _workers(self, count: int) -> Iterator[list[psutil.Process]]:
        service = self._service
        with contextlib.ExitStack() as stack:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            yield [
                stack.enter_context(
                    worker_process(
                        service.directory,
                        service.database_url,
                        scratch / str(number),
                    )
                )
                for number in range(count)
            ]


def main(
    jobs: Annotated[int, typer.Option(min=1)] = 13_500,
    processes: Annotated[int, typer.Option(min=1)] = 3,
    few: Annotated[int, typer.Option(min=1)] = 20,
    many: Annotated[int, typer.Option(min=1)] = 300,
) -> None:
    """Measure and print a table."""
    with simulated_service(_LATENCY_MS, Layout.NOWHERE) as (
        service,
        simulator,
    ):
        bench = Bench(service, simulator)
        outcomes = [
            bench.run(number, calls, min(jobs, number * calls * _ROUNDS))
            for calls in (few, many)
            for number in range(1, processes + 1)
        ]
    _print(outcomes)


def _print(outcomes: Sequence[Outcome]) -> None:
    table = Table(
        title=f"One queue, {_LATENCY_MS} ms a call, {os.cpu_count()} cores"
    )
    for heading in (
        "processes",
        "calls at once in each",
        "jobs/s",
        "of one process",
        "of the ideal",
        "cores used by workers",
        "shares, %",
    ):
        table.add_column(heading, justify="right")
    base: dict[int, float] = {}
    for each in outcomes:
        one = base.setdefault(each.concurrency, each.rate)
        ideal = each.processes * each.concurrency / _LATENCY_MS * 1000
        table.add_row(
            str(each.processes),
            str(each.concurrency),
            f"{each.rate:,.0f}",
            f"{each.rate / one:.2f}",
            f"{each.rate / ideal:.2f}",
            f"{each.cores:.2f}",
            " ".join(map(str, each.shares)),
        )
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
