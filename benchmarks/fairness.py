"""What one client waits because of others, and a person because of bulk.

Each case goes through the whole service; the provider simulator answers
every call after a fixed time. All calls are made to one model, which takes
a few of them at once.

1. Ten jobs of a client, alone and while another one has thousands.
2. Ten clients with queues of different lengths: Jain's index of what they
   got while all of them had jobs; with one process and with two.
3. Interactive jobs and streams, one after the other, alone and while bulk
   jobs fill the queue of the same client.

    python -m benchmarks.fairness [--many 20000] [--bulk 100000]
"""

import contextlib
import math
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx2
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.bare_clients import MODEL, SYSTEM
from benchmarks.service import Service, simulated_service, worker_process
from cli import setup
from cli.rest_client import RestClient

_BLOCK = 1000
_WAIT_SECONDS = 30
_WARM_UP = 3
# One for each client and more.
_THREADS = 16


@dataclass(frozen=True)
class Tenant:
    """A client with a worker of its own."""

    api: RestClient
    http: httpx2.Client
    prompt: str

    def jobs(self, count: int, **fields: object) -> list[str]:
        """Submit jobs; return their ids."""
        ids: list[str] = []
        for first in range(0, count, _BLOCK):
            block = [
                {
                    "operation": "bench",
                    "workingPrompts": [self.prompt],
                    "model": MODEL,
                    "requestData": {"n": number},
                    **fields,
                }
                for number in range(first, min(first + _BLOCK, count))
            ]
            made = self.api.post("/jobs/batch", {"jobs": block})
            ids += [job["jobId"] for job in made]
        return ids

    def wait(self, ids: Sequence[str]) -> None:
        """Wait until these jobs have ended."""
        for job_id in ids:
            job = self.api.get(f"/jobs/{job_id}", wait=_WAIT_SECONDS)
            if job["status"] != "PROCESSED":
                raise RuntimeError(f"{job_id}: {job['status']}")

    def stream(self) -> None:
        """Make a stream, and read it to its end."""
        body = {"userPrompt": "x", "model": MODEL, "temperature": 0}
        self.http.post("/stream", json=body).raise_for_status()

    def processed(self) -> int:
        """Count its jobs that have ended well."""
        return int(self.api.get("/jobs/summary")["PROCESSED"])

    def cancel(self) -> None:
        """Cancel all of its jobs that wait."""
        body = {"filter": {"operation": "bench", "status": "PENDING"}}
        while self.api.post("/jobs/cancel", body)["changed"]:
            pass


class Bench:
    """A service with a model that takes a number of calls at once."""

    def __init__(self, service: Service, places: int) -> None:
        self._service = service
        self._places = places
        self._stack = contextlib.ExitStack()

    def limit(self, *, shared: bool) -> None:
        """Have the model take the calls of this process, or of all."""
        limit = self._places if shared else None
        own = None if shared else self._places
        model = next(self._service.admin.pages("/models"))
        changes = {
            "limits": {"maxConcurrency": limit},
            "resilience": {"bulkhead": {"maxConcurrency": own}},
        }
        self._service.admin.patch(f"/models/{model['model_id']}", changes)

    def tenant(self, name: str, concurrency: int) -> Tenant:
        """Make a client with a running worker."""
        admin = self._service.admin
        made = admin.post("/clients", {"name": name})
        headers = {
            "client-id": made["clientId"],
            "client-api-key": made["api_key"],
        }
        api = self._stack.enter_context(RestClient(admin.base_url, headers))
        setup.ensure_worker(api, concurrency)
        http = self._stack.enter_context(
            httpx2.Client(
                base_url=admin.base_url,
                headers=headers,
                timeout=_WAIT_SECONDS,
                trust_env=False,
            )
        )
        tenant = Tenant(api, http, setup.ensure_prompt(api, SYSTEM))
        tenant.wait(tenant.jobs(1))
        return tenant

    def close(self) -> None:
        """Close the clients."""
        self._stack.close()

    def ten_beside(self, many: int) -> tuple[float, float]:
        """Return the seconds of ten jobs, alone and beside many."""
        big = self.tenant("big", 4 * self._places)
        small = self.tenant("small", 10)
        alone = min(_timed(lambda: small.wait(small.jobs(10))) for _ in "123")
        big.jobs(many)
        time.sleep(_WARM_UP)
        beside = max(_timed(lambda: small.wait(small.jobs(10))) for _ in "123")
        big.cancel()
        return alone, beside

    def jain(self, clients: int, seconds: float, jobs: int) -> float:
        """Return Jain's index of the calls of clients in some seconds."""
        tenants = [
            self.tenant(f"unequal-{n}", self._places) for n in range(clients)
        ]
        for number, tenant in enumerate(tenants):
            tenant.jobs(jobs * (number + 1))
        time.sleep(_WARM_UP)
        before = [each.processed() for each in tenants]
        time.sleep(seconds)
        after = [each.processed() for each in tenants]
        for tenant in tenants:
            tenant.cancel()
        counts = [b - a for a, b in zip(before, after, strict=True)]
        return sum(counts) ** 2 / (clients * sum(n * n for n in counts))

    def interactive(
        self, bulk: int, users: int, calls: int
    ) -> dict[str, tuple[float, float]]:
        """Return the p99 of interactive calls, alone and beside bulk jobs."""
        tenant = self.tenant("person", 4 * self._places)

        def job() -> None:
            tenant.wait(tenant.jobs(1, serviceClass="interactive"))

        ways = {"interactive jobs": job, "streams": tenant.stream}
        alone = {
            name: _p99(_by_users(way, users, calls))
            for name, way in ways.items()
        }
        tenant.jobs(bulk)
        time.sleep(_WARM_UP)
        found = {}
        for name, way in ways.items():
            # The first ones show how many places are to be kept.
            _by_users(way, users, 2)
            found[name] = alone[name], _p99(_by_users(way, users, calls))
        tenant.cancel()
        return found


def _timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def _p99(times: Sequence[float]) -> float:
    return sorted(times)[math.ceil(0.99 * len(times)) - 1]


def _by_users(
    action: Callable[[], object], users: int, calls: int
) -> list[float]:
    """Have some users make calls, each one after the other."""
    times: list[float] = []

    def user() -> None:
        times.extend(_timed(action) for _ in range(calls))

    threads = [threading.Thread(target=user) for _ in range(users)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


@contextlib.contextmanager
def _bench(latency_ms: float, places: int) -> Iterator[tuple[Bench, Service]]:
    with simulated_service(latency_ms, threads=_THREADS) as (service, _):
        bench = Bench(service, places)
        bench.limit(shared=False)
        with contextlib.closing(bench):
            yield bench, service


def measure(
    many: int,
    clients: int,
    seconds: float,
    bulk: int,
    latency_ms: float,
    places: int,
) -> list[tuple[str, ...]]:
    """Measure every case; return the rows of a table."""
    rows: list[tuple[str, ...]] = []
    with _bench(latency_ms, places) as (bench, service):
        alone, beside = bench.ten_beside(many)
        rows.append(
            (
                f"ten jobs beside {many:,} of another client",
                f"{alone:.2f} s",
                f"{beside:.2f} s",
                f"+ {beside - alone:.2f} s (< 1 s)",
            )
        )
        # Enough for the longest queue's share of the time.
        jobs = round(2 * (seconds + _WARM_UP) * places / latency_ms * 1000)
        jobs = jobs // clients + 1
        index = bench.jain(clients, seconds, jobs)
        rows.append((*_JAIN, f"{index:.4f} (>= 0.98)"))
        for name, (idle, busy) in bench.interactive(bulk, 8, 25).items():
            rows.append(
                (
                    f"p99 of {name} beside {bulk:,} bulk jobs",
                    f"{idle:.3f} s",
                    f"{busy:.3f} s",
                    f"x {busy / idle:.2f} (<= 1.2)",
                )
            )
        bench.limit(shared=True)
        with (
            tempfile.TemporaryDirectory() as scratch,
            worker_process(
                service.directory, service.database_url, Path(scratch)
            ),
        ):
            time.sleep(2 * _WARM_UP)
            index = bench.jain(clients, seconds, jobs)
        rows.append((*_JAIN_OF_TWO, f"{index:.4f} (>= 0.98)"))
    return rows


_JAIN: tuple[str, ...] = ("Jain index of clients, one process", "", "")
_JAIN_OF_TWO: tuple[str, ...] = ("the same, two processes", "", "")


def main(
    many: Annotated[int, typer.Option(min=1)] = 20_000,
    clients: Annotated[int, typer.Option(min=2)] = 10,
    seconds: Annotated[float, typer.Option(min=1)] = 20,
    bulk: Annotated[int, typer.Option(min=1)] = 100_000,
    latency_ms: Annotated[float, typer.Option(min=1)] = 1000,
    places: Annotated[int, typer.Option(min=1)] = 50,
) -> None:
    """Measure and print a table."""
    rows = measure(many, clients, seconds, bulk, latency_ms, places)
    _print(rows, f"{latency_ms:g} ms a call, {places} calls at once")


def _print(rows: Sequence[Any], title: str) -> None:
    table = Table(title=title)
    for heading in ("what", "alone", "beside others", "result (bar)"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
