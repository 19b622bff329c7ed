"""What failures of a provider cost: calls, time, and (never) jobs.

Three cases, each through the whole service and the provider simulator: a
provider that works, one that fails at every tenth call in mixed ways, and
one that is down for twenty seconds.

    python -m benchmarks.resilience [--jobs 5000] [--concurrency 100]
"""

import threading
import time
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.service import LATENCY_MS, Service, simulated_service
from provider_simulator.running import Simulator

_DOWN_SECONDS = 20
_DOWN_AFTER_SECONDS = 3
_MIXED = dict.fromkeys(
    (
        "server_error",
        "overloaded",
        "rate_limited",
        "reset",
        "truncated",
        "invalid_json",
    ),
    0.1 / 6,
)


@dataclass(frozen=True)
class Outcome:
    """How one case went."""

    seconds: float
    ideal: float
    processed: int
    failed: int
    calls: int
    resumed: float | None = None


class Bench:
    """A service whose model the simulator answers for."""

    def __init__(self, service: Service, simulator: Simulator) -> None:
        self._service = service
        self._simulator = simulator

    def run(
        self, name: str, jobs: int, concurrency: int, down: float = 0.0
    ) -> Outcome:
        """Submit the jobs of one case and wait for the last of them."""
        self._simulator.reset_stats()
        started = time.monotonic()
        timer = threading.Timer(
            _DOWN_AFTER_SECONDS, self._simulator.fail_for, [down]
        )
        if down:
            timer.start()
        self._service.submit(jobs, name)
        back_at = started + _DOWN_AFTER_SECONDS + down
        counts, resumed = self._wait(name, jobs, back_at if down else None)
        return Outcome(
            time.monotonic() - started,
            jobs / concurrency * LATENCY_MS / 1000 + down,
            counts["PROCESSED"],
            counts["ERROR_PROCESSING"],
            self._simulator.stats()["requests"],
            resumed,
        )

    def _wait(
        self, name: str, jobs: int, back_at: float | None
    ) -> tuple[dict[str, int], float | None]:
        """Wait for all; tell how long after its return work went on."""
        before: int | None = None
        resumed = None
        while True:
            counts = self._service.counts(name)
            done, now = counts["PROCESSED"], time.monotonic()
            if back_at is not None and now < back_at:
                before = done
            elif before is not None and resumed is None and done > before:
                resumed = now - (back_at or now)
            if done + counts["ERROR_PROCESSING"] == jobs:
                return counts, resumed
            time.sleep(0.1)


def main(
    jobs: Annotated[int, typer.Option(min=1)] = 5000,
    concurrency: Annotated[int, typer.Option(min=1)] = 100,
) -> None:
    """Measure and print a table."""
    with simulated_service(LATENCY_MS) as (service, simulator):
        bench = Bench(service, simulator)
        service.work(concurrency)
        bench.run("warm-up", concurrency, concurrency)
        outcomes = {"works": bench.run("works", jobs, concurrency)}
        simulator.configure(failures=_MIXED)
        outcomes["fails at 10 % of calls"] = bench.run(
            "mixed", jobs, concurrency
        )
        simulator.configure(failures={})
        outcomes[f"is down for {_DOWN_SECONDS} s"] = bench.run(
            "down", jobs, concurrency, _DOWN_SECONDS
        )
    _print(jobs, concurrency, outcomes)


def _print(jobs: int, concurrency: int, outcomes: dict[str, Outcome]) -> None:
    table = Table(title=f"{jobs:,} jobs, {concurrency} at once, 200 ms each")
    for heading in (
        "The provider",
        "processed",
        "failed",
        "calls",
        "seconds",
        "ideal",
        "resumed after",
    ):
        table.add_column(heading, justify="right")
    for name, each in outcomes.items():
        resumed = f"{each.resumed:.1f} s" if each.resumed is not None else ""
        table.add_row(
            name,
            f"{each.processed:,}",
            str(each.failed),
            f"{each.calls:,}",
            f"{each.seconds:.1f}",
            f"{each.ideal:.1f}",
            resumed,
        )
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
