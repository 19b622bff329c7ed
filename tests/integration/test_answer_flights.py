"""Processes that ask the same at once pay once, also if one is killed.

Each process has the same client's jobs; they share the database only.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from provider_simulator.running import Simulator
from tests.integration.test_scaling import LEASE_SECONDS, Hosts
from tests.support.api_user import ApiUser, Json
from tests.support.processes import ServiceProcess
from tests.support.waiting import eventually
from utilities.embedded.database import EmbeddedDatabase

pytestmark = pytest.mark.slow

ROWS = 200


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    with EmbeddedDatabase(tmp_path / "database") as database:
        hosts = Hosts(tmp_path, database.connection_string)
        yield hosts
        hosts.close()


class Asking:
    """A client whose two workers run in two processes."""

    def __init__(self, hosts: Hosts, simulator: Simulator) -> None:
        simulator.script({"text": '{"a": "b"}'})
        self.user: ApiUser = hosts.user
        self.simulator = simulator
        self.model = self.user.model(
            sdk="OpenAI",
            endpoint=simulator.base_urls["OpenAI"],
            key="PROVIDER-KEY",
            deployment="theirs",
        )
        self.prompt = self.user.prompt()

    def bodies(self, count: int, **fields: object) -> list[Json]:
        body = self.user.job_body(self.model, self.prompt, cache="use")
        return [
            {**body, "requestData": {"n": n}, **fields} for n in range(count)
        ]

    def submit(self, bodies: list[Json]) -> list[str]:
        made = self.user.post("/jobs/batch", {"jobs": bodies})
        return [job["jobId"] for job in made]

    def all_ended(self, count: int, seconds: float = 60) -> Json:
        def ended() -> Json | None:
            summary: Json = self.user.get("/jobs/summary")
            left = summary["PENDING"] + summary["PROCESSING"]
            return None if left or summary["total"] < count else summary

        return eventually(ended, seconds=seconds, what=f"{count} jobs")

    def calls(self) -> int:
        return int(self.simulator.stats()["requests"])

    def open_calls(self) -> int:
        return int(self.simulator.stats()["open"])


def two_processes(hosts: Hosts, asking: Asking) -> list[ServiceProcess]:
    """Run one worker for each of two operations, in two processes."""
    processes = [hosts.add(NUM_LLM_WORKERS="1") for _ in range(2)]
    for operation in ("one", "two"):
        asking.user.worker(operationFilter=operation, maxConcurrency=50)
    workers = asking.user.get("/workers")
    ids = [worker["workerId"] for worker in workers]
    eventually(
        lambda: len({pool for _, _, pool in hosts.threads(*ids)}) == 2,
        seconds=30,
        what="a worker in each process",
    )
    return processes


def test_two_processes_ask_the_same_rows_once(
    hosts: Hosts, shared_simulator: Simulator
) -> None:
    asking = Asking(hosts, shared_simulator)
    shared_simulator.configure(latency_ms=100)
    two_processes(hosts, asking)
    lists = [asking.bodies(ROWS, operation=name) for name in ("one", "two")]
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(asking.submit, lists))
    summary = asking.all_ended(2 * ROWS)
    assert summary["PROCESSED"] == 2 * ROWS
    assert asking.calls() == ROWS
    usage = eventually(
        lambda: (
            found
            if (found := asking.user.get("/usage")["total"])["cachedAnswers"]
            == ROWS
            else None
        ),
        what="the ledger",
    )
    assert usage["requests"] == ROWS
    # Negative control: it is the cache that does it.
    plain = [
        each for bodies in lists for each in bodies[:20] if each.pop("cache")
    ]
    asking.submit(plain)
    asking.all_ended(2 * ROWS + 40)
    assert asking.calls() == ROWS + 40


def test_the_other_one_asks_if_the_first_is_killed(
    hosts: Hosts, shared_simulator: Simulator
) -> None:
    asking = Asking(hosts, shared_simulator)
    shared_simulator.configure(latency_ms=60_000)
    first, second = two_processes(hosts, asking)
    asking.submit(asking.bodies(20, operation="one"))
    eventually(lambda: asking.open_calls() == 20, what="the first calls")
    asking.submit(asking.bodies(20, operation="two"))

    def waiting() -> bool:
        jobs = asking.user.get("/jobs", operation="two", limit=100)
        kinds = [(job["waitingFor"] or {}).get("kind") for job in jobs]
        return kinds.count("ANSWER") == 20

    eventually(waiting, what="the others to wait")
    assert asking.calls() == 20  # negative control: nobody else has asked
    shared_simulator.configure(latency_ms=50)
    killed = _process_of(asking, (first, second))
    killed.kill()
    # The jobs of the dead process run in the other one, whose worker for
    # them starts there.
    summary = asking.all_ended(40, LEASE_SECONDS * 20)
    assert summary["PROCESSED"] == 40
    # The calls of the dead process, and each question once more.
    assert asking.calls() == 40


def _process_of(
    asking: Asking, processes: tuple[ServiceProcess, ...]
) -> ServiceProcess:
    """Return the process that runs the worker of the first jobs."""
    workers = asking.user.get("/workers")
    (worker,) = [
        each["workerId"]
        for each in workers
        if each["config"]["operationFilter"] == "one"
    ]
    (process,) = [
        each
        for each in processes
        if f'"workerId": "{worker}"' in each.log.read_text()
    ]
    return process
