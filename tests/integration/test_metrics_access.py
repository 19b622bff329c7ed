"""Who may scrape, where, and what is shown without a database."""

from pathlib import Path

import httpx2
import pytest

import main_app
from config import VERSION, ModelKeys
from tests.support.api_user import ADMIN, ApiUser
from tests.support.live_server import (
    LiveServer,
    free_port,
    live_server,
    make_settings,
)
from tests.support.metrics import TOKEN, Scrape, scrape
from tests.support.processes import ServiceProcess
from tests.support.waiting import eventually


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": f"Bearer {TOKEN}"}, 200),
        ({"Authorization": f"bearer  {TOKEN}"}, 200),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Bearer"}, 401),
        ({"Authorization": TOKEN}, 401),
        (ADMIN, 200),
        ({"admin-api-key": ADMIN["admin_api_key"]}, 200),
        ({"admin_api_key": "wrong"}, 401),
        ({"admin_api_key": TOKEN}, 401),
        ({"admin_api_key": "wrong", "Authorization": f"Bearer {TOKEN}"}, 401),
        ({**ADMIN, "Authorization": "Bearer wrong"}, 401),
        ({**ADMIN, "admin-api-key": "wrong"}, 401),
    ],
)
def test_who_may_scrape(
    fresh: LiveServer, headers: dict[str, str], status: int
) -> None:
    answer = httpx2.get(f"{fresh.url}/metrics", headers=headers, timeout=60)
    assert answer.status_code == status
    if status == 200:
        kind = "text/plain; version=0.0.4; charset=utf-8"
        assert answer.headers["content-type"] == kind
    assert TOKEN not in answer.text


def test_without_a_token_only_the_administrator_may(
    http: httpx2.Client, user: ApiUser
) -> None:
    refused = "The metrics token or the admin API key is required"
    for headers in ({}, user.headers):
        answer = http.get("/metrics", headers=headers)
        assert (answer.status_code, answer.json()) == (
            401,
            {"detail": refused},
        )
    for token in ("None", "null"):
        headers = {"Authorization": f"Bearer {token}"}
        assert http.get("/metrics", headers=headers).status_code == 401
    info = scrape(http).total("metasync_build_info", version=VERSION)
    assert info == 1


def test_metrics_can_be_public(database: str, tmp_path: Path) -> None:
    settings = make_settings(tmp_path, metrics_public=True)
    with live_server(settings, database, {}) as running:
        url = f"{running.url}/metrics"
        assert httpx2.get(url).status_code == 200
        wrong = {"admin_api_key": "wrong"}
        assert httpx2.get(url, headers=wrong).status_code == 401


async def test_a_database_that_is_away_is_no_reason_to_be_silent(
    tmp_path: Path,
) -> None:
    nobody = f"mongodb://127.0.0.1:{free_port()}"
    settings = make_settings(tmp_path, db_timeout_seconds=0.2)
    application = main_app.build(settings, ModelKeys({}), nobody)
    page = Scrape((await application.services.metrics.page()).decode())
    await application.clients.close()
    assert page.total("metasync_build_info") == 1
    assert list(page.found("metasync_jobs")) == []
    assert list(page.found("metasync_queue_state_age_seconds")) == []


def worker_process(data_dir: Path, database: str, port: int) -> ServiceProcess:
    process = ServiceProcess(
        data_dir,
        DB_CONNECTION_STRING=database,
        METRICS_PORT=str(port),
        METRICS_TOKEN=TOKEN,
    )
    process.spawn("worker")
    return process


def look(port: int) -> Scrape | None:
    url = f"http://127.0.0.1:{port}/metrics"
    headers = {"Authorization": f"Bearer {TOKEN}"}
    try:
        assert httpx2.get(url).status_code == 401
        return Scrape(httpx2.get(url, headers=headers).text)
    except httpx2.TransportError:
        return None


@pytest.mark.slow
def test_a_worker_without_an_api_has_a_port_of_its_own(
    database: str, tmp_path: Path
) -> None:
    port = free_port()
    worker = worker_process(tmp_path / "worker", database, port)
    try:
        page = eventually(lambda: look(port), seconds=30)
        assert page.total("metasync_build_info", version=VERSION) == 1
        # The queue is shown by who has the API, and so counted once.
        assert list(page.found("metasync_jobs")) == []
        second = worker_process(tmp_path / "second", database, port)
        assert second.process is not None
        assert second.process.wait(30) == 2
        assert f"METRICS_PORT {port}" in second.log.read_text()
        assert "Traceback" not in second.log.read_text()
    finally:
        assert worker.end() == 0
