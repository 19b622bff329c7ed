"""What a call does when its provider refuses one of its options."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from llm_sdks import errors
from llm_sdks.base_sdk import CompletionRequest
from llm_sdks.profiles.profile import Profile
from llm_sdks.registry import SdkRegistry
from tests.support.questions import (
    MESSAGE,
    SCHEMA,
    ask,
    chat,
    events,
    question,
    read,
)
from tests.support.recorder import Recorder, recorder

Body = dict[str, Any]


@pytest.fixture
async def provider() -> AsyncIterator[Recorder]:
    async with recorder() as kept:
        yield kept


def no(message: str, status: int = 400, **more: Any) -> web.Response:
    problem = {"error": {"message": message, **more}}
    return web.json_response(problem, status=status)


def refusing(*rules: tuple[str, str]) -> Callable[[Body], web.Response]:
    """Refuse what is named, one after the other, then answer."""

    def answer(body: Body) -> web.Response:
        text = repr(body)
        for word, message in rules:
            if word in text:
                return no(message)
        return chat("yes")

    return answer


async def test_several_refused_options_are_left_out_one_by_one(
    provider: Recorder,
) -> None:
    provider.answer = refusing(
        ("'temperature'", "temperature is not supported"),
        ("'max_tokens'", "max_tokens: Extra inputs are not permitted"),
        ("'strict': True", "strict is not supported by response_format"),
        ("json_schema", "This response_format type is unavailable now"),
    )
    asked = question(provider, response_schema=SCHEMA)
    registry = SdkRegistry.discover()
    async with aclosing(registry.create("OpenAI")) as sdk:
        assert (await sdk.acomplete(asked)).text == "yes"
        assert len(provider.bodies) == 5
        # Another worker's instance knows it already.
        async with aclosing(registry.create("OpenAI")) as other:
            assert (await other.acomplete(asked)).text == "yes"
    assert len(provider.bodies) == 6
    last = provider.bodies[-1]
    assert last["response_format"] == {"type": "json_object"}
    assert last["max_completion_tokens"] == 100
    assert "temperature" not in last
    assert '"required":["n"]' in last["messages"][0]["content"]


async def test_a_changed_model_is_asked_anew(provider: Recorder) -> None:
    provider.answer = refusing(("'temperature'", "temperature is fixed"))
    asked = question(provider)
    registry = SdkRegistry.discover()

    async def calls_of(request: CompletionRequest) -> int:
        before = len(provider.bodies)
        async with aclosing(registry.create("OpenAI")) as sdk:
            await sdk.acomplete(request)
        return len(provider.bodies) - before

    first = replace(
        asked, config=replace(asked.config, model_id="id", revision="1")
    )
    second = replace(first, config=replace(first.config, revision="2"))
    counts = [await calls_of(each) for each in (first, first, second, second)]
    assert counts == [2, 1, 2, 1]
    assert registry.learnt.of("id") == Profile(supports_temperature=False)


async def test_nothing_is_learnt_of_a_call_that_fails_without_it(
    provider: Recorder,
) -> None:
    provider.answer = lambda _: no("the prompt: temperature is not supported")
    registry = SdkRegistry.discover()
    asked = question(provider)
    async with aclosing(registry.create("OpenAI")) as sdk:
        for _ in range(2):
            with pytest.raises(errors.BadRequestError, match="the prompt"):
                await sdk.acomplete(asked)
    assert ["temperature" in body for body in provider.bodies] == [
        True,
        False,
        True,
        False,
    ]


async def test_what_the_owner_says_is_sent_even_if_it_is_refused(
    provider: Recorder,
) -> None:
    provider.answer = lambda _: no("temperature is not supported")
    asked = question(provider)
    said = Profile(supports_temperature=True)
    asked = replace(asked, config=replace(asked.config, profile=said))
    with pytest.raises(errors.BadRequestError):
        await ask("OpenAI", asked)
    assert len(provider.bodies) == 1


async def test_a_said_profile_spares_the_refused_call(
    provider: Recorder,
) -> None:
    provider.answer = refusing(("'temperature'", "temperature is fixed"))
    asked = question(provider)
    said = Profile(supports_temperature=False)
    asked = replace(asked, config=replace(asked.config, profile=said))
    assert (await ask("OpenAI", asked)).text == "yes"
    assert len(provider.bodies) == 1


async def test_a_provider_that_refuses_everything_is_asked_a_few_times(
    provider: Recorder,
) -> None:
    def answer(body: Body) -> web.Response:
        return no("".join(f"{name} is not supported. " for name in body))

    provider.answer = answer
    with pytest.raises(errors.BadRequestError):
        await ask("OpenAI", question(provider, response_schema=SCHEMA))
    assert len(provider.bodies) <= 8


async def test_json_that_the_model_failed_to_write_is_asked_for_again(
    provider: Recorder,
) -> None:
    failed = "Failed to generate JSON. See 'failed_generation'."

    def answer(body: Body) -> web.Response:
        return no(failed) if "response_format" in body else chat("yes")

    provider.answer = answer
    asked = question(provider, response_schema=SCHEMA)
    registry = SdkRegistry.discover()
    async with aclosing(registry.create("OpenAI")) as sdk:
        assert (await sdk.acomplete(asked)).text == "yes"
    forms = ["response_format" in body for body in provider.bodies]
    assert forms == [True, True, False]
    # Chance decides: nothing is learnt.
    assert registry.learnt.of("") == Profile()


async def test_a_stream_goes_without_its_usage_where_that_is_refused(
    provider: Recorder,
) -> None:
    def answer(body: Body) -> web.Response:
        if "stream_options" in body:
            return no("Unknown parameter: 'stream_options'", 422)
        delta = {"delta": {"content": "yes"}, "finish_reason": "stop"}
        return events({"choices": [delta]})

    provider.answer = answer
    assert await read("OpenAI", question(provider)) == ["yes"]
    assert len(provider.bodies) == 2


async def test_anthropic_is_sent_any_of_for_one_of(
    provider: Recorder,
) -> None:
    provider.answer = lambda _: web.json_response(MESSAGE)
    schema = {
        **SCHEMA,
        "properties": {"n": {"oneOf": [{"type": "integer"}]}},
    }
    await ask("Anthropic", question(provider, response_schema=schema))
    (body,) = provider.bodies
    sent = body["output_config"]["format"]["schema"]["properties"]["n"]
    assert sent == {"anyOf": [{"type": "integer"}]}


async def test_calls_at_once_learn_without_disturbing_one_another(
    provider: Recorder,
) -> None:
    provider.answer = refusing(
        ("'temperature'", "temperature is fixed"),
        ("'max_tokens'", "max_tokens is not supported"),
    )
    asked = question(provider)
    async with aclosing(SdkRegistry.discover().create("OpenAI")) as sdk:
        calls = [sdk.acomplete(asked) for _ in range(20)]
        answers = await asyncio.gather(*calls)
    assert {answer.text for answer in answers} == {"yes"}
