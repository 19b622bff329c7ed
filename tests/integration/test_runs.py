import json
import signal
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from aiohttp import web

from tests.conftest import PROVIDER_KEY
from tests.integration.test_workers import provider_model
from tests.support.api_user import ApiUser
from tests.support.fake_provider import FakeProvider, completion, failure
from tests.support.processes import service_process
from tests.support.waiting import eventually


async def three_steps(body: dict[str, Any]) -> web.StreamResponse:
    system = body["messages"][0]["content"]
    if system.startswith("eval"):
        return completion('{"score": 1}', tokens=(10, 1))
    if system.startswith("meta"):
        asked = json.loads(body["messages"][1]["content"])
        return completion(f"{asked['original_prompts'][0]}+", tokens=(10, 1))
    return completion(json.dumps({"said": system}), tokens=(10, 1))


def run_body(
    user: ApiUser, models: list[str], **fields: Any
) -> dict[str, Any]:
    return {
        "initialWorkingPromptIds": [user.prompt("work")],
        "evalPromptId": user.prompt("eval"),
        "evalModel": models[0],
        "metaPromptId": user.prompt("meta"),
        "metaModel": models[0],
        "workingModels": models,
        "maxIterations": 3,
        "requestData": {"q": 1},
        **fields,
    }


@pytest.fixture
def models(user: ApiUser, provider: FakeProvider) -> list[str]:
    provider.handler = three_steps
    return [provider_model(user, provider), provider_model(user, provider)]


def ended(user: ApiUser, run_id: str, seconds: float = 20) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        run: dict[str, Any] = user.get(f"/runs/{run_id}")
        return run if run["status"] not in ("RUNNING", "PAUSED") else None

    return eventually(look, seconds=seconds)


def test_a_run_loops_over_models_and_iterations(
    user: ApiUser, models: list[str]
) -> None:
    body = run_body(user, models)
    made = user.post("/runs", body)
    assert made["status"] == "RUNNING"
    assert {name: made[name] for name in body} == body
    assert (made["temperature"], made["priority"]) == (0.7, 100)
    assert made["currentModelIndex"] == made["currentIteration"] == 0
    assert made["failureReason"] is None
    user.worker()
    run = ended(user, made["runId"])
    assert run["status"] == "COMPLETED"
    assert [each["model"] for each in run["modelRuns"]] == models
    for index, model_run in enumerate(run["modelRuns"]):
        iterations = model_run["iterations"]
        assert [each["iteration"] for each in iterations] == [0, 1, 2]
        prompt = body["initialWorkingPromptIds"][0]
        for each in iterations:
            assert each["workingPromptId"] == prompt
            assert each["status"] == "PROCESSED"
            assert each["evalResult"] == {"score": 1}
            assert each["processingMetrics"]["totalTokens"] == 33
            job = user.get(f"/jobs/{each['jobId']}")
            assert job["operation"] == "optimize"
            assert job["clientReference"] == {
                "runId": run["runId"],
                "modelIndex": index,
                "iteration": each["iteration"],
            }
            text = "work" + "+" * each["iteration"]
            assert job["responseData"] == {"said": text}
            prompt = each["suggestedPromptId"]
        assert user.get(f"/prompts/{prompt}")["prompt"] == "work+++"
        assert model_run["processingMetrics"]["totalTokens"] == 99
    assert run["processingMetrics"]["totalTokens"] == 198
    assert run["processingMetrics"]["totalCost"] == pytest.approx(0.18 + 0.036)
    query = {"clientReference.runId": run["runId"]}
    assert user.get("/jobs/summary", **query)["total"] == 6


def test_what_a_run_names_must_exist(
    user: ApiUser, models: list[str], http: httpx2.Client
) -> None:
    body = run_body(user, models)
    for field, word in (
        ("evalModel", "model"),
        ("metaModel", "model"),
        ("evalPromptId", "prompt"),
        ("metaPromptId", "prompt"),
    ):
        answer = user.post("/runs", {**body, field: "0" * 24}, 400)
        assert word in answer["detail"]
    theirs = {**body, "initialWorkingPromptIds": [ApiUser(http).prompt()]}
    assert "prompt" in user.post("/runs", theirs, 400)["detail"]
    changes: list[dict[str, Any]] = [
        {"maxIterations": 0},
        {"maxIterations": 101},
        {"workingModels": []},
        {"requestData": None},
        {"temperature": 2.5},
    ]
    for bad in changes:
        user.post("/runs", {**body, **bad}, 422)
    assert user.get("/runs") == []


def test_a_paused_run_starts_no_new_job(
    user: ApiUser, models: list[str], provider: FakeProvider
) -> None:
    provider.delay = 0.2
    run_id = user.post("/runs", run_body(user, models))["runId"]
    user.worker()
    eventually(lambda: provider.running == 1)
    paused = user.patch(f"/runs/{run_id}/pause", None)
    assert paused["status"] == "PAUSED"
    user.patch(f"/runs/{run_id}/pause", None, 400)
    query = {"clientReference.runId": run_id}

    def settled() -> dict[str, Any] | None:
        summary: dict[str, Any] = user.get("/jobs/summary", **query)
        return summary if summary["PROCESSED"] == summary["total"] else None

    before = eventually(settled)["total"]
    provider.delay = 0.0
    assert user.get(f"/runs/{run_id}")["status"] == "PAUSED"
    assert user.get("/jobs/summary", **query)["total"] == before
    assert user.patch(f"/runs/{run_id}/resume", None)["status"] == "RUNNING"
    run = ended(user, run_id)
    assert run["status"] == "COMPLETED"
    assert user.get("/jobs/summary", **query)["total"] == 6


def test_a_cancelled_run_cancels_its_waiting_job(
    user: ApiUser, models: list[str]
) -> None:
    run_id = user.post("/runs", run_body(user, models))["runId"]
    path = f"/runs/{run_id}"
    job_id = eventually(lambda: user.get(path)["currentJobId"])
    assert user.patch(f"{path}/cancel", None)["status"] == "CANCELLED"
    assert user.get(f"/jobs/{job_id}")["status"] == "CANCELED"
    for action in ("cancel", "pause", "resume"):
        user.patch(f"{path}/{action}", None, 400)


@pytest.mark.parametrize("step", ["work", "eval", "meta"])
def test_a_failed_step_fails_the_run_which_can_go_on_from_there(
    user: ApiUser, models: list[str], provider: FakeProvider, step: str
) -> None:
    async def failing(body: dict[str, Any]) -> web.StreamResponse:
        system = body["messages"][0]["content"]
        if system.startswith(step) and len(provider.requests) > 3:
            return failure(400, "out of order")
        return await three_steps(body)

    provider.handler = failing
    run_id = user.post("/runs", run_body(user, models))["runId"]
    user.worker()
    run = ended(user, run_id)
    assert run["status"] == "FAILED"
    assert "out of order" in run["failureReason"]
    assert "iteration 1" in run["failureReason"]
    done = run["modelRuns"][0]["iterations"][0]
    provider.handler = three_steps
    resumed = user.patch(f"/runs/{run_id}/resume", None)
    assert resumed["status"] == "RUNNING"
    assert resumed["failureReason"] is None
    run = ended(user, run_id)
    assert run["status"] == "COMPLETED"
    assert run["modelRuns"][0]["iterations"][0] == done
    assert len(run["modelRuns"][0]["iterations"]) == 3


def test_a_deleted_job_or_prompt_fails_the_run_clearly(
    user: ApiUser, models: list[str]
) -> None:
    body = run_body(user, models)
    run_id = user.post("/runs", body)["runId"]
    path = f"/runs/{run_id}"
    job_id = eventually(lambda: user.get(path)["currentJobId"])
    user.delete(f"/jobs/{job_id}")
    run = ended(user, run_id)
    assert job_id in run["failureReason"]
    user.delete(f"/prompts/{body['evalPromptId']}")
    user.patch(f"{path}/resume", None)
    run = ended(user, run_id)
    assert "prompt" in run["failureReason"]
    assert run["status"] == "FAILED"


def test_runs_are_listed_and_deleted_by_their_owner(
    user: ApiUser, models: list[str], http: httpx2.Client
) -> None:
    first = user.post("/runs", run_body(user, models))["runId"]
    second = user.post("/runs", run_body(user, models))["runId"]
    user.patch(f"/runs/{second}/cancel", None)
    ids = [run["runId"] for run in user.get("/runs")]
    assert ids == [first, second]
    running = user.request("GET", "/runs?status=RUNNING&limit=5", 200)
    assert [run["runId"] for run in running] == [first]
    user.request("GET", "/runs?status=NOPE", 422)
    other = ApiUser(http)
    other.get(f"/runs/{first}", 404)
    other.patch(f"/runs/{first}/cancel", None, 404)
    other.delete(f"/runs/{first}", status=404)
    job_id = eventually(lambda: user.get(f"/runs/{first}")["currentJobId"])
    user.delete(f"/runs/{first}")
    user.get(f"/runs/{first}", 404)
    assert user.get(f"/jobs/{job_id}")["status"] == "CANCELED"


@pytest.mark.long
@pytest.mark.slow
def test_a_run_survives_kill_minus_nine(
    data_dir: Path, provider: FakeProvider
) -> None:
    provider.handler = three_steps
    provider.delay = 0.1
    with (
        service_process(data_dir, PROVIDER_KEY=PROVIDER_KEY) as service,
        httpx2.Client(base_url=service.url, timeout=30) as http,
    ):
        user = ApiUser(http)
        models = [provider_model(user, provider) for _ in range(2)]
        user.worker()
        run_id = user.post("/runs", run_body(user, models))["runId"]
        # In the middle of a job of the first model's second iteration.
        eventually(partial(provider.was_asked, 5))
        service.end(signal.SIGKILL)
        service.start()
        run = ended(user, run_id, seconds=40)
        assert run["status"] == "COMPLETED"
        assert [len(each["iterations"]) for each in run["modelRuns"]] == [3, 3]
        query = {"clientReference.runId": run_id}
        assert user.get("/jobs/summary", **query)["total"] == 6
