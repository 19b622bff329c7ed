"""The first table: jobs a second of client libraries and of Metasync."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.service import LATENCY_MS, Layout, Service, running_service
from provider_simulator.running import running_simulator
from provider_simulator.settings import SimulatorSettings

_ROOT = Path(__file__).resolve().parent.parent
_LITELLM = _ROOT / ".venv" / "litellm" / "bin" / "python"
# What Metasync is held against.
_BASE = "openai-aiohttp"


@dataclass(frozen=True, slots=True)
class Load:
    """How much is asked, and of a loop for how long at most."""

    jobs: int
    rounds: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Measured:
    """One round: CPU in seconds, memory in MiB."""

    jobs: int
    seconds: float
    megabytes: float
    failed: int = 0
    client_cpu: float = 0.0
    api_cpu: float = 0.0
    worker_cpu: float = 0.0
    database_cpu: float = 0.0

    @property
    def rate(self) -> float:
        """Jobs a second."""
        return self.jobs / self.seconds


Measure = Callable[[], Measured]
Row = tuple[str, str, Measure]


def print_throughput(
    console: Console, load: Load, concurrencies: Sequence[int]
) -> None:
    """Measure and print; every row of a concurrency in turn."""
    for concurrency in concurrencies:
        settings = SimulatorSettings(latency_ms=LATENCY_MS)
        with running_simulator(settings, process=True) as simulator:
            url = simulator.base_urls["OpenAI"]
            rows = _rows(url, load, concurrency)
            results: dict[str, list[Measured]] = {row[0]: [] for row in rows}
            for _ in range(load.rounds):
                for key, _, measure in rows:
                    results[key].append(measure())
        console.print(_table(rows, results, load, concurrency))


def _rows(url: str, load: Load, concurrency: int) -> list[Row]:
    def loop(name: str, python: Path) -> Measure:
        return lambda: _loop(name, python, url, load, concurrency)

    def metasync(layout: Layout, *, limited: bool = False) -> Measure:
        return lambda: _metasync(
            url, load, concurrency, layout, limited=limited
        )

    own = Path(sys.executable)
    rows: list[Row] = [
        ("openai", "openai, own transport", loop("openai", own)),
        (_BASE, "openai on aiohttp", loop(_BASE, own)),
        ("litellm", "litellm.acompletion", loop("litellm", _LITELLM)),
        ("aiohttp", "bare aiohttp", loop("aiohttp", own)),
        ("whole", "Metasync, one process", metasync(Layout.WITH_API)),
        ("apart", "Metasync, worker apart", metasync(Layout.APART)),
        (
            "limited",
            "  with limits and budgets",
            metasync(Layout.APART, limited=True),
        ),
    ]
    missing = set() if _LITELLM.exists() else {"litellm"}
    return [row for row in rows if row[0] not in missing]


def _loop(
    name: str, python: Path, url: str, load: Load, concurrency: int
) -> Measured:
    numbers = [str(each) for each in (load.jobs, concurrency, load.seconds)]
    answer = subprocess.run(
        [str(python), "-m", "benchmarks.bare_clients", name, url, *numbers],
        cwd=_ROOT,
        # litellm asks the network for its prices, unless told not to.
        env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        stdout=subprocess.PIPE,
        check=True,
    )
    return Measured(**json.loads(answer.stdout.splitlines()[-1]))


def _metasync(
    url: str, load: Load, concurrency: int, layout: Layout, *, limited: bool
) -> Measured:
    with (
        tempfile.TemporaryDirectory() as directory,
        running_service(
            Path(directory), url, layout, limited=limited
        ) as service,
    ):
        service.work(concurrency)
        _through(service, 20)  # imports, threads
        return _through(service, load.jobs)


def _through(service: Service, jobs: int) -> Measured:
    before, started = service.used(), time.perf_counter()
    run = str(time.time_ns())
    service.submit(jobs, run)
    service.read_back(jobs, run)
    seconds = time.perf_counter() - started
    used = service.used() - before
    return Measured(
        jobs,
        seconds,
        service.megabytes(),
        api_cpu=used.api,
        worker_cpu=used.workers,
        database_cpu=used.database,
    )


def _table(
    rows: Sequence[Row],
    results: dict[str, list[Measured]],
    load: Load,
    concurrency: int,
) -> Table:
    table = Table(
        title=f"{load.jobs:,} jobs, {concurrency:,} at once, {LATENCY_MS} ms "
        f"an answer; median of {load.rounds}; CPU in ms a job"
    )
    for heading in ("", "jobs/s", "ratio", "client or worker", "API"):
        table.add_column(heading, justify="right" if heading else "left")
    for heading in ("database", "MiB", "failed"):
        table.add_column(heading, justify="right")
    base = _median(results[_BASE], lambda each: each.rate)
    for key, name, _ in rows:
        table.add_row(name, *_cells(results[key], base))
    return table


def _cells(rounds: Sequence[Measured], base: float) -> list[str]:
    def cpu(seconds: Callable[[Measured], float]) -> str:
        used = _median(rounds, lambda each: seconds(each) / each.jobs)
        return f"{used * 1000:.2f}" if used else ""

    rate = _median(rounds, lambda each: each.rate)
    return [
        f"{rate:,.0f}",
        f"{rate / base:.2f}",
        cpu(lambda each: each.client_cpu + each.worker_cpu),
        cpu(lambda each: each.api_cpu),
        cpu(lambda each: each.database_cpu),
        f"{_median(rounds, lambda each: each.megabytes):,.0f}",
        f"{_median(rounds, lambda each: each.failed):,.0f}",
    ]


def _median(
    rounds: Sequence[Measured], value: Callable[[Measured], float]
) -> float:
    return statistics.median(value(each) for each in rounds)
