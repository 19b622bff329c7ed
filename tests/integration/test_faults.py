"""What must not be lost, whatever dies."""

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llm_sdks.base_sdk import (
    BaseLLMSDK,
    Completion,
    CompletionRequest,
    LLMConfig,
    StreamItem,
)
from tests.conftest import PROVIDER_KEY
from tests.integration.test_workers import provider_model
from tests.support.api_user import ADMIN, ApiUser
from tests.support.fake_provider import FakeProvider
from tests.support.live_server import live_server, make_settings
from tests.support.processes import ServiceProcess, service_process
from tests.support.waiting import eventually
from utilities.embedded.database import EmbeddedDatabase

pytestmark = pytest.mark.slow


class Misbehaving(BaseLLMSDK):
    """Does what the request says."""

    needs_key = False
    release = threading.Event()

    @classmethod
    def get_name(cls) -> str:
        return "misbehaving"

    def validate_config(self, config: LLMConfig) -> None:
        if config.deployment == "invalid":
            raise KeyError("validate_config")

    def complete(self, request: CompletionRequest) -> Completion:
        if '"hang"' in request.user:
            self.release.wait()
        if '"raise"' in request.user:
            raise ZeroDivisionError("secret-in-message")
        if '"exit"' in request.user:
            sys.exit("from a plug-in")
        return Completion('{"fine": true}')

    def stream(self, request: CompletionRequest) -> Iterator[StreamItem]:
        raise NotImplementedError

    async def acomplete(self, request: CompletionRequest) -> Completion:
        if '"block"' in request.user:
            # What a plug-in must not do: block its event loop.
            self.release.wait()
        if '"cancel"' in request.user:
            raise asyncio.CancelledError
        return await super().acomplete(request)


@pytest.fixture
def misbehaving(database: str, tmp_path: Path) -> Iterator[ApiUser]:
    settings = make_settings(
        tmp_path, llm_timeout_seconds=1, lease_seconds=1.5, max_attempts=2
    )
    Misbehaving.release.clear()
    with live_server(settings, database, {}) as server:
        server.application.worker_parts.access.registry.register(Misbehaving)
        with httpx2.Client(base_url=server.url, timeout=30) as http:
            yield ApiUser(http)
        Misbehaving.release.set()


def do(user: ApiUser, what: str, model: str, prompt: str) -> str:
    job = user.job(model, prompt, requestData={"do": what})
    return str(job["jobId"])


def test_a_plug_in_that_misbehaves_hurts_only_its_own_job(
    misbehaving: ApiUser,
) -> None:
    user = misbehaving
    # A call that hangs is soon a job that failed.
    once = {"retry": {"maxAttempts": 1, "minWait": 0.1}}
    model = user.model(sdk="misbehaving", resilience=once)
    prompt = user.prompt()
    invalid = user.model(sdk="misbehaving", deployment="invalid")
    user.worker(maxConcurrency=20)
    wanted = {
        do(user, "raise", model, prompt): "PLUGIN_ERROR",
        do(user, "exit", model, prompt): "PLUGIN_ERROR",
        do(user, "hang", model, prompt): "TIMEOUT",
        do(user, "x", invalid, prompt): "PLUGIN_ERROR",
    }
    fine = do(user, "work", model, prompt)
    assert user.ended(fine)["responseData"] == {"fine": True}
    for job_id, kind in wanted.items():
        done = user.ended(job_id, seconds=60)
        assert done["status"] == "ERROR_PROCESSING"
        assert done["errorData"]["errorType"] == kind
        assert "secret-in-message" not in str(done)


def test_a_plug_in_that_blocks_its_loop_stalls_no_other_worker(
    misbehaving: ApiUser,
) -> None:
    user = misbehaving
    model, prompt = user.model(sdk="misbehaving"), user.prompt()
    user.worker(operationFilter="bad", maxConcurrency=5)
    bad = user.job(
        model, prompt, operation="bad", requestData={"do": "block"}
    )["jobId"]

    def running() -> bool:
        return bool(user.get(f"/jobs/{bad}")["status"] == "PROCESSING")

    eventually(running)
    user.worker(operationFilter="good")
    good = user.job(model, prompt, operation="good")["jobId"]
    assert user.ended(good)["status"] == "PROCESSED"
    # The blocked worker's lease ends; another one takes the job, and is
    # blocked in its turn: the job ends as what it is, a poison.
    user.worker(operationFilter="bad", maxConcurrency=5)
    done = user.ended(bad, seconds=30)
    assert done["status"] == "ERROR_PROCESSING"
    assert done["errorData"]["errorType"] == "LEASE_EXPIRED"


def spooled(spool: Path) -> list[str]:
    """Return the lines of all spools; their files may vanish meanwhile."""
    while True:
        with contextlib.suppress(FileNotFoundError):
            return [
                line
                for path in spool.glob("*/*.jsonl")
                for line in path.read_text().splitlines()
            ]


def fill(user: ApiUser, model: str, count: int) -> list[str]:
    body = user.job_body(model, user.prompt())
    items = [{**body, "requestData": {"n": n}} for n in range(count)]
    made = user.post("/jobs/batch", {"jobs": items})
    return [job["jobId"] for job in made]


def all_ended(user: ApiUser, ids: list[str], seconds: float) -> dict[str, Any]:
    def look() -> bool:
        summary = user.get("/jobs/summary")
        return bool(summary["PENDING"] + summary["PROCESSING"] == 0)

    eventually(look, seconds=seconds, what="all jobs ended")
    listed = user.get("/jobs", limit=1000)
    assert sorted(job["jobId"] for job in listed) == sorted(ids)
    return {job["jobId"]: job for job in listed}


def test_kill_minus_nine_in_the_middle_loses_nothing(
    data_dir: Path, provider: FakeProvider
) -> None:
    provider.delay = 0.2
    variables = {"LEASE_SECONDS": "2", "PROVIDER_KEY": PROVIDER_KEY}
    with (
        service_process(data_dir, **variables) as service,
        httpx2.Client(base_url=service.url, timeout=30) as http,
    ):
        user = ApiUser(http)
        model = provider_model(user, provider)
        user.worker(maxConcurrency=20)
        ids = fill(user, model, 100)
        eventually(partial(provider.was_asked, 50))
        service.kill()
        service.start()
        jobs = all_ended(user, ids, seconds=60)
        for number, job_id in enumerate(ids):
            job = jobs[job_id]
            assert job["status"] == "PROCESSED", job
            assert job["responseData"] == {"echo": {"n": number}}
        # Only calls whose answers had not been stored were made twice.
        assert len(provider.requests) <= 100 + 20 + 20


def test_a_stopping_service_keeps_every_paid_answer(
    data_dir: Path, provider: FakeProvider
) -> None:
    provider.delay = 0.3
    with service_process(data_dir, PROVIDER_KEY=PROVIDER_KEY) as service:
        with httpx2.Client(base_url=service.url, timeout=30) as http:
            user = ApiUser(http)
            model = provider_model(user, provider)
            user.worker(maxConcurrency=10)
            ids = fill(user, model, 50)
            eventually(lambda: len(provider.requests) >= 15)
            assert service.end(signal.SIGTERM) == 0
            asked = len(provider.requests)
            service.start()
            jobs = all_ended(user, ids, seconds=60)
        assert {job["status"] for job in jobs.values()} == {"PROCESSED"}
        assert {job["attempts"] for job in jobs.values()} == {1}
        # Calls that ran when it was told to stop were let finish.
        assert len(provider.requests) == 50
        assert asked <= 50


def test_two_processes_on_one_directory_are_told_so(data_dir: Path) -> None:
    with service_process(data_dir) as service:
        assert service.process is not None
        second = ServiceProcess(data_dir)
        second.spawn()
        assert second.process is not None
        assert second.process.wait(20) == 2
        message = second.log.read_text()
        assert str(data_dir) in message.replace("\n", "")
        assert str(service.process.pid) in message
        assert "Traceback" not in message
        assert service.is_ready()


def test_a_database_that_dies_is_restarted_and_nothing_is_lost(
    tmp_path: Path, provider: FakeProvider
) -> None:
    provider.delay = 0.3
    with EmbeddedDatabase(tmp_path / "database") as database:
        # Longer than a restart takes on a busy machine.
        settings = make_settings(tmp_path / "server", lease_seconds=30)
        keys = {"PROVIDER_KEY": PROVIDER_KEY}
        connection_string = database.connection_string
        with (
            live_server(settings, connection_string, keys) as server,
            httpx2.Client(base_url=server.url, timeout=60) as http,
        ):
            user = ApiUser(http)
            model = provider_model(user, provider)
            user.worker(maxConcurrency=20)
            ids = fill(user, model, 100)
            eventually(lambda: len(provider.requests) >= 30)
            child = _child_of(database)
            os.kill(child, signal.SIGKILL)
            eventually(lambda: database.restarts >= 1 and database.alive)
            jobs = all_ended(user, ids, seconds=60)
        assert {job["status"] for job in jobs.values()} == {"PROCESSED"}
        # Every answer was stored, so no call was made a second time.
        assert len(provider.requests) == 100


def test_more_workers_than_threads_share_them(
    database: str, tmp_path: Path
) -> None:
    settings = make_settings(tmp_path, num_llm_workers=1)
    with (
        live_server(settings, database, {}) as server,
        httpx2.Client(base_url=server.url, timeout=30) as http,
    ):
        users = [ApiUser(http) for _ in range(3)]
        for user in users:
            user.worker()
        for user in users:
            job = user.job(user.model(), user.prompt())
            assert user.ended(job["jobId"])["status"] == "PROCESSED"


def _child_of(database: EmbeddedDatabase) -> int:
    process = database._child.process  # type: ignore[union-attr]
    return int(process.pid)


@pytest.mark.long
def test_answers_survive_a_database_that_stays_away(
    tmp_path: Path, provider: FakeProvider
) -> None:
    """They wait in the spool, and the next process stores them."""
    provider.holds = True
    database = EmbeddedDatabase(tmp_path / "database")
    database.start()
    settings = make_settings(
        tmp_path / "server", lease_seconds=60, db_timeout_seconds=1.5
    )
    keys = {"PROVIDER_KEY": PROVIDER_KEY}
    try:
        with live_server(settings, database.connection_string, keys) as server:
            with httpx2.Client(base_url=server.url, timeout=60) as http:
                user = ApiUser(http)
                model = provider_model(user, provider)
                user.worker(maxConcurrency=10)
                ids = fill(user, model, 10)
                eventually(lambda: provider.running == 10, seconds=60)
                database.stop()
                unavailable = http.get("/jobs", headers=ADMIN)
                assert unavailable.status_code == 503
                assert "Retry-After" in unavailable.headers
                assert http.get("/health/ready").status_code == 503
                assert http.get("/health").status_code == 200
            provider.holds = False
            spool = tmp_path / "server" / "spool"
            eventually(
                lambda: len(spooled(spool)) == 10,
                seconds=30,
            )
        database.start()
        with (
            live_server(settings, database.connection_string, keys) as server,
            httpx2.Client(base_url=server.url, timeout=60) as http,
        ):
            user.http = http
            jobs = all_ended(user, ids, seconds=30)
            assert {job["status"] for job in jobs.values()} == {"PROCESSED"}
            assert len(provider.requests) == 10
            eventually(lambda: not spooled(spool))
    finally:
        database.stop()
