from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from aiohttp import web

from llm_sdks import errors
from tests.support.questions import (
    KEY,
    SCHEMA,
    ask,
    chat,
    events,
    question,
    read,
)
from tests.support.recorder import Recorder, recorder


@pytest.fixture
async def provider() -> AsyncIterator[Recorder]:
    async with recorder() as kept:
        yield kept


async def test_azure_openai_is_asked_for_its_deployment(
    provider: Recorder,
) -> None:
    provider.answer = lambda _: chat()
    asked = question(
        provider, api_version="2024-10-21", idempotency_key="job-1"
    )
    assert (await ask("AzureOpenAI", asked)).text == "yes"
    assert provider.paths == [
        "/openai/deployments/theirs/chat/completions?api-version=2024-10-21"
    ]
    assert provider.headers[0]["api-key"] == KEY
    assert provider.headers[0]["x-ms-client-request-id"] == "job-1"


async def test_a_prompt_that_azure_filters_is_filtered(
    provider: Recorder,
) -> None:
    problem = {"message": "was filtered", "code": "content_filter"}
    provider.answer = lambda _: web.json_response(
        {"error": problem}, status=400
    )
    asked = question(provider, api_version="2024-10-21")
    with pytest.raises(errors.ContentFilteredError) as failed:
        await ask("AzureOpenAI", asked)
    assert failed.value.http_status == 400


async def test_azure_inference_is_asked_at_its_endpoint(
    provider: Recorder,
) -> None:
    provider.answer = lambda _: chat()
    asked = question(provider, "/models", response_schema=SCHEMA)
    assert (await ask("ChatCompletionsClient", asked)).text == "yes"
    assert provider.paths == [
        "/models/chat/completions?api-version=2024-05-01-preview"
    ]
    (headers,) = provider.headers
    assert headers["api-key"] == KEY
    assert headers["authorization"] == f"Bearer {KEY}"
    assert "extra-parameters" not in headers
    (body,) = provider.bodies
    assert body["response_format"]["json_schema"]["name"] == "My_answer"


async def test_azure_inference_hands_on_what_only_the_model_knows(
    provider: Recorder,
) -> None:
    choice = {"delta": {"content": "yes"}, "finish_reason": "stop"}
    provider.answer = lambda body: (
        events({"choices": [choice]}) if "stream" in body else chat()
    )
    await ask(
        "ChatCompletionsClient",
        question(provider, max_completion_token=7, api_version="v9"),
    )
    assert await read("ChatCompletionsClient", question(provider)) == ["yes"]
    assert [h.get("extra-parameters") for h in provider.headers] == [
        "pass-through"
    ] * 2
    assert provider.paths[0].endswith("?api-version=v9")
    assert provider.bodies[0]["max_completion_tokens"] == 7


async def test_what_only_the_model_knows_is_passed_through(
    provider: Recorder,
) -> None:
    provider.answer = lambda _: chat()
    asked = question(provider)
    talk = asked.conversation
    sampling = replace(talk.sampling, reasoning_effort="low")
    thinking = replace(talk, sampling=sampling)
    for each in (talk, thinking):
        request = replace(asked, conversation=each)
        await ask("ChatCompletionsClient", request)
    sent = [each.get("extra-parameters") for each in provider.headers]
    assert sent == [None, "pass-through"]
