import json
from typing import Any

import pytest
from aiohttp import web

from tests.conftest import PROVIDER_KEY
from tests.integration.test_workers import provider_model
from tests.support.api_user import ApiUser
from tests.support.fake_provider import FakeProvider, completion, failure


@pytest.fixture
def model(user: ApiUser, provider: FakeProvider) -> str:
    return provider_model(user, provider, minTemperature=0.2)


def messages(provider: FakeProvider, number: int) -> tuple[str, Any]:
    sent = provider.requests[number]["messages"]
    assert [message["role"] for message in sent] == ["system", "user"]
    return sent[0]["content"], json.loads(sent[1]["content"])


async def by_system(body: dict[str, Any]) -> web.StreamResponse:
    system = body["messages"][0]["content"]
    texts = {
        "work": '{"answer": 42}',
        "eval": '{"score": 0.5, "why": "short"}',
        "meta": "A better prompt.",
    }
    return completion(texts[system.split()[0]], tokens=(100, 10))


def test_working_eval_and_meta_steps_as_the_contract_says(
    user: ApiUser, provider: FakeProvider, model: str
) -> None:
    provider.handler = by_system
    prompts = [user.prompt("work first"), user.prompt("second")]
    job = user.job(
        model,
        prompts[0],
        workingPrompts=prompts,
        temperature=0.0,
        requestData={"q": "ä"},
        evalPrompt=user.prompt("eval it"),
        evalModel=model,
        metaPrompt=user.prompt("meta it"),
        metaModel=model,
    )
    user.worker()
    done = user.ended(job["jobId"])
    assert done["status"] == "PROCESSED"
    assert done["responseData"] == {"answer": 42}
    assert done["evalResult"] == {"score": 0.5, "why": "short"}
    assert messages(provider, 0) == ("work first\n\nsecond", {"q": "ä"})
    assert messages(provider, 1) == (
        "eval it",
        {"original_input": {"q": "ä"}, "working_result": {"answer": 42}},
    )
    assert messages(provider, 2) == (
        "meta it",
        {
            "evaluation": {"score": 0.5, "why": "short"},
            "original_prompts": ["work first", "second"],
            "working_result": {"answer": 42},
        },
    )
    suggested = user.get(f"/prompts/{done['suggestedPromptId']}")
    assert suggested["prompt"] == "A better prompt."
    assert suggested["status"] == "DRAFT"
    assert suggested["clientId"] == user.client_id
    metrics = done["processingMetrics"]
    assert metrics["inputTokens"] == 300
    assert metrics["outputTokens"] == 30
    assert metrics["totalTokens"] == 330
    assert metrics["totalCost"] == pytest.approx(0.3 + 0.06)
    assert metrics["currency"] == "USD"
    assert metrics["duration"] > 0
    body = provider.requests[0]
    assert body["model"] == "fake"
    assert body["temperature"] == 0.2  # the model's lowest
    assert body["max_tokens"] == 100
    assert provider.authorizations[0] == f"Bearer {PROVIDER_KEY}"


def test_an_answer_without_json_is_kept_whole(
    user: ApiUser, provider: FakeProvider, model: str
) -> None:
    async def prose(_body: dict[str, Any]) -> web.StreamResponse:
        return completion("I would rather not say.")

    provider.handler = prose
    user.worker()
    done = user.ended(user.job(model, user.prompt())["jobId"])
    assert done["status"] == "ERROR_PROCESSING"
    assert done["errorData"]["errorType"] == "JSON_PARSING_ERROR"
    assert done["errorData"]["failedResponseData"] == "I would rather not say."
    assert done["processingMetrics"]["totalTokens"] == 10


def test_nearly_json_is_repaired(
    user: ApiUser, provider: FakeProvider, model: str
) -> None:
    async def nearly(_body: dict[str, Any]) -> web.StreamResponse:
        return completion("Sure!\n```json\n{'a': [1, 2,], b: true\n```")

    provider.handler = nearly
    user.worker()
    done = user.ended(user.job(model, user.prompt())["jobId"])
    assert done["responseData"] == {"a": [1, 2], "b": True}


@pytest.mark.parametrize("step", ["eval", "meta"])
def test_a_failed_second_step_does_not_fail_the_job(
    user: ApiUser, provider: FakeProvider, model: str, step: str
) -> None:
    async def refusing(body: dict[str, Any]) -> web.StreamResponse:
        if body["messages"][0]["content"].startswith(step):
            return failure(400, "no such thing")
        return await by_system(body)

    provider.handler = refusing
    user.worker()
    job = user.job(
        model,
        user.prompt("work"),
        evalPrompt=user.prompt("eval"),
        evalModel=model,
        metaPrompt=user.prompt("meta"),
        metaModel=model,
    )
    done = user.ended(job["jobId"])
    assert done["status"] == "PROCESSED"
    assert done["responseData"] == {"answer": 42}
    assert done["evalResult"]["errorType"] == "BAD_REQUEST"
    assert "no such thing" in done["evalResult"]["error"]
    assert done["suggestedPromptId"] is None
    if step == "meta":
        assert done["evalResult"]["score"] == 0.5
        assert done["processingMetrics"]["inputTokens"] == 200


def test_a_missing_key_is_named_by_its_variable(user: ApiUser) -> None:
    model = user.model(sdk="OpenAI", key="KEY-NOT-SET")
    user.worker()
    done = user.ended(user.job(model, user.prompt())["jobId"])
    assert done["status"] == "ERROR_PROCESSING"
    assert done["errorData"]["errorType"] == "MISSING_KEY"
    assert "KEY_NOT_SET" in done["errorData"]["message"]


def test_metasyncs_own_secrets_are_lent_to_no_model(user: ApiUser) -> None:
    # What a model's name stands for is not checked when it is made.
    model = user.model(sdk="OpenAI", name="admin-api", apiVersion="x")
    user.worker()
    done = user.ended(user.job(model, user.prompt())["jobId"])
    assert done["errorData"]["errorType"] == "REFUSED_KEY"
    assert "ADMIN_API_KEY is never" in done["errorData"]["message"]


def test_a_refused_key_does_not_show(
    user: ApiUser, provider: FakeProvider
) -> None:
    model = provider_model(user, provider, onSuspended="fail")

    async def refusing(_body: dict[str, Any]) -> web.StreamResponse:
        return failure(401, f"Incorrect API key provided: {PROVIDER_KEY}")

    provider.handler = refusing
    user.worker()
    done = user.ended(user.job(model, user.prompt())["jobId"])
    assert done["status"] == "ERROR_PROCESSING"
    assert done["errorData"]["errorType"] == "NOT_AUTHORIZED"
    assert done["errorData"]["httpStatus"] == 401
    assert PROVIDER_KEY not in json.dumps(done)


def test_a_rate_limit_burns_no_attempt(
    user: ApiUser, provider: FakeProvider
) -> None:
    quick = {"retry": {"minWait": 0.1, "maxWait": 0.2}}
    model = provider_model(user, provider, resilience=quick)

    async def limiting(body: dict[str, Any]) -> web.StreamResponse:
        if len(provider.requests) <= 7:
            return failure(429, "slow down", **{"Retry-After": "0.05"})
        return await provider.echo(body)

    provider.handler = limiting
    user.worker()
    done = user.ended(user.job(model, user.prompt())["jobId"])
    assert done["status"] == "PROCESSED"
    assert done["attempts"] == 1
    assert len(provider.requests) == 8


def test_a_server_error_is_tried_again_later(
    user: ApiUser, provider: FakeProvider, model: str
) -> None:
    async def failing_once(body: dict[str, Any]) -> web.StreamResponse:
        if len(provider.requests) == 1:
            return failure(500, "oops")
        return await provider.echo(body)

    provider.handler = failing_once
    user.worker()
    done = user.ended(user.job(model, user.prompt())["jobId"])
    assert done["status"] == "PROCESSED"
    assert (done["attempts"], done["failures"]) == (1, 1)
    assert done["errorData"] is None


def test_a_failed_job_can_be_sent_again(
    user: ApiUser, provider: FakeProvider, model: str
) -> None:
    async def refusing(_body: dict[str, Any]) -> web.StreamResponse:
        return failure(400, "bad")

    provider.handler = refusing
    user.worker()
    job_id = user.job(model, user.prompt())["jobId"]
    assert user.ended(job_id)["status"] == "ERROR_PROCESSING"
    provider.reset()
    again = user.patch(f"/jobs/{job_id}", {"status": "PENDING"})
    assert again["attempts"] == 0
    done = user.ended(job_id)
    assert done["status"] == "PROCESSED"
    assert done["errorData"] is None


def test_a_deleted_prompt_fails_the_job_and_is_named(user: ApiUser) -> None:
    prompt = user.prompt()
    job = user.job(user.model(), prompt)
    user.delete(f"/prompts/{prompt}")
    user.worker()
    done = user.ended(job["jobId"])
    assert done["status"] == "ERROR_PROCESSING"
    assert prompt in done["errorData"]["message"]


def test_what_a_client_cancels_is_not_run(
    user: ApiUser, provider: FakeProvider, model: str
) -> None:
    job = user.job(model, user.prompt())
    user.patch(f"/jobs/{job['jobId']}", {"status": "CANCELED"})
    user.worker()
    other = user.job(model, user.prompt())
    user.ended(other["jobId"])
    assert len(provider.requests) == 1
    assert user.get(f"/jobs/{job['jobId']}")["status"] == "CANCELED"
