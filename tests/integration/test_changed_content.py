"""Prompts and models that change while their jobs wait, through HTTP."""

import json
from typing import Any

import pytest
from aiohttp import web

from tests.integration.test_evaluations import body_of, ended
from tests.integration.test_workers import provider_model
from tests.support.api_user import ApiUser
from tests.support.fake_provider import FakeProvider, completion
from tests.support.waiting import eventually


async def by_system(body: dict[str, Any]) -> web.StreamResponse:
    """Answer with what the prompt says."""
    system = body["messages"][0]["content"]
    return completion(json.dumps({"label": system}), tokens=(1, 1))


@pytest.fixture
def model(user: ApiUser, provider: FakeProvider) -> str:
    provider.handler = by_system
    return provider_model(user, provider)


def dataset(user: ApiUser) -> str:
    items = [{"requestData": {"n": n}, "expected": "new"} for n in range(6)]
    made = user.post("/datasets", {"name": "d", "items": items})
    return str(made["datasetId"])


def result(user: ApiUser, body: dict[str, Any]) -> Any:
    made = user.post("/evaluations", body)
    (found,) = ended(user, made["evaluationId"])["results"]
    return found


def change(user: ApiUser, prompt: str, text: str) -> None:
    user.patch(f"/prompts/{prompt}", {"prompt": text})


def test_no_job_is_answered_by_another_text_than_it_was_made_for(
    user: ApiUser, provider: FakeProvider, model: str
) -> None:
    prompt = user.prompt("old")
    body = body_of(dataset(user), [prompt], [model])
    made = user.post("/evaluations", body)
    query = {"batchKey": made["evaluationId"]}
    eventually(lambda: user.get("/jobs/summary", **query)["PENDING"] == 6)
    change(user, prompt, "new")
    user.worker()
    (found,) = ended(user, made["evaluationId"])["results"]
    assert found["errorTypes"] == {"CONTENT_CHANGED": 6}
    # Workers of other tests may still be asking it.
    asked = {each["messages"][0]["content"] for each in provider.requests}
    assert not asked & {"old", "new"}
    assert result(user, body)["score"] == 1
    # What failed is no answer to the old text.
    change(user, prompt, "old")
    again = result(user, body)
    assert (again["score"], again["errors"]) == (0, 0)


def test_a_worker_knows_a_new_text_at_once(user: ApiUser, model: str) -> None:
    user.worker()
    prompt = user.prompt("old")
    body = body_of(dataset(user), [prompt], [model])
    assert result(user, body)["score"] == 0
    # The worker keeps for a moment what it has read.
    change(user, prompt, "new")
    assert result(user, body)["score"] == 1
