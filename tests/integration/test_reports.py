"""`/runs/{id}/report` over HTTP, of runs on hostile data."""

import json
from typing import Any

import httpx2
import pytest
from aiohttp import web
from markupsafe import escape

from tests.integration.test_runs import ended, run_body, three_steps
from tests.integration.test_workers import provider_model
from tests.support.api_user import ApiUser
from tests.support.fake_provider import FakeProvider, completion

LABELS = ("question", "order", "complaint", "other")
HOSTILE = (
    "<script>alert(1)</script>",
    "</div></main><img src='http://127.0.0.1:9/x' onerror='alert(1)'>",
    "{{ 7 * 7 }}{% raw %}",
    "x" * 3_000,
    "\u202ereversed\u0000 <style> * { display: none }</style>",
)


def rule(label: str) -> str:
    return f"Say {label} where it is <b>{label}</b>."


async def learning(body: dict[str, Any]) -> web.StreamResponse:
    """Answer a label right by its rule; teach a rule when asked to."""
    system = body["messages"][0]["content"]
    asked = json.loads(body["messages"][-1]["content"])
    if "label" not in asked:
        prompt = str(asked.get("currentPrompt", "Name the kind."))
        taught = "\n".join(
            rule(each) for each in LABELS[:3] if rule(each) not in prompt
        )
        better = f"<prompt>\n{prompt}\n{taught}\n</prompt>"
        return completion(better, tokens=(200, 50))
    label = asked["label"]
    right = rule(label) in system
    answer = {"label": label if right else asked["text"][:40]}
    return completion(json.dumps(answer), tokens=(30, 5))


def begun(user: ApiUser, models: list[str], **fields: Any) -> str:
    items = [
        {
            "id": f"item {n}",
            "requestData": {
                "n": n,
                "label": LABELS[n % 4],
                "text": " ".join(HOSTILE),
            },
            "expected": LABELS[n % 4],
        }
        for n in range(120)
    ]
    made = user.post("/datasets", {"name": "kinds", "items": items})
    run = user.post(
        "/runs",
        {
            "datasetId": made["datasetId"],
            "metric": {"type": "exact"},
            "strategy": "reflective",
            "initialWorkingPromptIds": [user.prompt("Name the kind.")],
            "workingModels": models,
            "maxIterations": 2,
            "seed": 3,
            **fields,
        },
    )
    return str(run["runId"])


@pytest.fixture
def models(user: ApiUser, provider: FakeProvider) -> list[str]:
    provider.handler = learning
    return [provider_model(user, provider), provider_model(user, provider)]


def report(user: ApiUser, run_id: str) -> httpx2.Response:
    answer = user.http.get(f"/runs/{run_id}/report", headers=user.headers)
    assert answer.status_code == 200, answer.text
    return answer


def test_a_report_is_one_page_for_its_client_alone(
    user: ApiUser, models: list[str], http: httpx2.Client
) -> None:
    run_id = begun(user, models)
    assert "Nothing is measured yet" in report(user, run_id).text
    user.worker()
    run = ended(user, run_id)
    assert run["status"] == "COMPLETED", run
    answer = report(user, run_id)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "script" not in policy
    assert "unsafe" not in policy
    page = answer.text
    assert "The best prompt is better" in page
    for each in models:
        assert each in page
    # All of them are there, and none of them is markup.
    for text in ("<script>alert", "<img src", "<style> *", "<b>"):
        assert text not in page
        assert str(escape(text)) in page
    assert "{{ 7 * 7 }}{% raw %}" in page
    other = ApiUser(http)
    other.get(f"/runs/{run_id}/report", 404)
    path = f"/runs/{run_id}/report"
    assert http.get(path).status_code == 401


def test_a_run_without_a_dataset_has_a_report(
    user: ApiUser, models: list[str], provider: FakeProvider
) -> None:
    provider.handler = three_steps
    made = user.post("/runs", run_body(user, models))
    before = report(user, made["runId"]).text
    assert "0 of 6 iterations are done." in before
    user.worker()
    ended(user, made["runId"])
    page = report(user, made["runId"]).text
    assert "The loop has ended" in page
    assert "The evaluation went from 1 to 1." in page
    assert "work<ins>+++</ins>" in page
    assert "{&#34;score&#34;:1}" in page
