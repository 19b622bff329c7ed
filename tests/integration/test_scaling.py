"""Several processes, as on several hosts, share one queue.

Each has a data directory of its own: none can see the locks of another,
so a dead one is known by its leases only.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.conftest import PROVIDER_KEY
from tests.integration.test_workers import provider_model
from tests.support.api_user import ADMIN, ApiUser
from tests.support.fake_provider import FakeProvider
from tests.support.processes import ServiceProcess
from tests.support.waiting import eventually
from utilities.embedded.database import EmbeddedDatabase

pytestmark = pytest.mark.slow

LEASE_SECONDS = 3


class Hosts:
    """Processes on one database, and a user of their interface."""

    def __init__(self, root: Path, database: str) -> None:
        self._root = root
        self._variables = {
            "DB_CONNECTION_STRING": database,
            "PROVIDER_KEY": PROVIDER_KEY,
            "LEASE_SECONDS": str(LEASE_SECONDS),
            "NUM_LLM_WORKERS": "8",
        }
        self._started: list[ServiceProcess] = []
        api = self._new("api")
        api.start("serve", "--no-workers")
        self.http = httpx2.Client(base_url=api.url, timeout=30)
        self.user = ApiUser(self.http)

    def add(self, **variables: str) -> ServiceProcess:
        """Start one more `metasync worker`."""
        process = self._new(f"host-{len(self._started)}", **variables)
        process.spawn("worker")
        return process

    def close(self) -> None:
        """End them all."""
        self.http.close()
        for process in self._started:
            process.end()

    def threads(self, *workers: str) -> list[tuple[str, int, str]]:
        """Return worker, replica and process of each thread that runs."""
        found = []
        for worker in workers:
            info = self.user.get(f"/workers/{worker}")["threadInfo"] or {}
            found += [
                (worker, thread["replica"], thread["pool"])
                for thread in info.get("threads", ())
            ]
        return found

    def spread(self, *workers: str) -> list[int]:
        """Return how many threads each process has, the most first."""
        pools = Counter(pool for _, _, pool in self.threads(*workers))
        return sorted(pools.values(), reverse=True)

    def _new(self, name: str, **variables: str) -> ServiceProcess:
        root = self._root / name
        root.mkdir()
        process = ServiceProcess(
            root / "data", **{**self._variables, **variables}
        )
        self._started.append(process)
        return process


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    with (
        EmbeddedDatabase(tmp_path / "database") as database,
        ExitStack() as stack,
    ):
        hosts = Hosts(tmp_path, database.connection_string)
        stack.callback(hosts.close)
        yield hosts


def fill(user: ApiUser, model: str, count: int) -> None:
    body = user.job_body(model, user.prompt())
    bodies = [{**body, "requestData": {"n": n}} for n in range(count)]
    user.post("/jobs/batch", {"jobs": bodies})


def all_processed(user: ApiUser, count: int, seconds: float = 60) -> None:
    def done() -> bool:
        return bool(user.get("/jobs/summary")["PROCESSED"] == count)

    eventually(done, seconds=seconds, what=f"{count} jobs")


def runs(process: ServiceProcess) -> set[str]:
    """Read from a process's log which workers it has started."""
    lines = process.log.read_text().splitlines()
    return {
        line.split('"workerId": "')[1][:24]
        for line in lines
        if '"worker_started"' in line
    }


@pytest.mark.long
def test_replicas_spread_over_the_hosts_and_each_gets_its_share(
    hosts: Hosts, provider: FakeProvider
) -> None:
    provider.delay = 0.1
    user = hosts.user
    model = provider_model(user, provider)
    worker = user.worker(replicas=4, maxConcurrency=5, maxItemsPerBatch=5)
    processes = [hosts.add(), hosts.add()]
    eventually(lambda: hosts.spread(worker) == [2, 2], what="two and two")
    fill(user, model, 300)
    all_processed(user, 300)
    # No job was called for twice, whoever asked at once.
    assert len(provider.requests) == 300
    assert all(runs(process) == {worker} for process in processes)
    shares = shares_of(user, model, processes)
    # How fair exactly is for the benchmarks: the machine may be busy.
    assert min(shares.values()) > 0.05 * sum(shares.values())


def shares_of(
    user: ApiUser, model: str, processes: list[ServiceProcess]
) -> Counter[str]:
    """Let each process tell how many calls it has made to a model."""
    path = f"/models/{model_id(user, model)}/health"

    def told() -> Counter[str] | None:
        health = user.request("GET", path, 200, headers=ADMIN)
        shares = Counter[str]()
        for each in health["processes"]:
            shares[each["process"]] += each["succeeded"]
        complete = sum(shares.values()) == 300
        return shares if complete and len(shares) == len(processes) else None

    return eventually(told, what="the health reports")


def model_id(user: ApiUser, name: str) -> str:
    models: list[dict[str, Any]] = user.get("/models", limit=1000)
    return next(str(m["model_id"]) for m in models if m["name"] == name)


def test_jobs_are_taken_in_before_there_is_a_worker(hosts: Hosts) -> None:
    user = hosts.user
    model, worker = user.model(), user.worker()
    job = user.job(model, user.prompt())
    assert user.get(f"/jobs/{job['jobId']}")["status"] == "PENDING"
    assert hosts.threads(worker) == []
    hosts.add()
    done = user.ended(job["jobId"], seconds=30)
    assert done["status"] == "PROCESSED"


@pytest.mark.long
def test_a_host_that_joins_gets_threads_and_more_replicas_can_be_had(
    hosts: Hosts,
) -> None:
    user = hosts.user
    hosts.add()
    workers = [user.worker() for _ in range(4)]
    replicated = user.worker(replicas=2)
    eventually(lambda: hosts.spread(*workers, replicated) == [6], seconds=30)
    second = hosts.add()
    eventually(
        lambda: (
            hosts.spread(*workers, replicated) == [3, 3]
            and hosts.spread(replicated) == [1, 1]
        ),
        seconds=30,
        what="three and three",
    )
    user.patch(f"/workers/{replicated}", {"config": {"replicas": 6}})
    eventually(lambda: hosts.spread(replicated) == [3, 3], what="six")
    user.patch(f"/workers/{replicated}", {"config": {"replicas": 1}})
    eventually(lambda: hosts.spread(replicated) == [1], what="one")
    eventually(
        lambda: max(hosts.spread(*workers, replicated)) <= 3, seconds=30
    )
    # One that stops gives everything back at once.
    second.end()
    eventually(lambda: hosts.spread(*workers, replicated) == [5], seconds=8)
    user.stop_workers()
    eventually(lambda: hosts.threads(*workers, replicated) == [])
    user.delete(f"/workers/{replicated}")


@pytest.mark.long
def test_a_host_that_dies_loses_its_workers_within_the_lease(
    hosts: Hosts, provider: FakeProvider
) -> None:
    provider.delay = 0.5
    user = hosts.user
    model = provider_model(user, provider)
    first, second = hosts.add(), hosts.add()
    workers = [
        user.worker(operationFilter=f"o{n}", maxConcurrency=3)
        for n in range(4)
    ]
    eventually(lambda: hosts.spread(*workers) == [2, 2], seconds=30)
    held = hosts.threads(*workers)
    body = user.job_body(model, user.prompt())
    user.post(
        "/jobs/batch",
        {"jobs": [{**body, "operation": f"o{n % 4}"} for n in range(48)]},
    )
    eventually(lambda: len(provider.requests) >= 12)
    first.kill()
    seen = [hosts.threads(*workers)]

    def moved() -> bool:
        seen.append(hosts.threads(*workers))
        return hosts.spread(*workers) == [4]

    eventually(moved, seconds=25, what="all with the one that is left")
    for threads in (held, *seen):
        slots = [(worker, replica) for worker, replica, _ in threads]
        assert len(slots) == len(set(slots))
    all_processed(user, 48)
    # Only what ran when it died was called for again.
    assert len(provider.requests) <= 48 + 6
    assert runs(second) == set(workers)


@pytest.mark.long
def test_more_workers_than_threads_share_those_of_all_hosts(
    hosts: Hosts,
) -> None:
    """A thread that a worker has twice is for one that has none."""
    user = hosts.user
    hosts.add(NUM_LLM_WORKERS="2")
    hosts.add(NUM_LLM_WORKERS="1")
    greedy = user.worker(replicas=50, operationFilter="none")
    eventually(lambda: hosts.spread(greedy) == [2, 1], seconds=30)
    modest = [user.worker(operationFilter=f"o{n}") for n in range(5)]
    model, prompt = user.model(), user.prompt()
    for number in range(5):
        job = user.job(model, prompt, operation=f"o{number}")
        user.ended(job["jobId"], seconds=30)
    assert len(hosts.threads(greedy, *modest)) == 3
