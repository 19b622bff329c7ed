"""What happens to jobs when their provider misbehaves."""

import time

import pytest

from provider_simulator.running import Simulator
from tests.integration.test_providers import simulated
from tests.support.api_user import ADMIN, ApiUser, Json
from tests.support.live_server import free_port
from tests.support.waiting import eventually

QUICK = {
    "timeout": {"total": 2},
    "retry": {"minWait": 0.1, "maxWait": 1},
    "circuitBreaker": {"recoveryTimeout": 1},
}


def submit(user: ApiUser, model: str, count: int) -> None:
    prompt = user.prompt()
    jobs = [
        user.job_body(model, prompt, requestData={"n": n})
        for n in range(count)
    ]
    user.post("/jobs/batch", {"jobs": jobs})


def counts(user: ApiUser) -> Json:
    found: Json = user.get("/jobs/summary")
    return found


def all_processed(user: ApiUser, count: int) -> bool:
    found = counts(user)
    assert found["ERROR_PROCESSING"] == 0
    return bool(found["PROCESSED"] == count)


def health(user: ApiUser, model: str) -> Json:
    (found,) = [
        each
        for each in user.get("/models", limit=10_000)
        if each["name"] == model
    ]
    path = f"/models/{found['model_id']}/health"
    answer: Json = user.request("GET", path, 200, headers=ADMIN)
    return answer


@pytest.mark.timing
def test_failures_of_all_kinds_lose_nothing(
    user: ApiUser, simulator: Simulator
) -> None:
    kinds = ("server_error", "overloaded", "reset", "truncated")
    simulator.configure(
        latency_ms=20,
        failures=dict.fromkeys((*kinds, "invalid_json"), 0.02),
    )
    model = simulated(user, simulator, resilience=QUICK)
    submit(user, model, 300)
    user.worker(maxConcurrency=50)
    eventually(lambda: all_processed(user, 300), seconds=60)
    jobs = user.get("/jobs", limit=300)
    assert {job["responseData"]["echo"]["n"] for job in jobs} == {*range(300)}
    failed = sum(job["failures"] for job in jobs)
    assert failed > 5
    # Nothing was asked more often than it failed.
    assert simulator.stats()["requests"] == 300 + failed


def test_a_rate_limit_burns_no_attempt(
    user: ApiUser, simulator: Simulator
) -> None:
    simulator.configure(requests_per_second=40)
    model = simulated(user, simulator, resilience=QUICK)
    submit(user, model, 120)
    user.worker(maxConcurrency=50)
    eventually(lambda: all_processed(user, 120), seconds=60)
    jobs = user.get("/jobs", limit=120)
    assert {(job["attempts"], job["failures"]) for job in jobs} == {(1, 0)}
    # The model is left alone for as long as the provider asks.
    assert simulator.stats()["requests"] < 120 * 4


@pytest.mark.timing
def test_a_provider_that_is_down_is_left_alone_until_it_is_back(
    user: ApiUser, simulator: Simulator
) -> None:
    model = simulated(user, simulator)
    simulator.fail_for(2)
    down_until = time.monotonic() + 2
    submit(user, model, 200)
    user.worker(maxConcurrency=50)

    def is_open() -> bool:
        found = health(user, model)
        return not found["available"] and bool(found["processes"])

    eventually(is_open, seconds=10)
    while time.monotonic() < down_until:
        found = counts(user)
        assert found["ERROR_PROCESSING"] == found["PROCESSED"] == 0
        time.sleep(0.1)
    calls_while_down = simulator.stats()["requests"]
    # What was under way, then a trial now and then: otherwise thousands.
    assert calls_while_down <= 50 * 2
    eventually(lambda: all_processed(user, 200), seconds=15)
    assert time.monotonic() - down_until < 6
    eventually(lambda: health(user, model)["available"], seconds=10)
    assert health(user, model)["failed"]["PROVIDER_ERROR"] >= 5


def test_what_waits_for_one_provider_does_not_hold_up_another(
    user: ApiUser,
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    down = user.model(sdk="OpenAI", endpoint=nobody, key="PROVIDER-KEY")
    submit(user, down, 100)
    user.worker(maxConcurrency=10, maxItemsPerBatch=10)
    eventually(lambda: not health(user, down)["available"], seconds=10)
    up = user.model()
    submit(user, up, 20)
    eventually(lambda: counts(user)["PROCESSED"] == 20, seconds=10)
    found = counts(user)
    # Some may just be claimed, for a trial call.
    assert found["PENDING"] + found["PROCESSING"] == 100


def test_a_bulkhead_is_one_for_all_workers_of_a_process(
    user: ApiUser, simulator: Simulator
) -> None:
    simulator.configure(latency_ms=30)
    model = simulated(
        user, simulator, resilience={"bulkhead": {"maxConcurrency": 3}}
    )
    submit(user, model, 60)
    for _ in range(2):
        user.worker(maxConcurrency=20)
    eventually(lambda: all_processed(user, 60), seconds=30)
    assert simulator.stats()["open_max"] == 3


def test_a_provider_that_hangs_is_given_up_in_time(
    user: ApiUser, simulator: Simulator
) -> None:
    simulator.script(
        {"pattern": ".", "failure": "hang", "times": 1},
    )
    model = simulated(
        user, simulator, resilience={**QUICK, "timeout": {"total": 0.5}}
    )
    user.worker()
    job = user.ended(user.job(model, user.prompt())["jobId"])
    assert (job["status"], job["failures"]) == ("PROCESSED", 1)


def test_the_same_call_is_not_paid_for_twice(
    user: ApiUser, simulator: Simulator
) -> None:
    """The answer was made and got lost: the provider knows the key."""
    simulator.script(
        {"pattern": ".", "failure": "reset", "times": 1},
    )
    model = simulated(user, simulator, resilience=QUICK)
    user.worker()
    job = user.ended(user.job(model, user.prompt())["jobId"])
    assert (job["status"], job["failures"]) == ("PROCESSED", 1)
    assert simulator.stats()["duplicates"] == 1
