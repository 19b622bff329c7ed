"""Runs on datasets over HTTP, with a model that answers hidden rules."""

import json
import signal
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from aiohttp import web

from benchmarks.optimizer.hidden_rules import (
    INSTRUCTION,
    HiddenRules,
    Settings,
)
from tests.conftest import PROVIDER_KEY
from tests.integration.test_runs import ended
from tests.integration.test_workers import provider_model
from tests.support.api_user import ApiUser
from tests.support.fake_provider import FakeProvider, completion
from tests.support.processes import service_process
from tests.support.waiting import eventually

TASK = HiddenRules(
    3, Settings(rules=3, train=20, validation=12, test=16, misled=0.3)
)


class Rules:
    """Answers calls, and counts what each was asked."""

    def __init__(self) -> None:
        self.asked = Counter[str]()
        self.tokens = (10, 1)

    def were_asked(self, count: int) -> bool:
        """Tell whether there were so many different questions."""
        return len(self.asked) >= count

    async def __call__(self, body: dict[str, Any]) -> web.StreamResponse:
        system, user = (each["content"] for each in body["messages"])
        self.asked[f"{system}\x00{user}"] += 1
        text = TASK.reply(system, json.loads(user))
        return completion(text, tokens=self.tokens)


def run_body(user: ApiUser, model: str, **fields: Any) -> dict[str, Any]:
    cases = [case for split in TASK.splits.values() for case in split]
    dataset = user.post(
        "/datasets",
        {
            "name": "cases",
            "items": [
                {
                    "id": case,
                    "requestData": {"case": case},
                    "expected": "right",
                }
                for case in cases
            ],
        },
    )
    return {
        "datasetId": dataset["datasetId"],
        "metric": {"type": "exact", "ignoreCase": False},
        "strategy": "reflective",
        "initialWorkingPromptIds": [user.prompt(INSTRUCTION)],
        "workingModels": [model],
        "targetScore": 0.95,
        **fields,
    }


@pytest.fixture
def rules(provider: FakeProvider) -> Rules:
    rules = Rules()
    provider.handler = rules
    return rules


def test_a_run_improves_a_prompt_and_proves_it(
    user: ApiUser, provider: FakeProvider, rules: Rules
) -> None:
    model = provider_model(user, provider)
    body = run_body(user, model, maxJobs=500)
    made = user.post("/runs", body)
    assert made["status"] == "RUNNING"
    assert {name: made[name] for name in body} == body
    assert made["warnings"]
    assert "baseline" not in made
    user.worker()
    run = ended(user, made["runId"])
    assert run["status"] == "COMPLETED", run
    assert run["finishReason"] == "TARGET_SCORE"
    assert run["verdict"] == "improved"
    assert run["best"]["validation"]["score"] >= 0.95
    low, high = run["best"]["test"]["interval"]
    assert low <= run["best"]["test"]["score"] <= high
    assert run["best"]["test"]["score"] > run["baseline"]["test"]["score"]
    assert run["best"]["promptIds"] == run["bestPromptIds"]
    assert run["best"]["model"] == model
    assert run["jobsUsed"] == sum(rules.asked.values())
    assert set(rules.asked.values()) == {1}
    assert run["cost"] > 0
    assert run["validationLooks"] > 1
    scores = [each["score"] for each in run["progress"]]
    assert scores == sorted(scores)
    assert scores[-1] == run["best"]["validation"]["score"]
    path = f"/runs/{run['runId']}"
    candidates = user.get(f"{path}/candidates")
    assert len(candidates) == run["candidateCount"]
    assert [each["number"] for each in candidates] == list(
        range(len(candidates))
    )
    first, *others = candidates
    assert first["promptIds"] == body["initialWorkingPromptIds"]
    assert all(each["parents"] for each in others)
    page = user.request("GET", f"{path}/candidates?limit=2", 200)
    assert len(page) == 2
    (best,) = run["bestPromptIds"]
    assert user.get(f"/prompts/{best}")["status"] == "DRAFT"
    user.request("POST", f"{path}/publish", 200)
    prompt = user.get(f"/prompts/{best}")
    assert prompt["status"] == "PUBLISHED"
    assert prompt["source"]["runId"] == run["runId"]
    query = {"clientReference.runId": run["runId"]}
    assert user.get("/jobs/summary", **query)["total"] == run["jobsUsed"]
    user.delete(path)
    user.get(f"{path}/candidates", 404)


def test_what_a_run_on_a_dataset_names_must_exist(
    user: ApiUser, provider: FakeProvider, http: httpx2.Client
) -> None:
    body = run_body(user, provider_model(user, provider))
    gone = "0" * 24
    judge = {
        "type": "judge",
        "promptId": gone,
        "model": body["workingModels"][0],
    }
    for change in (
        {"datasetId": gone},
        {"datasetId": run_body(ApiUser(http), "m")["datasetId"]},
        {"workingModels": ["nobody"]},
        {"metaModel": "nobody"},
        {"metaPromptId": gone},
        {"metric": judge},
    ):
        answer = user.post("/runs", {**body, **change}, 400)
        assert "was not found" in answer["detail"]
    wrong: list[dict[str, Any]] = [
        {"metric": {"type": "guess"}},
        {"strategy": "luck"},
        {"maxJobs": 0},
        {"targetScore": 2},
        {"parallelism": 0},
        {"split": {"train": 1, "validation": 0, "test": 0}},
        {"evalPrompt": "x"},
    ]
    for change in wrong:
        user.post("/runs", {**body, **change}, 422)
    contract = {"metric": {"type": "exact"}, "workingModels": ["m"]}
    answer = user.post("/runs", contract, 422)
    missing = {each["loc"][-1] for each in answer["detail"]}
    assert {"evalPromptId", "metaModel", "requestData"} <= missing


@pytest.mark.usefixtures("rules")
def test_a_run_is_paused_resumed_and_cancelled(
    user: ApiUser, provider: FakeProvider
) -> None:
    body = run_body(user, provider_model(user, provider))
    run_id = user.post("/runs", body)["runId"]
    path, query = f"/runs/{run_id}", {"clientReference.runId": run_id}
    waiting = eventually(lambda: user.get("/jobs/summary", **query)["PENDING"])
    user.patch(f"{path}/pause", None)
    worker = user.worker()

    def settled() -> bool:
        summary = user.get("/jobs/summary", **query)
        return bool(summary["PROCESSED"] == waiting)

    eventually(settled)
    assert user.get("/jobs/summary", **query)["total"] == waiting
    assert user.get(path)["status"] == "PAUSED"
    user.request("POST", f"/workers/{worker}/stop", 200)
    user.patch(f"{path}/resume", None)
    eventually(lambda: user.get("/jobs/summary", **query)["PENDING"])
    user.patch(f"{path}/cancel", None)
    eventually(lambda: not user.get("/jobs/summary", **query)["PENDING"])
    assert user.get(path)["finishReason"] == "CANCELLED"
    user.request("POST", f"{path}/publish", 400)


def test_no_limit_of_cost_is_passed(
    user: ApiUser, provider: FakeProvider, rules: Rules
) -> None:
    # A call costs 0.03 here, and at most about 0.06.
    rules.tokens = (299, 1)
    model = provider_model(
        user, provider, maxToken=10, cost={"input": 100, "output": 100}
    )
    user.worker()
    most = {"amount": 2, "currency": "USD"}
    body = run_body(user, model, maxCost=most)
    run = ended(user, user.post("/runs", body)["runId"])
    assert run["status"] == "COMPLETED", run
    assert run["finishReason"] == "MAX_COST"
    assert 0.5 < run["cost"] <= 2
    assert run["best"]["test"]["count"] > 0
    # Calls never bound so much at once that others were refused.
    assert run["best"]["test"]["errors"] == 0
    jobs = user.get("/jobs/summary", batchKey=run["runId"])
    assert jobs["PROCESSED"] == jobs["total"]
    body["maxCost"]["amount"] = 0.01
    run = ended(user, user.post("/runs", {**body, "cache": False})["runId"])
    assert run["status"] == "FAILED"
    assert "maxCost" in run["failureReason"]


@pytest.mark.long
def test_a_run_on_a_dataset_survives_kill_minus_nine(
    data_dir: Path, provider: FakeProvider
) -> None:
    found = set()
    for kills in ((), (9, 30, 48, 60)):
        rules = Rules()
        provider.handler = rules
        provider.delay = 0.02
        directory = data_dir.with_name(f"data-{len(kills)}")
        directory.mkdir()
        with (
            service_process(
                directory / "data", PROVIDER_KEY=PROVIDER_KEY
            ) as service,
            httpx2.Client(base_url=service.url, timeout=30) as http,
        ):
            user = ApiUser(http)
            user.worker()
            body = run_body(
                user, provider_model(user, provider), parallelism=4
            )
            run_id = user.post("/runs", body)["runId"]
            for asked in kills:
                eventually(partial(rules.were_asked, asked))
                service.end(signal.SIGKILL)
                service.start()
            run = ended(user, run_id, seconds=60)
            assert run["status"] == "COMPLETED"
            assert run["jobsUsed"] == len(rules.asked)
            (best,) = run["bestPromptIds"]
            found.add(user.get(f"/prompts/{best}")["prompt"])
            # Only calls that were under way when the process died are
            # made again.
            again = sum(rules.asked.values()) - len(rules.asked)
            assert again <= 4 * len(kills)
    assert len(found) == 1
