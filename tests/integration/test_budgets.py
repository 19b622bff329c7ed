"""Budgets of clients, models and runs, through a running server."""

from functools import partial
from typing import Any

import pytest

from provider_simulator.running import Simulator
from tests.integration.test_usage import model
from tests.support.api_user import ADMIN, ApiUser, Json
from tests.support.waiting import eventually


@pytest.fixture
def priced(simulator: Simulator) -> Simulator:
    """Each call costs 0.20; at most, 0.75 is reserved for it."""
    usage = {"input_tokens": 100, "output_tokens": 50}
    simulator.script({"text": "{}", "usage": usage})
    return simulator


def give(user: ApiUser, **budget: Any) -> None:
    path = f"/clients/{user.client_id}"
    body = {"budget": {"amount": 1.5, "period": "total", **budget}}
    user.request("PATCH", path, 200, json=body, headers=ADMIN)
    # Running processes know of it within two seconds.
    eventually(lambda: user.get("/budgets"))


def jobs(user: ApiUser, name: str, count: int) -> list[Json]:
    prompt = user.prompt()
    ids = [user.job(name, prompt)["jobId"] for _ in range(count)]
    user.worker(maxConcurrency=1)
    return [user.ended(job_id) for job_id in ids]


def budget_of(user: ApiUser) -> Json:
    (budget,) = user.get("/budgets")
    return dict(budget)


def is_settled(user: ApiUser, spent: float) -> bool:
    budget = budget_of(user)
    return bool(budget["spent"] == spent and budget["reserved"] == 0)


def test_jobs_beyond_the_budget_end_with_a_clear_error(
    user: ApiUser, priced: Simulator
) -> None:
    give(user, onExhausted="fail")
    name = model(user, priced)
    ended = jobs(user, name, 7)
    done = [job for job in ended if job["status"] == "PROCESSED"]
    failed = [job for job in ended if job["status"] != "PROCESSED"]
    # The bound of a fifth call does not fit.
    assert len(done) == 4
    assert int(priced.stats()["requests"]) == 4
    for job in failed:
        assert job["errorData"]["errorType"] == "BUDGET_EXHAUSTED"
        assert "Raise it" in job["errorData"]["message"]
    eventually(partial(is_settled, user, 0.8))
    budget = budget_of(user)
    assert budget["remaining"] == 0.7
    assert budget["resetsAt"] is None
    assert (budget["scope"], budget["ownerId"]) == ("client", user.client_id)


def test_jobs_wait_for_the_next_period(
    user: ApiUser, priced: Simulator
) -> None:
    give(user, amount=0.5, period="day")
    name = model(user, priced)
    job_id = user.job(name, user.prompt())["jobId"]
    user.worker()

    def waits() -> bool:
        job = user.get(f"/jobs/{job_id}")
        until = (job.get("waitingFor") or {}).get("until")
        return job["status"] == "PENDING" and until is not None

    eventually(waits)
    assert budget_of(user)["resetsAt"] is not None
    assert priced.stats()["requests"] == 0
    assert user.get(f"/jobs/{job_id}")["attempts"] == 0


def test_a_budget_of_a_model_is_for_all_clients(
    user: ApiUser, priced: Simulator
) -> None:
    budget = {"amount": 0.9, "period": "total", "onExhausted": "fail"}
    name = model(user, priced, budget=budget)
    ended = jobs(user, name, 2)
    assert [job["status"] for job in ended] == [
        "PROCESSED",
        "ERROR_PROCESSING",
    ]
    assert user.get("/budgets") == []
    found = user.request("GET", "/budgets", 200, headers=ADMIN)
    assert name in {each["name"] for each in found}


def test_a_budget_needs_a_price_in_its_currency(
    user: ApiUser, priced: Simulator
) -> None:
    give(user, currency="EUR")
    (job,) = jobs(user, model(user, priced), 1)
    assert job["errorData"]["errorType"] == "NO_PRICE"
    assert priced.stats()["requests"] == 0


def test_a_budget_can_be_taken_away(user: ApiUser, priced: Simulator) -> None:
    give(user, amount=0, onExhausted="fail")
    path = f"/clients/{user.client_id}"
    body = {"budget": None}
    client = user.request("PATCH", path, 200, json=body, headers=ADMIN)
    assert "budget" not in client
    eventually(lambda: user.get("/budgets") == [])
    (job,) = jobs(user, model(user, priced), 1)
    assert job["status"] == "PROCESSED"


def test_a_run_fails_before_it_costs_more(
    user: ApiUser, priced: Simulator
) -> None:
    name, prompt = model(user, priced), user.prompt()
    user.worker()
    run = user.post(
        "/runs",
        {
            "initialWorkingPromptIds": [prompt],
            "evalPromptId": prompt,
            "evalModel": name,
            "metaPromptId": prompt,
            "metaModel": name,
            "workingModels": [name],
            "maxIterations": 20,
            "requestData": {"n": 1},
            "maxCost": {"amount": 2},
        },
    )

    def has_ended() -> bool:
        found = user.get(f"/runs/{run['runId']}")
        return bool(found["status"] != "RUNNING")

    eventually(has_ended, seconds=30)
    calls = int(priced.stats()["requests"])
    # Each of them costs 0.20, and the bound of the last must fit.
    assert 1 <= calls * 0.2 <= 2
    assert user.get(f"/runs/{run['runId']}")["status"] == "FAILED"
