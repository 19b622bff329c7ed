"""Jobs a second with one, two and three worker processes on one queue.

Twice: with few calls at once, where waiting for the provider is the limit
and each process adds its own; and with many, where the processor is. The
provider simulator answers every call after a second. On one machine the
database, the interface and the simulator use the same cores as the
workers.

    python -m benchmarks.scaling [--jobs 3000] [--processes 3]
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli import setup
from cli.private_instance import private_instance
from cli.rest_client import RestClient
from utilities.embedded_database import EmbeddedDatabase
from utilities.provider_simulator.running import Simulator, running_simulator
from utilities.provider_simulator.settings import SimulatorSettings

_LATENCY_MS = 1000
# How many calls each of a process's places makes, if there are enough jobs.
_ROUNDS = 15
_BLOCK = 1000
_START_SECONDS = 60.0
_ROOT = Path(__file__).resolve().parent.parent


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

    def __init__(
        self,
        api: RestClient,
        simulator: Simulator,
        variables: dict[str, str],
    ) -> None:
        self._api = api
        self._simulator = simulator
        self._variables = variables
        self._prompt = setup.ensure_prompt(api, "Answer as JSON.")
        body = {"workerId": "bench", "config": {}}
        self._worker = f"/workers/{api.post('/workers', body)['workerId']}"
        api.post(f"{self._worker}/start")

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
        with self._workers(processes) as pids:
            self._wait_for_threads(processes)
            self._submit(case, jobs)
            self._simulator.reset_stats()
            busy, started = _cpu_seconds(pids), time.monotonic()
            change = {"config": {"operationFilter": "bench"}}
            self._api.patch(self._worker, change)
            self._wait(case, jobs)
            seconds = time.monotonic() - started
            cpu = [
                after - before
                for after, before in zip(_cpu_seconds(pids), busy, strict=True)
            ]
        shares = [round(100 * each / max(sum(cpu), 0.01)) for each in cpu]
        return Outcome(
            processes, concurrency, jobs / seconds, sum(cpu) / seconds, shares
        )

    def _submit(self, case: str, jobs: int) -> None:
        job = {
            "operation": "bench",
            "workingPrompts": [self._prompt],
            "model": "bench",
            "clientReference": {"case": case},
        }
        for first in range(0, jobs, _BLOCK):
            numbers = range(first, min(first + _BLOCK, jobs))
            items = [{**job, "requestData": {"n": n}} for n in numbers]
            self._api.post("/jobs/batch", {"jobs": items})

    def _wait(self, case: str, jobs: int) -> None:
        # Counting jobs costs the database time that they need.
        while self._simulator.stats()["requests"] < jobs:
            time.sleep(0.1)
        while True:
            counts = self._api.get(
                "/jobs/summary", **{"clientReference.case": case}
            )
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
    def _workers(self, count: int) -> Iterator[list[int]]:
        with tempfile.TemporaryDirectory() as directory:
            started = [
                self._start(Path(directory) / str(number))
                for number in range(count)
            ]
            try:
                yield [process.pid for process in started]
            finally:
                for process in started:
                    process.terminate()
                for process in started:
                    process.wait(60)

    def _start(self, directory: Path) -> subprocess.Popen[bytes]:
        directory.mkdir()
        with (directory / "log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "cli", "worker"],
                cwd=directory,
                env={
                    **os.environ,
                    **self._variables,
                    "PYTHONPATH": str(_ROOT),
                    "DATA_DIR": str(directory),
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )


def _cpu_seconds(pids: Sequence[int]) -> list[float]:
    """Read what processes have used; zeros where there is no /proc."""
    ticks = os.sysconf("SC_CLK_TCK")
    used = []
    for pid in pids:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
        except FileNotFoundError:
            used.append(0.0)
            continue
        fields = stat.rpartition(")")[2].split()
        used.append((int(fields[11]) + int(fields[12])) / ticks)
    return used


def main(
    jobs: Annotated[int, typer.Option(min=1)] = 3000,
    processes: Annotated[int, typer.Option(min=1)] = 3,
    few: Annotated[int, typer.Option(min=1)] = 20,
    many: Annotated[int, typer.Option(min=1)] = 300,
) -> None:
    """Measure and print a table."""
    settings = SimulatorSettings(latency_ms=_LATENCY_MS)
    with (
        tempfile.TemporaryDirectory() as directory,
        EmbeddedDatabase(Path(directory) / "database") as database,
        running_simulator(settings, process=True) as simulator,
    ):
        variables = {
            "DB_CONNECTION_STRING": database.connection_string,
            "DB_NAME": "metasync",
            "BENCH_KEY": "x",
            "LOG_FORMAT": "json",
            # They must be set; a worker asks for none of them.
            **dict.fromkeys(
                ("ADMIN_API_KEY", "API_KEY_PEPPER", "DOCS_SECRET"), "unused"
            ),
        }
        only_api = {
            name: variables[name]
            for name in ("DB_CONNECTION_STRING", "DB_NAME", "BENCH_KEY")
        }
        with private_instance(
            Path(directory) / "api", {**only_api, "NUM_LLM_WORKERS": "0"}
        ) as (admin, api):
            options = setup.ModelOptions(
                "bench",
                endpoint=simulator.base_urls["OpenAI"],
                key_variable="BENCH_KEY",
            )
            setup.ensure_model(admin, options)
            bench = Bench(api, simulator, variables)
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
