"""Metasync as it is run, and what its parts use.

The database, the API and the workers are told apart: by process, or,
where API and workers share one, by thread.
"""

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import psutil

from benchmarks.bare_clients import MODEL, SYSTEM
from cli import setup
from cli.private_instance import private_instance
from cli.rest_client import RestClient
from provider_simulator.running import Simulator, running_simulator
from provider_simulator.settings import SimulatorSettings
from utilities.embedded.database import EmbeddedDatabase

# The provider takes so long for an answer.
LATENCY_MS = 200
_BLOCK = 1000
# As often as somebody who waits would ask, and a part of the time at most:
# every answer costs the database a look at all jobs.
_POLL_SECONDS = 0.25
_POLL_PART = 5
_LONGEST_POLL_SECONDS = 0.5
_KEY = "BENCH_KEY"
# Limits and a budget that are never reached.
LIMITED: dict[str, Any] = {
    "limits": {
        "requestsPerMinute": 1_000_000,
        "tokensPerMinute": 1_000_000_000,
        "maxConcurrency": 10_000,
    },
    "budget": {"amount": 1_000_000, "currency": "USD", "period": "day"},
}


class Layout(Enum):
    """Where the workers are."""

    WITH_API = "in the API's process"
    APART = "in a process of their own"
    NOWHERE = "jobs wait"


@dataclass(frozen=True, slots=True)
class Used:
    """CPU seconds of each part so far."""

    api: float
    workers: float
    database: float

    def __sub__(self, other: "Used") -> "Used":
        return Used(
            self.api - other.api,
            self.workers - other.workers,
            self.database - other.database,
        )


@dataclass(frozen=True)
class Service:
    """A running Metasync with a model, a prompt and a client."""

    api: RestClient
    admin: RestClient
    prompt: str
    database_url: str
    directory: Path
    _api: psutil.Process
    _workers: psutil.Process
    _database: psutil.Process

    def jobs(self, numbers: range, run: str) -> list[dict[str, Any]]:
        """Make requests for jobs, which `run` finds again."""
        return [
            {
                "operation": "bench",
                "workingPrompts": [self.prompt],
                "model": MODEL,
                "clientReference": {"run": run},
                "requestData": {"n": number},
            }
            for number in numbers
        ]

    def submit(self, count: int, run: str, block: int = _BLOCK) -> float:
        """Submit a number of jobs in batches; return the seconds it took."""
        started = time.perf_counter()
        for first in range(0, count, block):
            numbers = range(first, min(first + block, count))
            self.api.post("/jobs/batch", {"jobs": self.jobs(numbers, run)})
        return time.perf_counter() - started

    def wait(self, count: int, run: str) -> None:
        """Wait until so many jobs of a run have their answers."""
        started = time.perf_counter()
        while (counts := self.counts(run))["PROCESSED"] < count:
            if failed := counts["ERROR_PROCESSING"]:
                raise RuntimeError(f"{failed} of {count} jobs failed")
            took = time.perf_counter() - started
            pause = min(took * (_POLL_PART - 1), _LONGEST_POLL_SECONDS)
            time.sleep(max(_POLL_SECONDS, pause))
            started = time.perf_counter()

    def read_back(self, count: int, run: str) -> None:
        """Read every answer of a run, once all have come."""
        query: dict[str, Any] = {
            "clientReference.run": run,
            "status": "PROCESSED",
        }
        self.wait(count, run)
        read = list(self.api.pages("/jobs", limit=2000, **query))
        if len(read) != count or not all(job["responseData"] for job in read):
            raise RuntimeError(f"{len(read)} of {count} answers came back")

    def counts(self, run: str) -> dict[str, Any]:
        """Count the jobs of a run by status."""
        reference = {"clientReference.run": run}
        return dict(self.api.get("/jobs/summary", **reference))

    def work(self, concurrency: int) -> None:
        """Have one worker running with this concurrency."""
        setup.ensure_worker(self.api, concurrency)

    def used(self) -> Used:
        """Read the processor's time."""
        if self._api == self._workers and self._api.children():
            # Several processes, each with both.
            return Used(cpu_of(self._api), 0.0, cpu_of(self._database))
        if self._api != self._workers:
            return Used(
                cpu_of(self._api),
                cpu_of(self._workers),
                cpu_of(self._database),
            )
        # The API has the main thread; the workers have their own.
        threads = {
            each.id: each.user_time + each.system_time
            for each in self._api.threads()
        }
        api = threads.pop(self._api.pid, 0.0)
        return Used(api, sum(threads.values()), cpu_of(self._database))

    def megabytes(self) -> float:
        """Read the memory of all processes."""
        processes = {self._api, self._workers, self._database}
        return sum(memory_of(each) for each in processes)


@contextlib.contextmanager
def simulated_service(
    latency_ms: float,
    layout: Layout = Layout.WITH_API,
    *,
    threads: int = 1,
) -> Iterator[tuple[Service, Simulator]]:
    """Run a service and, in a process of its own, a provider for it."""
    settings = SimulatorSettings(latency_ms=latency_ms)
    with (
        running_simulator(settings, process=True) as simulator,
        tempfile.TemporaryDirectory() as directory,
        running_service(
            Path(directory),
            simulator.base_urls["OpenAI"],
            layout,
            threads=threads,
        ) as service,
    ):
        yield service, simulator


@contextlib.contextmanager
def running_service(
    directory: Path,
    provider_url: str,
    layout: Layout = Layout.WITH_API,
    *,
    limited: bool = False,
    threads: int = 1,
    processes: int = 1,
) -> Iterator[Service]:
    """Run a private instance of which every part can be measured.

    `limited`: every call passes limits and budgets that it never reaches.
    `threads`: of workers in the API's process, if they are there.
    `processes`: of the API.
    """
    variables = {
        _KEY: "x",
        "MODEL_KEY_PREFIXES": _KEY,
        "LOG_LEVEL": "WARNING",
    }
    with_api = layout is Layout.WITH_API
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(_database(directory))
        variables["DB_CONNECTION_STRING"] = database
        workers = str(threads if with_api else 0)
        server = variables | {
            "NUM_LLM_WORKERS": workers,
            "WEB_CONCURRENCY": str(processes),
        }
        admin, api = stack.enter_context(private_instance(directory, server))
        options = setup.ModelOptions(
            MODEL, endpoint=provider_url, key_variable=_KEY
        )
        setup.ensure_model(admin, options)
        if limited:
            _limit(admin)
        prompt = setup.ensure_prompt(api, SYSTEM)
        if layout is Layout.APART:
            stack.enter_context(worker_process(directory, database))
        yield Service(
            api,
            admin,
            prompt,
            database,
            directory,
            _child("serve"),
            _child("worker" if layout is Layout.APART else "serve"),
            _child("utilities.embedded.server"),
        )


def _limit(admin: RestClient) -> None:
    cost = {"tokens": 1_000_000, "currency": "USD", "input": 1, "output": 2}
    for model in admin.pages("/models"):
        admin.patch(f"/models/{model['model_id']}", {**LIMITED, "cost": cost})
    for client in admin.pages("/clients"):
        admin.patch(f"/clients/{client['clientId']}", LIMITED)


@contextlib.contextmanager
def worker_process(
    directory: Path, database_url: str, data_dir: Path | None = None
) -> Iterator[psutil.Process]:
    """Run `metasync worker` for the instance in this directory.

    Each of several needs a `data_dir` of its own.
    """
    variables = {
        _KEY: "x",
        "MODEL_KEY_PREFIXES": _KEY,
        "LOG_LEVEL": "WARNING",
        "PYTHONPATH": str(Path(__file__).resolve().parent.parent),
        "DB_CONNECTION_STRING": database_url,
        "DB_NAME": "metasync",
        "DATA_DIR": str(data_dir or directory),
    }
    process = psutil.Popen(
        [sys.executable, "-m", "cli", "worker"],
        cwd=directory,
        env={**os.environ, **variables},
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def _database(directory: Path) -> Iterator[str]:
    # Beside the instance's own directory, which it locks for itself.
    with EmbeddedDatabase(directory / "database") as database:
        yield database.connection_string


def _child(word: str) -> psutil.Process:
    """Find the child of ours that has this word on its command line."""
    for process in psutil.Process().children():
        if word in process.cmdline():
            return process
    raise LookupError(word)


def cpu_of(process: psutil.Process) -> float:
    """Read what a process and its children have used, in seconds."""
    family = [process, *process.children(recursive=True)]
    times = [each.cpu_times() for each in family]
    return float(sum(each.user + each.system for each in times))


def memory_of(process: psutil.Process) -> float:
    """Read a process's memory, in MiB."""
    return float(process.memory_info().rss) / 2**20
