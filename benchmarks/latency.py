"""The third table: how soon a job starts, how fast the API answers."""

import contextlib
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.service import (
    LATENCY_MS,
    Layout,
    Service,
    running_service,
    simulated_service,
)

_CONCURRENCY = 400
# The load must outlast the requests that are measured beside it.
_LOAD = 1500
_ANSWER = (
    b'{"choices": [{"message": {"content": "{}"}, "finish_reason": "stop"}],'
    b' "usage": {"prompt_tokens": 1, "completion_tokens": 1}}'
)


def print_latency(
    console: Console, repetitions: int, jobs_a_second: int = _LOAD
) -> None:
    """Measure and print."""
    table = Table(title=f"Latency in ms, of {repetitions}")
    table.add_column("")
    for heading in ("median", "95 % within", "at most"):
        table.add_column(heading, justify="right")
    for name, milliseconds in _idle(repetitions).items():
        table.add_row(name, *_cells(milliseconds))
    for layout in (Layout.WITH_API, Layout.APART):
        busy = _busy(repetitions, jobs_a_second, layout)
        for name, milliseconds in busy.items():
            table.add_row(name, *_cells(milliseconds))
    console.print(table)


def _cells(milliseconds: list[float]) -> list[str]:
    shown = (
        statistics.median(milliseconds),
        statistics.quantiles(milliseconds, n=20)[-1],
        max(milliseconds),
    )
    return [f"{value:,.1f}" for value in shown]


def _idle(repetitions: int) -> dict[str, list[float]]:
    with (
        _watched_provider() as (url, arrivals),
        tempfile.TemporaryDirectory() as directory,
        running_service(Path(directory), url) as service,
    ):
        service.work(_CONCURRENCY)
        posts, starts = [], []
        for number in range(repetitions + 1):
            arrivals.clear()
            sent, answered = _post(service, number)
            while not arrivals:
                time.sleep(0.001)
            posts.append(answered - sent)
            starts.append(arrivals[0] - sent)
            # Until the worker is idle again.
            time.sleep(0.1)
    return {
        "idle: POST /jobs": _in_ms(posts[1:]),
        "idle: POST sent until the provider is called": _in_ms(starts[1:]),
    }


def _busy(
    repetitions: int, jobs_a_second: int, layout: Layout
) -> dict[str, list[float]]:
    posts, gets = [], []
    with simulated_service(LATENCY_MS, layout) as (service, _):
        # As much as the requests below take, with room.
        service.submit(jobs_a_second * (repetitions // 10 + 5), "load")
        service.work(_CONCURRENCY)
        time.sleep(2)
        job_id = service.api.get("/jobs", limit=1)[0]["jobId"]
        for number in range(repetitions):
            sent, answered = _post(service, number)
            posts.append(answered - sent)
            sent = time.perf_counter()
            service.api.get(f"/jobs/{job_id}")
            gets.append(time.perf_counter() - sent)
            time.sleep(0.01)
        if not service.counts("load")["PENDING"]:
            raise RuntimeError("The load ended before the measurement")
    return {
        f"busy, workers {layout.value}: POST /jobs": _in_ms(posts),
        f"busy, workers {layout.value}: GET /jobs/{{id}}": _in_ms(gets),
    }


def _post(service: Service, number: int) -> tuple[float, float]:
    (job,) = service.jobs(range(number, number + 1), "single")
    sent = time.perf_counter()
    service.api.post("/jobs", job)
    return sent, time.perf_counter()


def _in_ms(seconds: list[float]) -> list[float]:
    return [each * 1000 for each in seconds]


@contextlib.contextmanager
def _watched_provider() -> Iterator[tuple[str, list[float]]]:
    """Answer calls at once and note when they arrive."""
    arrivals: list[float] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            arrivals.append(time.perf_counter())
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(_ANSWER)))
            self.end_headers()
            self.wfile.write(_ANSWER)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", arrivals
    finally:
        server.shutdown()
        server.server_close()
