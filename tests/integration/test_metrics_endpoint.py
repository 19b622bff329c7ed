"""What Prometheus finds at `/metrics` of a running service."""

import time
from collections.abc import Iterator

import httpx2
import pytest
from bson import ObjectId

from api.services.monitoring.collectors import MOST_SHOWN
from provider_simulator.running import Simulator
from tests.conftest import PROVIDER_KEY
from tests.integration.test_providers import simulated
from tests.integration.test_resilience import QUICK, all_processed, submit
from tests.support.api_user import ApiUser, unique
from tests.support.fake_provider import FakeProvider
from tests.support.live_server import (
    DOCS_SECRET,
    LiveServer,
    live_server,
    make_settings,
)
from tests.support.metrics import TOKEN, Scrape, scrape
from tests.support.waiting import eventually

PROBE = "metasync_queue_state_age_seconds"


@pytest.fixture(scope="module")
def watched(
    database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx2.Client]:
    """A service for the tests that count what is of their own model."""
    settings = make_settings(
        tmp_path_factory.mktemp("watched"), metrics_token=TOKEN
    )
    keys = {"PROVIDER_KEY": PROVIDER_KEY}
    with (
        live_server(settings, database, keys) as running,
        httpx2.Client(base_url=running.url, timeout=60) as http,
    ):
        yield http


@pytest.fixture
def one(watched: httpx2.Client) -> Iterator[ApiUser]:
    """One of the clients of that service."""
    user = ApiUser(watched)
    yield user
    user.stop_workers()


def until(
    http: httpx2.Client, name: str, value: float, **labels: str
) -> Scrape:
    """Scrape until a sum is reached: counts are some seconds old."""

    def look() -> Scrape | None:
        page = scrape(http)
        return page if page.total(name, **labels) == value else None

    return eventually(look, seconds=20, what=f"{name} {labels} {value}")


def test_a_jobs_way_is_counted(own: ApiUser) -> None:
    model, prompt = own.model(), own.prompt()
    own.worker()
    jobs = [own.job(model, prompt, operation="greet") for _ in range(7)]
    ended = [own.ended(job["jobId"]) for job in jobs]
    page = until(own.http, "metasync_jobs", 7, model=model, status="PROCESSED")
    of_jobs = {"model": model, "operation": "greet", "outcome": "processed"}
    assert page.total("metasync_jobs_finished_total", **of_jobs) == 7
    assert page.total("metasync_jobs_claimed_total") == 7
    assert page.total("metasync_results_stored_total") == 7
    assert page.total("metasync_results_not_taken_total") == 0
    assert page.total("metasync_job_turnaround_seconds_count") == 7
    assert page.total("metasync_claim_seconds_count") >= 1
    assert 0 < page.total("metasync_store_seconds_sum") < 10
    calls = {"model": model, "provider": "test", "outcome": "ok"}
    assert page.total("metasync_llm_calls_total", **calls) == 7
    assert page.total("metasync_llm_call_seconds_count", model=model) == 7
    assert page.total("metasync_workers", status="running") == 1
    for kind in ("input", "output"):
        used = page.total(
            "metasync_llm_tokens_total", model=model, direction=kind
        )
        assert used == sum(
            job["processingMetrics"][f"{kind}Tokens"] for job in ended
        )
    cost = page.total("metasync_llm_cost_total", model=model, currency="USD")
    assert cost == pytest.approx(
        sum(job["processingMetrics"]["totalCost"] for job in ended)
    )


def test_what_waits_is_counted_and_its_age_told(own: ApiUser) -> None:
    model, prompt = own.model(), own.prompt()
    by_id = own.get("/models")[0]["model_id"]
    submitted = time.time()
    for named in (model, by_id):
        own.job(named, prompt, operation="wait")
    page = until(own.http, "metasync_jobs", 2, model=model, status="PENDING")
    assert page.values("metasync_jobs", "model") == {model}
    of_operation = {"operation": "wait", "status": "PENDING"}
    assert page.total("metasync_jobs_by_operation", **of_operation) == 2
    running = page.found("metasync_jobs", model=model, status="PROCESSING")
    assert [sample.value for sample in running] == [0]
    age = page.total("metasync_oldest_waiting_job_seconds", model=model)
    assert 0 < age <= time.time() - submitted + 0.01
    assert page.total(PROBE, part="active") < 10


def test_calls_under_way_are_shown(one: ApiUser, simulator: Simulator) -> None:
    simulator.configure(latency_ms=3000)
    model = simulated(one, simulator)
    submit(one, model, 5)
    one.worker()
    eventually(lambda: simulator.stats()["open"] == 5)
    page = scrape(one.http)
    assert page.total("metasync_llm_calls_in_flight", model=model) == 5
    running = {"model": model, "status": "PROCESSING"}
    assert page.total("metasync_jobs", **running) == 5
    eventually(lambda: all_processed(one, 5))
    page = until(one.http, "metasync_llm_calls_in_flight", 0, model=model)
    slow = {"model": model, "provider": "OpenAI"}
    assert page.total("metasync_llm_call_seconds_sum", **slow) > 15
    quick = page.total("metasync_llm_call_seconds_bucket", le="2.5", **slow)
    assert quick == 0


def test_failures_and_retries_are_counted(
    one: ApiUser, simulator: Simulator
) -> None:
    model = simulated(one, simulator, resilience=QUICK)
    simulator.script({"status": 500, "times": 3}, {"json": {"a": 1}})
    submit(one, model, 10)
    one.worker()
    eventually(lambda: all_processed(one, 10))
    page = scrape(one.http)
    failed = {"model": model, "outcome": "PROVIDER_ERROR"}
    assert page.total("metasync_llm_calls_total", **failed) == 3
    good = {"model": model, "outcome": "ok"}
    assert page.total("metasync_llm_calls_total", **good) == 10
    again = {"model": model, "reason": "failure"}
    assert page.total("metasync_jobs_put_back_total", **again) == 3
    assert page.total("metasync_jobs_finished_total", model=model) == 10


def test_a_breaker_that_opens_is_shown(
    one: ApiUser, simulator: Simulator
) -> None:
    model = simulated(one, simulator)
    simulator.fail_for(60)
    submit(one, model, 20)
    one.worker()
    page = until(one.http, "metasync_breaker_state", 2, model=model)
    assert page.total("metasync_jobs_finished_total", model=model) == 0


def test_a_rate_limit_is_shown(one: ApiUser, simulator: Simulator) -> None:
    model = simulated(one, simulator)
    simulator.script({"status": 429, "retry_after": 20})
    submit(one, model, 20)
    one.worker()

    def paused() -> Scrape | None:
        page = scrape(one.http)
        wait = page.total("metasync_model_paused_seconds", model=model)
        return page if 10 < wait <= 20 else None

    page = eventually(paused)
    limit = page.total("metasync_llm_concurrency_limit", model=model)
    assert 1 <= limit < 20
    refused = {"model": model, "outcome": "RATE_LIMITED"}

    def has_refused() -> bool:
        # As many as were under way when the first answer came.
        return (
            scrape(one.http).total("metasync_llm_calls_total", **refused) > 0
        )

    eventually(has_refused)
    deferred = {"model": model, "reason": "deferred"}
    name = "metasync_jobs_put_back_total"
    until(one.http, name, 20, **deferred)
    assert page.total("metasync_llm_tokens_total", model=model) == 0


def test_a_job_that_fails_is_counted(one: ApiUser) -> None:
    model = one.model(sdk="OpenAI", key="KEY-NOT-SET")
    one.worker()
    job = one.ended(one.job(model, one.prompt())["jobId"])
    assert job["status"] == "ERROR_PROCESSING"
    page = scrape(one.http)
    of_jobs = {"model": model, "outcome": "error"}
    assert page.total("metasync_jobs_finished_total", **of_jobs) == 1


def test_streams_have_a_time_to_first_token(
    one: ApiUser, provider: FakeProvider
) -> None:
    model = one.model(sdk="OpenAI", endpoint=provider.url, key="PROVIDER-KEY")
    body = {"userPrompt": "hi", "model": model}
    provider.pieces = ["a", "b", "c"]
    provider.piece_delay = 0.2
    answer = one.http.post("/stream", headers=one.headers, json=body)
    assert answer.text == "abc"
    name = "metasync_llm_time_to_first_token_seconds"
    page = until(one.http, f"{name}_count", 1, model=model)
    first = page.total(f"{name}_sum", model=model)
    whole = page.total("metasync_llm_call_seconds_sum", model=model)
    assert 0 < first < whole
    assert page.total("metasync_llm_calls_total", model=model) == 1
    assert page.total("metasync_llm_tokens_total", model=model) == 7


def test_requests_are_counted_by_the_templates_of_their_paths(
    own: ApiUser,
) -> None:
    before = scrape(own.http)
    for n in range(50):
        own.get(f"/jobs/{n:024x}", 404)
        own.http.get(f"/nothing/{unique('x')}")
        own.http.get(f'/jobs/"{{}}\\%0a{n}', headers=own.headers)
        own.http.request("PROPFIND", f"/jobs/{n}")
    own.http.get("/%00%ff/../..//x?y=%22")
    own.http.delete("/health")
    page = scrape(own.http)
    name = "metasync_http_requests_total"
    one = {"route": "/jobs/{job_id}", "method": "GET", "status": "404"}
    assert page.total(name, **one) >= 50
    assert page.total(name, route="none", status="404") >= 50
    of_health = {"route": "/health", "method": "DELETE", "status": "405"}
    assert page.total(name, **of_health) == 1
    templates = {route for route in page.values(name, "route") if "/" in route}
    assert templates <= set(described_paths(own))
    new = len(page.samples) - len(before.samples)
    assert new < 150
    began = before.total("metasync_http_request_seconds_count")
    counted = page.total("metasync_http_request_seconds_count")
    assert counted - began > 150
    assert page.total("metasync_http_requests_in_progress") == 1


def described_paths(user: ApiUser) -> list[str]:
    """List the paths that the service describes."""
    answer = user.http.get("/openapi.json", auth=("user", DOCS_SECRET))
    return [*answer.json()["paths"], "/openapi.json"]


def test_names_that_others_choose_stay_few_and_harmless(own: ApiUser) -> None:
    model, prompt = own.model(), own.prompt()
    hostile = ['a"b', "back\\slash", "new\nline", "x" * 250, "}{", "ключ 😀"]
    names = [*hostile, *(f"operation-{n}" for n in range(200))]
    jobs = [own.job_body(model, prompt, operation=name) for name in names]
    own.post("/jobs/batch", {"jobs": jobs})
    own.worker()
    eventually(lambda: all_processed(own, len(names)), seconds=30)
    name = "metasync_jobs_by_operation"
    page = until(own.http, name, len(names), status="PROCESSED")
    shown = page.values(name, "operation")
    assert len(shown) == MOST_SHOWN + 1
    assert "other" in shown
    counted = "metasync_jobs_finished_total"
    page = until(own.http, counted, len(names))
    assert len(page.values(counted, "operation")) <= 151
    for label in shown | page.values(counted, "operation"):
        assert len(label) <= 80
        assert label.isprintable()


@pytest.mark.long
def test_many_models_share_one_series(own: ApiUser) -> None:
    prompt, count = own.prompt(), 60
    models = [own.model() for _ in range(count)]
    jobs = [own.job_body(model, prompt) for model in models]
    own.post("/jobs/batch", {"jobs": jobs})
    own.worker()
    eventually(lambda: all_processed(own, count), seconds=30)
    page = until(own.http, "metasync_jobs", count, status="PROCESSED")
    assert len(page.values("metasync_jobs", "model")) == MOST_SHOWN + 1
    calls = "metasync_llm_calls_total"
    page = until(own.http, calls, count)
    assert len(page.values(calls, "model")) == 51
    assert page.total(calls, model="other", provider="other") == count - 50
    state = page.values("metasync_breaker_state", "model")
    assert len(state) == 51


def test_processes_in_one_program_count_apart(
    own: ApiUser, http: httpx2.Client
) -> None:
    model = own.model()
    own.worker()
    own.ended(own.job(model, own.prompt())["jobId"])
    assert scrape(own.http).total("metasync_llm_calls_total", model=model) == 1
    assert scrape(http).total("metasync_llm_calls_total", model=model) == 0


async def test_jobs_of_dead_workers_and_answers_on_disk_are_counted(
    fresh: LiveServer, own: ApiUser
) -> None:
    model, prompt = own.model(), own.prompt()
    for attempts in (1, 99):
        job = own.job(model, prompt)
        dead = {
            "status": "PROCESSING",
            "attempts": attempts,
            "leaseToken": f"of-the-dead-{attempts}",
            "leaseProcess": "dead",
            "leaseExpiresAt": 1,
        }
        jobs = fresh.application.clients.database()["jobs"]
        where = {"_id": ObjectId(job["jobId"])}
        await jobs.update_one(where, {"$set": dead})
    await fresh.application.clients.close()
    name = "metasync_leases_taken_over_total"
    page = until(own.http, name, 1, outcome="returned")
    assert page.total(name, outcome="given_up") == 1
    assert page.total("metasync_spool_files") == 0
    spool = fresh.application.worker_parts.spool.file("worker")
    spool.write([])
    assert scrape(own.http).total("metasync_spool_files") == 1
    spool.clear()
