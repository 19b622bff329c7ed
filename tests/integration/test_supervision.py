"""Parts that fail are shown, and nobody's work harms another's."""

import asyncio
import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
from bson import ObjectId

from chaos.network import Cut, line_to
from chaos.processes import address
from tests.conftest import PROVIDER_KEY
from tests.integration.test_workers import provider_model
from tests.support.api_user import ADMIN, ApiUser
from tests.support.fake_provider import FakeProvider
from tests.support.live_server import LiveServer, live_server, make_settings
from tests.support.processes import ServiceProcess, service_process
from tests.support.waiting import eventually

THREADS = 3
KEYS = {"PROVIDER_KEY": PROVIDER_KEY}


@pytest.fixture
def small(database: str, tmp_path: Path) -> Iterator[LiveServer]:
    """A service with few threads."""
    settings = make_settings(tmp_path / "small", num_llm_workers=THREADS)
    with live_server(settings, database, KEYS) as running:
        yield running


@pytest.fixture
def small_http(small: LiveServer) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=small.url, timeout=60) as client:
        yield client


def toggle(user: ApiUser) -> None:
    path = f"/clients/{user.client_id}/toggle"
    user.request("POST", path, 200, headers=ADMIN)


def as_admin(user: ApiUser, path: str) -> Any:
    return user.request("GET", path, 200, headers=ADMIN)


def store(server: LiveServer, document: dict[str, Any]) -> str:
    """Store a worker as it is, past every check."""
    clients = server.application.clients
    made = {"_id": ObjectId(), **document}

    async def insert() -> None:
        workers = server.application.shared.documents("workers")
        await workers.insert(made)
        await clients.close()

    asyncio.run(insert())
    return str(made["_id"])


def test_every_part_is_named_and_well(http: httpx2.Client) -> None:
    answer = http.get("/health/ready")
    assert answer.status_code == 200
    body = answer.json()
    assert body["service"] == "metasync-api"
    assert body["timestamp"]
    checks = body["checks"]
    assert checks["database"]["database"] == "connected"
    assert {"workers", "runs", "clock", "recovery", "dataDir"} <= set(checks)
    assert {each["status"] for each in checks.values()} == {"healthy"}
    assert all(each["since"] for each in checks.values())
    live = http.get("/health/live").json()
    assert set(live) == {"status", "service", "timestamp"}


def test_a_data_directory_that_cannot_be_written_is_said_until_it_can(
    database: str, tmp_path: Path
) -> None:
    data_dir = tmp_path / "data"
    data_dir.touch()
    settings = make_settings(data_dir)
    with (
        live_server(settings, database, KEYS) as server,
        httpx2.Client(base_url=server.url, timeout=30) as http,
    ):
        user = ApiUser(http)
        worker = user.worker()
        job = user.job(user.model(), user.prompt())
        answer = eventually(lambda: _not_ready(http, "workers"))
        for part in ("workers", "dataDir"):
            assert "DATA_DIR" in answer["checks"][part]["error"]
        info = user.get(f"/workers/{worker}")["threadInfo"]
        assert not info.get("threads")
        assert user.get(f"/jobs/{job['jobId']}")["waitingFor"] == {
            "kind": "NO_THREAD",
            "until": None,
            "detail": None,
        }
        data_dir.unlink()
        eventually(
            lambda: http.get("/health/ready").status_code == 200, seconds=40
        )
        assert user.ended(job["jobId"])["status"] == "PROCESSED"


def _not_ready(http: httpx2.Client, part: str) -> Any:
    answer = http.get("/health/ready")
    body = answer.json()
    if body["checks"].get(part, {}).get("status") != "unhealthy":
        return None
    assert answer.status_code == 503
    assert body["status"] == "not_ready"
    return body


def test_a_disabled_clients_work_ends_and_goes_on_when_it_is_enabled(
    user: ApiUser, provider: FakeProvider
) -> None:
    provider.delay = 600.0
    model = provider_model(user, provider)
    worker, stopped = user.worker(), user.worker(start=False)
    job = user.job(model, user.prompt())["jobId"]
    eventually(lambda: provider.most_running >= 1)
    toggle(user)
    eventually(
        lambda: as_admin(user, f"/jobs/{job}")["status"] == "PENDING",
        seconds=40,
    )
    shown = as_admin(user, f"/workers/{worker}")
    assert shown["status"] == "stopped"
    assert "disabled" in shown["threadInfo"]["stoppedBecause"]
    refused = user.request(
        "POST", f"/workers/{worker}/start", 400, headers=ADMIN
    )
    assert "disabled" in refused["detail"]
    provider.delay = 0.0
    toggle(user)
    assert user.ended(job)["status"] == "PROCESSED"
    assert user.get(f"/workers/{worker}")["status"] == "running"
    assert user.get(f"/workers/{stopped}")["status"] == "stopped"


def test_a_disabled_clients_worker_does_not_run_whatever_its_document_says(
    small: LiveServer, small_http: httpx2.Client
) -> None:
    user, other = ApiUser(small_http), ApiUser(small_http)
    job = user.job(user.model(), user.prompt())["jobId"]
    toggle(user)
    # As a start that met the disabling would leave it.
    store(
        small,
        {
            "name": "w",
            "clientId": user.client_id,
            "status": "running",
            "config": {"pollInterval": 1, "maxItemsPerBatch": 1},
        },
    )
    other.worker()
    done = other.job(other.model(), other.prompt())["jobId"]
    assert other.ended(done)["status"] == "PROCESSED"
    assert as_admin(user, f"/jobs/{job}")["status"] == "PENDING"
    toggle(user)
    assert user.ended(job)["status"] == "PROCESSED"


def test_the_streams_of_a_disabled_client_end(
    user: ApiUser, provider: FakeProvider
) -> None:
    provider.pieces = ["x"] * 1000
    provider.piece_delay = 0.05
    model = provider_model(user, provider)
    body = {"userPrompt": "hi", "model": model}
    with user.http.stream(
        "POST", "/stream", headers=user.headers, json=body
    ) as answer:
        stream_id = answer.headers["X-Stream-Id"]
        texts = answer.iter_text()
        next(texts)
        toggle(user)
        rest = "".join(texts)
    assert len(rest) < 1000
    assert rest.endswith("[Error: The client was disabled]")
    record = as_admin(user, f"/stream/{stream_id}")
    assert record["status"] == "error"
    assert record["responseData"]["errorType"] == "CLIENT_DISABLED"


def test_a_client_with_busy_workers_keeps_no_thread_from_another(
    small_http: httpx2.Client, provider: FakeProvider
) -> None:
    provider.delay = 0.3
    busy, single = ApiUser(small_http), ApiUser(small_http)
    model = provider_model(busy, provider)
    for _ in range(THREADS + 2):
        busy.worker(maxItemsPerBatch=1, maxConcurrency=1)
    body = busy.job_body(model, busy.prompt())
    busy.post("/jobs/batch", {"jobs": [body] * 500})
    eventually(lambda: provider.most_running >= THREADS)
    single.worker()
    job = single.job(single.model(), single.prompt())["jobId"]
    assert single.ended(job, seconds=15)["status"] == "PROCESSED"
    assert busy.get("/jobs/summary")["PENDING"] > 0


@pytest.mark.long
def test_idle_workers_hide_none_that_has_work(
    small_http: httpx2.Client,
) -> None:
    user = ApiUser(small_http)
    for _ in range(45):
        user.worker(maxItemsPerBatch=1, operationFilter="nothing")
    user.worker()
    job = user.job(user.model(), user.prompt())["jobId"]
    assert user.ended(job, seconds=20)["status"] == "PROCESSED"


HOSTILE_FILTERS: list[dict[str, Any]] = [
    {"__neosqlite_objectid__": True, "id": "0" * 24},
    {"x": {"__neosqlite_objectid__": True, "id": "0" * 24}},
    {"$where": "1"},
    {"a.b": {"$ne": 1}},
    {"__proto__": {"$oid": "0" * 24}},
]


@pytest.mark.parametrize("filters", HOSTILE_FILTERS)
def test_a_filter_is_text_whatever_its_keys_look_like(
    user: ApiUser, filters: dict[str, Any]
) -> None:
    worker = user.worker(clientReferenceFilters=filters)
    shown = user.get(f"/workers/{worker}")
    assert shown["config"]["clientReferenceFilters"] == filters
    assert worker in [each["workerId"] for each in user.get("/workers")]
    assert as_admin(user, "/workers/overview")
    prompt, model = user.prompt(), user.model()
    job = user.job(model, prompt, clientReference=filters)["jobId"]
    assert user.ended(job)["status"] == "PROCESSED"
    user.post(f"/workers/{worker}/stop", None, 200)
    user.delete(f"/workers/{worker}")


BROKEN: list[dict[str, Any]] = [
    {"config": {"pollInterval": "often"}},
    {"config": None},
    {"config": {"clientReferenceFilters": {"a": ObjectId()}}},
    {"name": 7},
    {"group": ["x"]},
]


@pytest.mark.parametrize("broken", BROKEN)
def test_one_broken_worker_harms_only_itself(
    small: LiveServer, small_http: httpx2.Client, broken: dict[str, Any]
) -> None:
    user = ApiUser(small_http)
    config = {"pollInterval": 1, "maxItemsPerBatch": 1}
    bad = store(
        small,
        {
            "name": "bad",
            "clientId": user.client_id,
            "status": "running",
            "config": config,
            **broken,
        },
    )
    good = user.worker()
    job = user.job(user.model(), user.prompt())["jobId"]
    assert user.ended(job)["status"] == "PROCESSED"
    listed = {each["workerId"]: each for each in user.get("/workers")}
    assert listed[good]["status"] == "running"
    assert listed[bad]["status"] == "error"
    assert "cannot be read" in listed[bad]["threadInfo"]["error"]
    summary = user.get("/workers/summary")
    assert (summary["running"], summary["error"]) == (1, 1)
    assert as_admin(user, "/workers")
    overview = as_admin(user, "/workers/overview")
    assert user.client_id in {c["clientId"] for c in overview["clients"]}
    user.delete(f"/workers/{bad}")
    assert bad not in {each["workerId"] for each in user.get("/workers")}


@pytest.mark.parametrize(
    "document",
    [{"name": "w"}, {"name": "w", "clientId": 7, "status": "dancing"}],
)
def test_a_worker_of_nobody_is_counted_and_can_be_removed(
    small: LiveServer, small_http: httpx2.Client, document: dict[str, Any]
) -> None:
    user = ApiUser(small_http)
    before = as_admin(user, "/workers/overview")["error"]
    bad = store(small, document)
    assert as_admin(user, "/workers/overview")["error"] == before + 1
    assert bad in as_admin(user, "/workers/summary")["error_ids"]
    user.request("DELETE", f"/workers/{bad}", 204, headers=ADMIN)
    assert as_admin(user, "/workers/overview")["error"] == before


def test_a_job_tells_since_when_and_where_it_runs(
    user: ApiUser, provider: FakeProvider
) -> None:
    provider.delay = 1.0
    worker = user.worker()
    job = user.job(provider_model(user, provider), user.prompt())
    assert job["startedAt"] is None

    def running() -> Any:
        found = user.get(f"/jobs/{job['jobId']}")
        return found if found["status"] == "PROCESSING" else None

    seen = eventually(running)
    assert seen["workerId"] == worker
    assert seen["startedAt"] >= seen["_metadata"]["createdAt"]
    assert seen["finishedAt"] is None
    assert seen["waitingFor"] is None
    done = user.ended(job["jobId"])
    assert done["startedAt"] == seen["startedAt"]
    assert done["finishedAt"] > done["startedAt"]
    assert done["workerId"] == worker


def test_a_job_tells_why_it_waits(user: ApiUser) -> None:
    model, prompt = user.model(), user.prompt()
    job = user.job(model, prompt, clientReference={"a": 1})["jobId"]

    def why() -> str:
        return str(user.get(f"/jobs/{job}")["waitingFor"]["kind"])

    assert why() == "NO_WORKER"
    user.worker(operationFilter="another")
    assert why() == "FILTER_MISMATCH"
    user.worker(clientReferenceFilters={"a": 2})
    assert why() == "FILTER_MISMATCH"
    worker = user.worker(start=False, clientReferenceFilters={"a": 1})
    assert why() == "WORKER_STOPPED"
    assert "waitingFor" in user.get("/jobs")[0]
    user.post(f"/workers/{worker}/start", None, 200)
    assert user.ended(job)["status"] == "PROCESSED"
    assert user.get(f"/jobs/{job}")["waitingFor"] is None


@pytest.mark.slow
def test_an_ordinary_stop_with_open_streams_is_quiet(
    data_dir: Path, provider: FakeProvider
) -> None:
    provider.pieces = ["x"] * 1000
    provider.piece_delay = 0.05
    with (
        service_process(data_dir, PROVIDER_KEY=PROVIDER_KEY) as service,
        httpx2.Client(base_url=service.url, timeout=30) as http,
        ExitStack() as stack,
    ):
        user = ApiUser(http)
        body = {"userPrompt": "hi", "model": provider_model(user, provider)}
        answers = [
            stack.enter_context(
                http.stream("POST", "/stream", headers=user.headers, json=body)
            )
            for _ in range(3)
        ]
        texts = [answer.iter_text() for answer in answers]
        for each in texts:
            next(each)
        assert service.process is not None
        service.process.send_signal(signal.SIGTERM)
        for each in texts:
            assert "".join(each).endswith("[Error: The service was stopped]")
        assert service.process.wait(30) == 0
        log = service.log.read_text()
    assert "Traceback" not in log
    assert '"level": "error"' not in log


@pytest.mark.long
def test_answers_that_come_while_the_database_hangs_are_on_disk_at_the_end(
    database: str, tmp_path: Path, provider: FakeProvider
) -> None:
    provider.holds = True
    port = int(database.split(":")[2].split("/", maxsplit=1)[0])
    with line_to(port) as line:
        data_dir = tmp_path / "data"
        variables = {
            "DB_CONNECTION_STRING": address(line.port),
            "DB_NAME": f"hang-{uuid.uuid4().hex[:8]}",
            "PROVIDER_KEY": PROVIDER_KEY,
            "DB_TIMEOUT_SECONDS": "1",
            "STOP_GRACE_SECONDS": "4",
        }
        with (
            service_process(data_dir, **variables) as service,
            httpx2.Client(base_url=service.url, timeout=30) as http,
        ):
            user = ApiUser(http)
            user.worker()
            model, prompt = provider_model(user, provider), user.prompt()
            for _ in range(5):
                user.job(model, prompt)
            eventually(lambda: len(provider.requests) == 5)
            line.cut(Cut.DELAY)
            provider.holds = False
            assert service.end(signal.SIGTERM) == 0
            log = service.log.read_text()
        lines = [
            line
            for path in data_dir.glob("spool/*/*.jsonl")
            for line in path.read_text().splitlines()
        ]
    assert len(lines) == 5
    assert "results_left_in_spool" in log
    assert "results_lost" not in log


@pytest.mark.slow
def test_a_second_signal_does_not_cut_off_the_cleanup(
    database: str, tmp_path: Path
) -> None:
    process = ServiceProcess(
        tmp_path / "data",
        DB_CONNECTION_STRING=database,
        DB_NAME=f"twice-{uuid.uuid4().hex[:8]}",
    )
    process.spawn("worker")
    eventually(
        lambda: list((tmp_path / "data").glob("spool/*/lock")), seconds=40
    )
    assert process.process is not None
    process.process.send_signal(signal.SIGTERM)
    while process.process.poll() is None:
        process.process.send_signal(signal.SIGTERM)
        time.sleep(0.005)
    assert process.process.returncode == 0
    assert list((tmp_path / "data" / "spool").iterdir()) == []
