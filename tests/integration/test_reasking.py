"""Answers that cannot be used are asked for again, with real processes."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from provider_simulator.running import Simulator, running_simulator
from tests.integration.test_ledger import (
    a_service,
    are_left,
    model,
    of_ledger,
    same,
    settings,
)
from tests.support.api_user import ApiUser, Json
from tests.support.waiting import eventually

COUNT = 300
SCHEMA = {
    "type": "object",
    "properties": {"label": {"enum": ["yes", "no"]}},
    "required": ["label"],
}


@pytest.fixture(scope="module")
def vendors() -> Iterator[Simulator]:
    with running_simulator(process=True) as running:
        yield running


@pytest.fixture
def simulator(vendors: Simulator) -> Iterator[Simulator]:
    vendors.script()
    vendors.reset_stats()
    yield vendors
    vendors.configure(defect_share=0, incurable_share=0, cured_share=1)


@pytest.fixture
def user(http: httpx2.Client) -> Iterator[ApiUser]:
    user = ApiUser(http)
    user.worker(maxConcurrency=50)
    yield user
    user.stop_workers()


def simulated(user: ApiUser, simulator: Simulator, **fields: Any) -> str:
    return user.model(
        sdk="OpenAI",
        endpoint=simulator.base_urls["OpenAI"],
        key="PROVIDER-KEY",
        cost={"tokens": 1000, "currency": "USD", "input": 1, "output": 2},
        **fields,
    )


def done(user: ApiUser, model: str, **fields: Any) -> Json:
    body = {"responseSchema": SCHEMA, "temperature": 0, **fields}
    return user.ended(user.job(model, user.prompt(), **body)["jobId"])


def test_a_model_that_is_told_answers_right(
    user: ApiUser, simulator: Simulator
) -> None:
    simulator.configure(defect_share=1)
    model = simulated(user, simulator)
    jobs = [
        done(
            user,
            model,
            requestData={"n": number},
            retryOnInvalid={"maxReasks": 1},
        )
        for number in range(8)
    ]
    assert {job["status"] for job in jobs} == {"PROCESSED"}
    assert all(job["responseData"]["label"] for job in jobs)
    kinds = {job["unusableAnswers"][0]["errorType"] for job in jobs}
    assert kinds >= {"SCHEMA_MISMATCH", "JSON_PARSING_ERROR"}
    for job in jobs:
        assert job["attempts"] == 1
        (first,) = job["unusableAnswers"]
        assert first["model"] == model
        assert first["cost"] > 0
        # The job's cost is that of both answers.
        assert job["processingMetrics"]["totalCost"] > first["cost"]
        assert "answeredBy" not in job
    assert simulator.stats()["requests"] == 16


def test_the_ladder_is_climbed_and_all_is_kept(
    user: ApiUser, simulator: Simulator
) -> None:
    simulator.configure(incurable_share=1)
    first = simulated(user, simulator)
    second = user.model(sdk="test")
    policy = {"maxReasks": 1, "ladder": [second]}
    job = done(
        user,
        first,
        retryOnInvalid=policy,
        responseSchema={"type": "object", "required": ["result"]},
    )
    assert job["retryOnInvalid"] == policy
    assert [each["model"] for each in job["unusableAnswers"]] == [first] * 2
    assert job["status"] == "PROCESSED"
    assert job["answeredBy"] == second
    failed = done(user, first, retryOnInvalid={"maxReasks": 2})
    assert failed["status"] == "ERROR_PROCESSING"
    # It gave the same answer twice, so it was not asked a third time.
    assert len(failed["unusableAnswers"]) == 2
    last = failed["unusableAnswers"][-1]
    assert failed["errorData"]["errorType"] == last["errorType"]
    again = user.request(
        "PATCH",
        f"/jobs/{failed['jobId']}",
        200,
        json={"status": "PENDING"},
    )
    assert "unusableAnswers" not in again


def test_without_the_policy_the_first_answer_ends_the_job(
    user: ApiUser, simulator: Simulator
) -> None:
    simulator.configure(defect_share=1)
    job = done(user, simulated(user, simulator))
    assert job["status"] == "ERROR_PROCESSING"
    assert "unusableAnswers" not in job


def test_the_models_of_a_ladder_must_exist(
    user: ApiUser, simulator: Simulator
) -> None:
    model, prompt = simulated(user, simulator), user.prompt()
    body = user.job_body(
        model, prompt, retryOnInvalid={"ladder": ["no such model"]}
    )
    assert "no such model" in str(user.post("/jobs", body, 400))
    body = user.job_body(model, prompt, retryOnInvalid={"maxReasks": 6})
    assert "maxReasks" in str(user.post("/jobs", body, 422))


@pytest.mark.long
def test_few_errors_for_few_calls(user: ApiUser, simulator: Simulator) -> None:
    """12 % of the inputs have defects, 2 % of all cannot be cured."""
    count, incurable = 2000, 0.02
    simulator.configure(
        defect_share=0.10, incurable_share=incurable, cured_share=0.95
    )
    model, prompt = simulated(user, simulator), user.prompt()
    jobs = [
        user.job_body(
            model,
            prompt,
            requestData={"n": number},
            responseSchema=SCHEMA,
            temperature=0,
            retryOnInvalid={"maxReasks": 2},
        )
        for number in range(count)
    ]
    user.post("/jobs/batch", {"jobs": jobs})

    def counts() -> Json:
        found: Json = user.get("/jobs/summary")
        return found

    eventually(
        lambda: counts()["PROCESSED"] + counts()["ERROR_PROCESSING"] == count,
        seconds=120,
    )
    failed = user.get("/jobs", status="ERROR_PROCESSING", limit=200)
    hopeless = [
        job
        for job in failed
        if len({each["text"] for each in job["unusableAnswers"]}) == 1
    ]
    assert 0.5 * incurable <= len(hopeless) / count <= 1.5 * incurable
    assert len(failed) <= 1.1 * len(hopeless)
    assert simulator.stats()["requests"] <= 1.15 * count
    # The ledger has each of them once.
    (row,) = user.get("/usage", groupBy="model")["groups"]
    assert row["requests"] == simulator.stats()["requests"]


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_crash_pays_for_nothing_twice(data_dir: Path) -> None:
    with (
        running_simulator(
            settings(latency_ms=100, defect_share=0.6, cured_share=0.5)
        ) as simulator,
        a_service(data_dir) as (service, user),
    ):
        asked = model(user, simulator, "OpenAI")
        policy = {"maxReasks": 2, "ladder": [model(user, simulator, "Gemini")]}
        prompt = user.prompt()
        jobs = [
            user.job_body(
                asked,
                prompt,
                requestData={"n": number},
                responseSchema=SCHEMA,
                retryOnInvalid=policy,
            )
            for number in range(COUNT)
        ]
        user.post("/jobs/batch", {"jobs": jobs})
        user.worker(maxConcurrency=20)
        for left in (COUNT * 3 // 4, COUNT // 2, COUNT // 4):
            eventually(partial(are_left, user, left), seconds=60)
            service.kill()
            service.start()
        eventually(partial(are_left, user, 0), seconds=120)
        ended = user.get("/jobs", limit=1000)
        answers = sum(
            len(job.get("unusableAnswers", ()))
            + (job["status"] == "PROCESSED")
            for job in ended
        )
        assert answers > 1.3 * COUNT
        # What was under way is asked again with the same key.
        invoice = simulator.invoice()
        billed = sum(each["requests"] for each in invoice["models"].values())
        assert billed == answers
        http = user.http
        eventually(
            lambda: same(of_ledger(http), simulator.invoice()), seconds=60
        )
