import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from llm_sdks import errors
from llm_sdks.base_sdk import LLMConfig
from llm_sdks.registry import SdkRegistry
from tests.support.questions import (
    KEY,
    MESSAGE,
    OPEN_SCHEMA,
    SCHEMA,
    ask,
    chat,
    events,
    gemini,
    question,
    read,
)
from tests.support.recorder import Recorder, recorder


@pytest.fixture
async def provider() -> AsyncIterator[Recorder]:
    async with recorder() as kept:
        yield kept


@pytest.mark.parametrize("name", ["OpenAI", "AzureOpenAI"])
async def test_strict_is_promised_only_for_what_qualifies(
    provider: Recorder, name: str
) -> None:
    provider.answer = lambda _: chat()
    for schema in (SCHEMA, OPEN_SCHEMA):
        await ask(
            name, question(provider, response_schema=schema, api_version="v")
        )
    forms = [body["response_format"] for body in provider.bodies]
    assert [form["json_schema"]["strict"] for form in forms] == [True, False]
    assert forms[0]["json_schema"]["schema"] == SCHEMA


async def test_a_refusal_is_no_answer(provider: Recorder) -> None:
    provider.answer = lambda _: chat("", refusal="I will not")
    with pytest.raises(errors.ContentFilteredError) as failed:
        await ask("OpenAI", question(provider))
    assert failed.value.partial_text == "I will not"


REFUSALS = [
    (
        "OpenAI",
        "Unsupported value: 'temperature' does not support 0.5 here.",
    ),
    (
        "AzureOpenAI",
        "Unsupported parameter: 'temperature' is not supported here.",
    ),
    ("ChatCompletionsClient", "Unrecognized argument: temperature"),
    ("Anthropic", "`temperature` is deprecated for this model."),
    ("Gemini", "temperature is not supported by this model"),
]


@pytest.mark.parametrize(("name", "message"), REFUSALS)
async def test_a_refused_temperature_is_remembered_for_that_model(
    provider: Recorder, name: str, message: str
) -> None:
    def answer(body: dict[str, Any]) -> web.Response:
        config = {**body, **body.get("generationConfig", {})}
        if "temperature" in config and "gpt-4" not in json.dumps(body):
            problem = {"error": {"message": message}}
            return web.json_response(problem, status=400)
        whole = {**MESSAGE, **gemini({"text": "yes"})}
        choice = {"message": {"content": "yes"}, "finish_reason": "stop"}
        return web.json_response({**whole, "choices": [choice]})

    provider.answer = answer
    asked = question(provider, api_version="v1")
    async with aclosing(SdkRegistry.discover().create(name)) as sdk:
        await sdk.acomplete(asked)
        await sdk.acomplete(asked)
    sent = ["temperature" in json.dumps(body) for body in provider.bodies]
    assert sent == [True, False, False]


async def test_other_complaints_about_a_temperature_are_bad_requests(
    provider: Recorder,
) -> None:
    problem = {"error": {"message": "temperature must be at most 1"}}
    provider.answer = lambda _: web.json_response(problem, status=400)
    with pytest.raises(errors.BadRequestError):
        await ask("OpenAI", question(provider))
    assert len(provider.bodies) == 1


async def test_a_key_for_repeated_calls_goes_to_openai(
    provider: Recorder,
) -> None:
    provider.answer = lambda _: chat()
    for key in ("job-1", "é", "a\nb", None):
        await ask("OpenAI", question(provider, idempotency_key=key))
    sent = [h.get("idempotency-key") for h in provider.headers]
    assert sent == ["job-1", None, None, None]
    assert provider.headers[0]["x-client-request-id"] == "job-1"


@pytest.mark.parametrize(
    "name",
    ["Anthropic", "AzureOpenAI", "ChatCompletionsClient", "Gemini", "OpenAI"],
)
async def test_an_error_under_status_200_is_an_error(
    provider: Recorder, name: str
) -> None:
    problem = {"error": {"code": 503, "message": f"later, {KEY}"}}
    provider.answer = lambda _: web.json_response(problem)
    asked = question(provider, api_version="v1")
    with pytest.raises(errors.OverloadedError) as failed:
        await ask(name, asked)
    assert KEY not in str(failed.value)
    provider.answer = lambda _: events(problem)
    if name != "Anthropic":  # whose events have names
        with pytest.raises(errors.OverloadedError):
            await read(name, asked)


@pytest.mark.parametrize(
    ("name", "changes", "word"),
    [
        ("AzureOpenAI", {"endpoint": ""}, "endpoint"),
        ("AzureOpenAI", {"api_version": ""}, "apiVersion"),
        ("AzureOpenAI", {"deployment": ""}, "deployment"),
        ("AzureOpenAI", {"api_key": SecretStr("")}, "key"),
        ("ChatCompletionsClient", {"endpoint": ""}, "endpoint"),
        ("ChatCompletionsClient", {"api_key": SecretStr("")}, "key"),
        ("Anthropic", {"max_token": None}, "maxToken"),
        ("Anthropic", {"api_key": SecretStr("a\nb")}, "key"),
        ("Anthropic", {"endpoint": "host/v1"}, "endpoint"),
        ("Gemini", {"api_key": SecretStr("")}, "key"),
        ("Gemini", {"endpoint": "ftp://host"}, "endpoint"),
    ],
)
def test_settings_that_cannot_work_are_named(
    name: str, changes: dict[str, Any], word: str
) -> None:
    fields: dict[str, Any] = {
        "name": "m",
        "endpoint": "https://host",
        "api_version": "v1",
        "deployment": "theirs",
        "api_key": SecretStr(KEY),
        "max_token": 1,
    }
    sdk = SdkRegistry.discover().create(name)
    sdk.validate_config(LLMConfig(**fields))
    with pytest.raises(errors.ConfigurationError, match=word):
        sdk.validate_config(LLMConfig(**{**fields, **changes}))
