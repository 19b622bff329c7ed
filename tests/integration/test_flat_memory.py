"""Hostile sizes against a process of its own: its memory and its pauses.

`/health/live` is asked all the while. Nothing here may take long, either.
"""

import json
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx2
import pytest

from tests.support.api_user import ApiUser
from tests.support.processes import ServiceProcess, service_process
from tests.support.timing import TRIES, slowness
from tests.support.waiting import eventually

pytestmark = pytest.mark.timing

MIB = 1024 * 1024
LONGEST_SILENCE = 0.3
T = TypeVar("T")
MOST_MEMORY = 100 * MIB


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ServiceProcess]:
    data_dir = tmp_path_factory.mktemp("flat") / "data"
    with service_process(data_dir, NUM_LLM_WORKERS="2") as running:
        yield running


@pytest.fixture(scope="module")
def client(service: ServiceProcess) -> Iterator[ApiUser]:
    with httpx2.Client(base_url=service.url, timeout=60) as http:
        yield ApiUser(http)


def memory_of(service: ServiceProcess) -> int:
    assert service.process is not None
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    (line,) = [x for x in status.splitlines() if x.startswith("VmRSS")]
    return int(line.split()[1]) * 1024


def computed_by(service: ServiceProcess) -> float:
    """Tell how many seconds the process has computed."""
    assert service.process is not None
    status = Path(f"/proc/{service.process.pid}/stat").read_text()
    user, system = status.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


class Watch:
    """Asks whether the process lives, and how much memory it has.

    It is silent for as long as it computes instead of answering: what the
    machine does meanwhile does not count.
    """

    def __init__(self, service: ServiceProcess) -> None:
        self._service = service
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.before = memory_of(service)
        self.most = self.before
        self.silence = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        with httpx2.Client(base_url=self._service.url, timeout=60) as http:
            while not self._done.is_set():
                started = time.perf_counter()
                before = computed_by(self._service)
                http.get("/health/live").raise_for_status()
                waited = time.perf_counter() - started
                computed = computed_by(self._service) - before
                self.silence = max(self.silence, min(waited, computed))
                self.most = max(self.most, memory_of(self._service))
                self._done.wait(0.005)

    @property
    def grown(self) -> int:
        return self.most - self.before


def flat(service: ServiceProcess, work: Callable[[], T]) -> T:
    """Do it; the memory grows little, and the process goes on answering."""
    best = math.inf
    for _ in range(TRIES):
        with Watch(service) as watch:
            result = work()
        assert watch.grown < MOST_MEMORY, f"{watch.grown / MIB:.0f} MiB"
        best = min(best, watch.silence)
        if best < LONGEST_SILENCE * slowness():
            return result
    raise AssertionError(f"silent for {best:.3f} s")


def post(
    client: ApiUser, path: str, content: bytes, headers: dict[str, str]
) -> httpx2.Response:
    headers = {**headers, "content-type": "application/json"}
    return client.http.post(path, content=content, headers=headers)


@pytest.mark.parametrize("headers", [{}, {"admin_api_key": "wrong"}])
def test_a_large_body_of_nobody_is_not_read(
    service: ServiceProcess, client: ApiUser, headers: dict[str, str]
) -> None:
    body = b'{"a":[' + b"[]," * 11_000_000 + b"1]}"

    def four_at_once() -> list[httpx2.Response]:
        with ThreadPoolExecutor(4) as threads:
            send = partial(post, client, "/jobs", body)
            return list(threads.map(send, [headers] * 4))

    answers = flat(service, four_at_once)
    assert {answer.status_code for answer in answers} == {401}


SHAPES: dict[str, Callable[[], bytes]] = {
    "lists": lambda: b'{"requestData":{"a":[' + b"[]," * 9_000_000 + b"1]}}",
    "objects": lambda: b'{"x":[' + b'{"a":1},' * 3_000_000 + b"1]}",
    "names": lambda: (
        b"{" + b",".join(b'"%x":0' % n for n in range(900_000)) + b"}"
    ),
    "texts": lambda: b'{"x":[' + b'"",' * 9_000_000 + b"1]}",
    "commas": lambda: b'{"requestData":{"a":"' + b"," * 25_000_000 + b'"}}',
    "escapes": lambda: b'{"a":"' + b"\\\\" * 5_000_000 + b'"}',
    "quotes": lambda: b'"' * 25_000_000,
    "digits": lambda: (
        b'{"requestData":{"a":["' + b'","'.join([b"9" * 4299] * 2000) + b'"]}}'
    ),
    "numbers": lambda: (
        b'{"requestData":{"a":[' + b",".join([b"9" * 4299] * 2000) + b"]}}"
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_hostile_body_of_a_client(
    service: ServiceProcess, client: ApiUser, shape: str
) -> None:
    body = SHAPES[shape]()
    answer = flat(service, lambda: post(client, "/jobs", body, client.headers))
    assert answer.status_code in (413, 422), answer.text[:300]


def test_references_that_repeat_their_names(
    service: ServiceProcess, client: ApiUser
) -> None:
    deep: dict[str, Any] = {"k" * 200: {str(n): n for n in range(2000)}}
    for _ in range(60):
        deep = {"k" * 200: deep}
    job = client.job_body("m", "p", clientReference=deep)
    body = json.dumps({"jobs": [job] * 150}).encode()
    answer = flat(
        service, lambda: post(client, "/jobs/batch", body, client.headers)
    )
    assert answer.status_code == 400
    assert "levels deep" in answer.json()["detail"]


def database_memory_of(service: ServiceProcess) -> int:
    assert service.process is not None
    for status in Path("/proc").glob("[0-9]*/status"):
        lines = dict(
            line.split(":", 1) for line in status.read_text().splitlines()
        )
        command = (status.parent / "cmdline").read_bytes()
        if (
            int(lines["PPid"]) == service.process.pid
            and b"utilities.embedded.server" in command
        ):
            return int(lines["VmRSS"].split()[0]) * 1024
    raise AssertionError("no database runs")


def test_a_large_document_leaves_no_memory_in_the_database(
    service: ServiceProcess, client: ApiUser
) -> None:
    body = client.job_body(client.model(), client.prompt())
    before = database_memory_of(service)
    client.worker()
    for name in ("a", "b"):
        request = {**body, "requestData": {name: "x" * 4_000_000}}
        job = client.post("/jobs", request)["jobId"]
        assert client.ended(job)["status"] == "PROCESSED"
    client.stop_workers()
    eventually(
        lambda: database_memory_of(service) - before < MOST_MEMORY,
        seconds=20,
    )
