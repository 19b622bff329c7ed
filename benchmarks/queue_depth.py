"""The second table: what the queue costs, however many jobs wait in it."""

import asyncio
import contextlib
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from rich.console import Console
from rich.table import Table

from api.models.metrics import Metrics
from api.models.worker_models import WorkerConfig
from api.services.queue.job_outcomes import Result
from api.services.queue.job_queue import JobQueue
from api.services.queue.job_work import Claimant, ClaimedJob, Succeeded
from benchmarks.bare_clients import MODEL, SYSTEM
from benchmarks.service import (
    LATENCY_MS,
    Layout,
    Service,
    memory_of,
    simulated_service,
    worker_process,
)
from cli.batch_run import BatchRun
from cli.input_file import Question, read_items
from cli.results_file import ResultsFile
from cli.tally import Tally
from utilities.cosmos_connector import ClientManager, Documents

_BLOCK = 200
_PAGE = 100
_CONCURRENCY = 400
# Of a worker, before its memory is read.
_WORKED_ON = 800
_LINES = 5000
_HEADINGS = (
    "waiting",
    "submitted/s",
    f"claim {_BLOCK}, ms",
    f"finish {_BLOCK}, ms",
    "summary, ms",
    f"list {_PAGE}, ms",
    "worker, MiB",
)
T = TypeVar("T")


def print_queue(
    console: Console, depths: Sequence[int], repetitions: int
) -> None:
    """Measure and print, with an ever deeper queue."""
    table = Table(title=f"By jobs that wait; medians of {repetitions}")
    for heading in _HEADINGS:
        table.add_column(heading, justify="right")
    with simulated_service(LATENCY_MS, Layout.NOWHERE) as (service, _):
        waiting = 0
        for depth in sorted(depths):
            rate = (depth - waiting) / service.submit(depth - waiting, "deep")
            cells = _at_depth(service, repetitions)
            memory = _worker_memory(service)
            waiting = service.counts("deep")["PENDING"]
            table.add_row(f"{depth:,}", f"{rate:,.0f}", *cells, memory)
        console.print(table)
        console.print(
            f"`metasync run` submits {_rate_of_run(service):,.0f} jobs/s"
        )


def _at_depth(service: Service, repetitions: int) -> list[str]:
    claim, finish = asyncio.run(_claim_and_finish(service, repetitions))
    api = service.api
    summary = _timed(lambda: api.get("/jobs/summary"), repetitions)
    page = _timed(lambda: api.get("/jobs", limit=_PAGE), repetitions)
    return [f"{ms:,.1f}" for ms in (claim, finish, summary, page)]


async def _claim_and_finish(
    service: Service, repetitions: int
) -> tuple[float, float]:
    clients = ClientManager(service.database_url, "metasync")
    queue = JobQueue(
        Documents(clients, "jobs"), lease_seconds=600, max_attempts=5
    )
    config = WorkerConfig(poll_interval=10, max_items_per_batch=_BLOCK)
    client_id = service.api.get("/jobs", limit=1)[0]["clientId"]
    claims, finishes = [], []
    # The first pays for the connection.
    for _ in range(repetitions + 1):
        service.submit(_BLOCK, "deep")
        jobs, taken = await _clocked(
            queue.claim(client_id, config, Claimant("bench", "bench"), _BLOCK)
        )
        claims.append(taken)
        results = [Result(job, _answer(job)) for job in jobs]
        finishes.append((await _clocked(queue.store(results)))[1])
    await clients.close()
    return statistics.median(claims[1:]), statistics.median(finishes[1:])


def _answer(job: ClaimedJob) -> Succeeded:
    return Succeeded(job.request_json, Metrics(10, 4, 0.2))


async def _clocked(work: Awaitable[T]) -> tuple[T, float]:
    started = time.perf_counter()
    value = await work
    return value, (time.perf_counter() - started) * 1000


def _timed(request: Callable[[], object], repetitions: int) -> float:
    taken = []
    for _ in range(repetitions):
        started = time.perf_counter()
        request()
        taken.append((time.perf_counter() - started) * 1000)
    return statistics.median(taken)


def _worker_memory(service: Service) -> str:
    service.work(_CONCURRENCY)
    waiting = service.counts("deep")["PENDING"]
    with worker_process(service.directory, service.database_url) as process:
        while waiting - service.counts("deep")["PENDING"] < _WORKED_ON:
            time.sleep(0.5)
        return f"{memory_of(process):,.0f}"


class _SubmittedError(Exception):
    pass


@dataclass
class _NoDisplay:
    """Shows nothing, and knows when it was told to."""

    times: list[float] = field(default_factory=list)

    def update(self, tally: Tally) -> None:  # noqa: ARG002 - nothing is shown
        """Note the time."""
        self.times.append(time.perf_counter())

    def tell(self, trouble: str) -> None:
        """Say nothing: nobody works on these jobs."""


def _rate_of_run(service: Service) -> float:
    """Submit a file as the command does, which then has to wait."""
    lines = service.directory / "lines.jsonl"
    lines.write_text(
        "".join(json.dumps({"n": n}) + "\n" for n in range(_LINES))
    )
    question = Question(MODEL, "OpenAI", SYSTEM, 0.0)
    display = _NoDisplay()
    started = time.perf_counter()
    items = read_items(lines, question)

    def submitted(_seconds: float) -> None:
        raise _SubmittedError

    with (
        ResultsFile(service.directory / "results.jsonl", items) as results,
        contextlib.suppress(_SubmittedError),
    ):
        results.open()
        BatchRun(
            service.api,
            question,
            service.prompt,
            results,
            display,
            pause=submitted,
        ).execute(items)
    # Before the last came the first summary, which is no part of it.
    return _LINES / (display.times[-2] - started)
