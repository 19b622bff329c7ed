"""Typed calls to each provider, over a real socket."""

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from llm_sdks import errors
from llm_sdks.answers import (
    Answer,
    Begun,
    Ended,
    Event,
    TextDelta,
    TextOut,
    ThinkingOut,
    TokenChance,
    TokenLogprob,
    ToolCallBegun,
    ToolCallDelta,
    UsageSeen,
)
from llm_sdks.base_sdk import (
    BaseLLMSDK,
    Completion,
    CompletionRequest,
    LLMConfig,
    StreamItem,
)
from llm_sdks.conversation import (
    Conversation,
    ImagePart,
    Message,
    Sampling,
    ThinkingPart,
    ToolCall,
    ToolChoice,
    ToolDefinition,
    ToolResult,
)
from llm_sdks.formats.allowances import headers_of_answer
from llm_sdks.registry import SdkRegistry
from llm_sdks.usage import Usage
from tests.support.questions import MESSAGE, events, gemini, question
from tests.support.recorder import Recorder, recorder

TALK = Conversation(
    (Message.of("user", "How is the weather?"),),
    (ToolDefinition("weather"),),
    ToolChoice(parallel=False),
)
CALL = ToolCall("c1", "weather", '{"city":"Rome"}')


@pytest.fixture
async def provider() -> AsyncIterator[Recorder]:
    async with recorder() as kept:
        yield kept


def talk(
    provider: Recorder, conversation: Conversation = TALK, **config: Any
) -> CompletionRequest:
    simple = question(provider, **config)
    return CompletionRequest(
        simple.config, timeout=20.0, conversation=conversation
    )


async def converse(name: str, asked: CompletionRequest) -> Answer:
    async with aclosing(SdkRegistry.discover().create(name)) as sdk:
        return await sdk.converse(asked)


async def listen(name: str, asked: CompletionRequest) -> list[Event]:
    async with aclosing(SdkRegistry.discover().create(name)) as sdk:
        return [event async for event in sdk.converse_stream(asked)]


async def test_openai_answers_with_calls_of_tools(provider: Recorder) -> None:
    function = {"name": "weather", "arguments": CALL.arguments}
    provider.answer = lambda _: web.json_response(
        {
            "model": "theirs-1",
            "choices": [
                {
                    "message": {
                        "content": None,
                        "reasoning_content": "hm",
                        "tool_calls": [
                            {
                                "id": "c1",
                                "type": "function",
                                "function": function,
                            }
                        ],
                    },
                    "finish_reason": "tool_calls",
                }
            ],
            "usage": {"prompt_tokens": 3, "completion_tokens": 4},
        },
        headers={"x-request-id": "req_1"},
    )
    answer = await converse("OpenAI", talk(provider))
    assert answer == Answer(
        (ThinkingOut("hm"), CALL),
        Usage(3, 4),
        "tool_calls",
        "theirs-1",
        "req_1",
    )
    (body,) = provider.bodies
    assert body["parallel_tool_calls"] is False
    assert body["tools"][0]["function"]["name"] == "weather"


def _chunk(delta: Any, finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"model": "theirs-1", "choices": [choice]}


def _of_call(**call: Any) -> dict[str, Any]:
    return _chunk({"tool_calls": [call]})


async def test_openai_streams_calls_of_tools(provider: Recorder) -> None:
    values = [
        _chunk({"role": "assistant", "content": ""}),
        _chunk({"content": "Wait."}),
        _of_call(index=0, id="c1", function={"name": "weather"}),
        _of_call(index=0, function={"arguments": '{"city":'}),
        _of_call(index=0, function={"arguments": '"Rome"}'}),
        _of_call(index=1, id="c2", function={"name": "time"}),
        _of_call(index=1, function={"arguments": "{}"}),
        _chunk({}, "tool_calls"),
        {"choices": [], "usage": {"prompt_tokens": 3}},
    ]
    provider.answer = lambda _: events(*values)
    assert await listen("OpenAI", talk(provider)) == [
        Begun("theirs-1"),
        TextDelta("Wait."),
        ToolCallBegun(0, "c1", "weather"),
        ToolCallDelta(0, '{"city":'),
        ToolCallDelta(0, '"Rome"}'),
        ToolCallBegun(1, "c2", "time"),
        ToolCallDelta(1, "{}"),
        UsageSeen(Usage(3)),
        UsageSeen(Usage(3)),
        Ended("tool_calls"),
    ]


@pytest.mark.parametrize(
    "calls",
    [
        # No numbers; no ids; one number for all; one chunk for all.
        [{"id": "a", "function": {"name": "f"}},
         {"function": {"arguments": "{}"}},
         {"id": "b", "function": {"name": "g", "arguments": "{}"}}],
        [{"index": 0, "function": {"name": "f", "arguments": "{}"}},
         {"index": 1, "function": {"name": "g"}},
         {"index": 1, "function": {"arguments": "{}"}}],
        [{"index": 0, "id": "a", "function": {"name": "f"}},
         {"index": 0, "function": {"arguments": "{}"}},
         {"index": 0, "id": "b", "function": {"name": "g"}},
         {"index": 0, "function": {"arguments": "{}"}}],
        [{"id": "a", "function": {"name": "f", "arguments": {}}},
         {"id": "b", "function": {"name": "g", "arguments": {}}}],
    ],
)  # fmt: skip
async def test_calls_are_told_apart_however_they_are_numbered(
    provider: Recorder, calls: list[Any]
) -> None:
    values = [_of_call(**call) for call in calls]
    provider.answer = lambda _: events(*values, _chunk({}, "stop"))
    seen = await listen("OpenAI", talk(provider))
    begun = [each for each in seen if isinstance(each, ToolCallBegun)]
    assert [(each.index, each.name) for each in begun] == [(0, "f"), (1, "g")]
    assert all(each.id for each in begun)
    more = [each for each in seen if isinstance(each, ToolCallDelta)]
    assert more == [ToolCallDelta(0, "{}"), ToolCallDelta(1, "{}")]
    assert seen[-1] == Ended("tool_calls")


async def test_anthropic_answers_with_calls_of_tools(
    provider: Recorder,
) -> None:
    block = {
        "type": "tool_use",
        "id": "c1",
        "name": "weather",
        "input": {"city": "Rome"},
    }
    provider.answer = lambda _: web.json_response(
        {
            **MESSAGE,
            "model": "theirs-1",
            "content": [*MESSAGE["content"], block],
            "stop_reason": "tool_use",
        },
        headers={"request-id": "req_1"},
    )
    answer = await converse("Anthropic", talk(provider))
    assert answer == Answer(
        (ThinkingOut("hm", "x"), TextOut("yes, so it is"), CALL),
        Usage(17, 9, 5, 4, 2),
        "tool_calls",
        "theirs-1",
        "req_1",
    )
    (body,) = provider.bodies
    assert body["tool_choice"]["disable_parallel_tool_use"] is True


async def test_anthropic_streams_calls_of_tools(provider: Recorder) -> None:
    def of_call(text: str) -> dict[str, Any]:
        delta = {"type": "input_json_delta", "partial_json": text}
        return {"type": "content_block_delta", "index": 1, "delta": delta}

    call = {"type": "tool_use", "id": "c1", "name": "weather", "input": {}}
    values: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"model": "theirs-1"}},
        {"type": "content_block_start", "index": 1, "content_block": call},
        of_call('{"city":'),
        of_call('"Rome"}'),
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
        {"type": "message_stop"},
    ]
    provider.answer = lambda _: events(*values)
    assert await listen("Anthropic", talk(provider)) == [
        Begun("theirs-1"),
        ToolCallBegun(0, "c1", "weather"),
        ToolCallDelta(0, '{"city":'),
        ToolCallDelta(0, '"Rome"}'),
        Ended("tool_calls"),
    ]


GEMINI_CALL = {
    "functionCall": {"name": "weather", "args": {"city": "Rome"}, "id": "c1"},
    "thoughtSignature": "YWJj",
}
SIGNED = replace(CALL, signature="YWJj")
GEMINI_LOGPROBS = {
    "chosenCandidates": [{"token": "yes", "logProbability": -0.5}],
    "topCandidates": [
        {
            "candidates": [
                {"token": "yes", "logProbability": -0.5},
                {"token": "no", "logProbability": -1.5},
                {"token": "odd", "logProbability": "x"},
            ]
        }
    ],
}


async def test_gemini_answers_with_calls_of_tools(provider: Recorder) -> None:
    content = gemini(
        {"text": "hm", "thought": True},
        {"text": "Wait."},
        GEMINI_CALL,
        {"functionCall": {"name": "time"}},
        modelVersion="theirs-1",
    )
    content["candidates"][0]["logprobsResult"] = GEMINI_LOGPROBS
    provider.answer = lambda _: web.json_response(content)
    asked = talk(provider, replace(TALK, tool_choice=None))
    answer = await converse("Gemini", asked)
    thought, text, call, other = answer.parts
    assert (thought, text, call) == (
        ThinkingOut("hm"),
        TextOut("Wait."),
        SIGNED,
    )
    assert isinstance(other, ToolCall)
    assert (other.name, other.arguments) == ("time", "{}")
    assert other.id.startswith("call_")
    assert (answer.finish, answer.model) == ("tool_calls", "theirs-1")
    assert answer.usage == Usage(20, 9, 5, 3)
    assert answer.request_id == "r-1"
    assert answer.logprobs == (
        TokenLogprob(
            "yes",
            -0.5,
            top=(TokenChance("yes", -0.5), TokenChance("no", -1.5)),
        ),
    )


async def test_gemini_streams_calls_of_tools(provider: Recorder) -> None:
    first = gemini({"text": "Wait."}, reason="")
    provider.answer = lambda _: events(first, gemini(GEMINI_CALL))
    asked = talk(provider, replace(TALK, tool_choice=None))
    seen = await listen("Gemini", asked)
    assert [each for each in seen if not isinstance(each, UsageSeen)] == [
        Begun(None, "r-1"),
        TextDelta("Wait."),
        ToolCallBegun(0, "c1", "weather", "YWJj"),
        ToolCallDelta(0, '{"city":"Rome"}'),
        Ended("tool_calls"),
    ]


async def test_a_prompt_that_gemini_blocks_is_an_answer(
    provider: Recorder,
) -> None:
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}}
    provider.answer = lambda _: web.json_response(blocked)
    asked = talk(provider, replace(TALK, tool_choice=None))
    assert (await converse("Gemini", asked)).finish == "content_filter"


def _again(*calls: ToolCall) -> Conversation:
    results = tuple(ToolResult(call.id, "sunny") for call in calls)
    return Conversation(
        (
            *TALK.messages,
            Message("assistant", (ThinkingPart("hm"), *calls)),
            Message("tool", results),
        ),
        TALK.tools,
    )


@pytest.mark.parametrize(
    ("model", "call", "signature"),
    [
        ("gemini-2.5-pro", CALL, None),
        ("gemini-2.5-pro", SIGNED, "YWJj"),
        ("gemini-3-pro", SIGNED, "YWJj"),
        ("models/gemini-3-pro", replace(CALL, signature="_-8="), "_-8="),
        (
            "gemini-3-pro",
            CALL,
            "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I=",
        ),
    ],
)
async def test_gemini_gets_its_signatures_back(
    provider: Recorder, model: str, call: ToolCall, signature: str | None
) -> None:
    provider.answer = lambda _: web.json_response(gemini({"text": "yes"}))
    asked = talk(provider, _again(call, CALL), deployment=model)
    await converse("Gemini", asked)
    turn = provider.bodies[0]["contents"][1]
    signatures = [part.get("thoughtSignature") for part in turn["parts"]]
    assert signatures == [signature, None]


async def test_a_signature_that_is_none_is_refused(
    provider: Recorder,
) -> None:
    asked = talk(provider, _again(replace(CALL, signature="%")))
    with pytest.raises(errors.BadRequestError, match="'weather'"):
        await converse("Gemini", asked)


@pytest.mark.parametrize("name", ["AzureOpenAI", "ChatCompletionsClient"])
async def test_azure_answers_and_streams_calls_of_tools(
    provider: Recorder, name: str
) -> None:
    call = {
        "id": "c1",
        "type": "function",
        "function": {"name": "weather", "arguments": CALL.arguments},
    }
    choice = {"message": {"tool_calls": [call]}, "finish_reason": "tool_calls"}
    asked = talk(provider, api_version="2024-10-21")
    provider.answer = lambda _: web.json_response({"choices": [choice]})
    assert (await converse(name, asked)).parts == (CALL,)
    seen = [_of_call(index=0, **call), _chunk({}, "tool_calls")]
    provider.answer = lambda _: events(*seen)
    assert ToolCallBegun(0, "c1", "weather") in await listen(name, asked)


@pytest.mark.parametrize(
    ("message", "reason", "finish"),
    [
        ({"content": "a"}, "length", "length"),
        ({"content": ""}, "content_filter", "content_filter"),
        ({"content": None, "refusal": "No."}, "stop", "refusal"),
        ({"content": "", "reasoning": "hm"}, "stop", "stop"),
        ({"content": ""}, "stop", "stop"),
    ],
)
async def test_ends_that_fail_jobs_are_answers_here(
    provider: Recorder, message: Any, reason: str, finish: str
) -> None:
    choice = {"message": message, "finish_reason": reason}
    provider.answer = lambda _: web.json_response({"choices": [choice]})
    assert (await converse("OpenAI", talk(provider))).finish == finish
    seen = [{"choices": [{"delta": message, "finish_reason": reason}]}]
    provider.answer = lambda _: events(*seen)
    assert (await listen("OpenAI", talk(provider)))[-1] == Ended(finish)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("abort", errors.ProviderError),
        ("wonder", errors.UnknownEndingError),
        ("malformed_response", errors.FailedGenerationError),
    ],
)
async def test_other_ends_are_errors(
    provider: Recorder, reason: str, kind: type[errors.LLMError]
) -> None:
    choice = {"message": {"content": "ab"}, "finish_reason": reason}
    provider.answer = lambda _: web.json_response({"choices": [choice]})
    with pytest.raises(kind) as raised:
        await converse("OpenAI", talk(provider))
    assert raised.value.partial_text == "ab"


async def test_a_stream_that_breaks_off_is_an_error(
    provider: Recorder,
) -> None:
    provider.answer = lambda _: events(_chunk({"content": "ab"}))
    with pytest.raises(errors.ProviderError) as raised:
        await listen("OpenAI", talk(provider))
    assert raised.value.partial_text == "ab"


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("Anthropic", "seed", 1),
        ("Anthropic", "presence_penalty", 0.5),
        ("Anthropic", "frequency_penalty", 0.5),
        ("Anthropic", "logprobs", 1),
        ("Gemini", "parallel_tool_calls", None),
    ],
)
async def test_what_the_provider_lacks_is_refused_by_name(
    provider: Recorder, name: str, option: str, value: Any
) -> None:
    sampling = Sampling() if value is None else Sampling(**{option: value})
    asked = talk(provider, replace(TALK, sampling=sampling))
    with pytest.raises(errors.ConfigurationError, match=option) as raised:
        await converse(name, asked)
    assert raised.value.param == option
    with pytest.raises(errors.ConfigurationError, match=option):
        await listen(name, asked)
    assert provider.bodies == []
    # A job's call leaves most of them out.
    if option != "logprobs" and value is not None:
        provider.answer = lambda _: web.json_response(MESSAGE)
        async with aclosing(SdkRegistry.discover().create(name)) as sdk:
            await sdk.acomplete(asked)
        assert option not in provider.bodies[0]


async def test_options_without_an_effect_are_left_out(
    provider: Recorder,
) -> None:
    provider.answer = lambda _: web.json_response(MESSAGE)
    sampling = Sampling(presence_penalty=0.0, frequency_penalty=0)
    await converse(
        "Anthropic", talk(provider, replace(TALK, sampling=sampling))
    )
    assert "presence_penalty" not in provider.bodies[0]


async def test_what_a_provider_refuses_is_not_left_out_silently(
    provider: Recorder,
) -> None:
    problem = {
        "message": "Unsupported parameter: 'top_p' is not supported with "
        "this model.",
        "type": "invalid_request_error",
        "param": "top_p",
        "code": "unsupported_parameter",
    }
    provider.answer = lambda _: web.json_response(
        {"error": problem}, status=400
    )
    sampling = Sampling(top_p=0.5)
    asked = talk(provider, replace(TALK, sampling=sampling))
    with pytest.raises(errors.ConfigurationError, match="top_p"):
        await converse("OpenAI", asked)
    assert len(provider.bodies) == 1


class Plain(BaseLLMSDK):
    """A third party's plug-in: the four methods only."""

    problem: errors.LLMError | None = None

    @classmethod
    def get_name(cls) -> str:
        return "Plain"

    def validate_config(self, config: LLMConfig) -> None:
        pass

    def complete(self, request: CompletionRequest) -> Completion:
        if self.problem is not None:
            raise self.problem
        return Completion(request.user, Usage(1, 2), "stop", "r1")

    def stream(self, request: CompletionRequest) -> Iterator[StreamItem]:
        yield request.user
        if self.problem is not None:
            raise self.problem
        yield Usage(1, 2)


def _plain(*parts: Any, **more: Any) -> CompletionRequest:
    message = Message("user", parts) if parts else Message.of("user", "Hi")
    conversation = Conversation((message,), **more)
    return CompletionRequest(LLMConfig("m"), conversation=conversation)


async def test_a_plain_plug_in_answers_with_text() -> None:
    sdk = Plain()
    assert await sdk.converse(_plain()) == Answer(
        (TextOut("Hi"),), Usage(1, 2), request_id="r1"
    )
    assert [event async for event in sdk.converse_stream(_plain())] == [
        Begun(),
        TextDelta("Hi"),
        UsageSeen(Usage(1, 2)),
        Ended("stop"),
    ]


@pytest.mark.parametrize(
    ("problem", "finish"),
    [
        (errors.TruncatedError("x", partial_text="H"), "length"),
        (errors.ContentFilteredError("x"), "content_filter"),
    ],
)
async def test_a_plain_plug_in_s_partial_answer_is_one(
    problem: errors.LLMError, finish: str
) -> None:
    sdk = Plain()
    sdk.problem = problem
    answer = await sdk.converse(_plain())
    assert (answer.text, answer.finish) == (problem.partial_text, finish)
    *_, last = [event async for event in sdk.converse_stream(_plain())]
    assert last == Ended(finish)  # type: ignore[arg-type]


async def test_a_plain_plug_in_s_errors_are_its_own() -> None:
    sdk = Plain()
    sdk.problem = errors.ToolCalledError("x")
    with pytest.raises(errors.ToolCalledError):
        await sdk.converse(_plain())


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        (_plain(tools=(ToolDefinition("f"),)), "tools"),
        (_plain(ImagePart("https://host/a.png")), "images"),
        (_plain(sampling=Sampling(logprobs=1)), "logprobs"),
    ],
)
async def test_a_plain_plug_in_refuses_by_name(
    asked: CompletionRequest, what: str
) -> None:
    with pytest.raises(errors.ConfigurationError, match=what):
        await Plain().converse(asked)
    with pytest.raises(errors.ConfigurationError, match=what):
        _ = [event async for event in Plain().converse_stream(asked)]


def _limited(response: web.Response) -> web.Response:
    response.headers["x-ratelimit-limit-requests"] = "5"
    return response


async def test_what_is_left_of_a_limit_is_told(provider: Recorder) -> None:
    choice = {"message": {"content": "yes"}, "finish_reason": "stop"}
    chunk = _chunk({"content": "yes"}, "stop")
    seen: list[str | None] = []
    listening = headers_of_answer.set(
        lambda headers: seen.append(headers.get("x-ratelimit-limit-requests"))
    )
    try:
        provider.answer = lambda _: _limited(
            web.json_response({"choices": [choice]})
        )
        await converse("OpenAI", talk(provider))
        provider.answer = lambda _: _limited(events(chunk))
        await listen("OpenAI", talk(provider))
    finally:
        headers_of_answer.reset(listening)
    assert seen == ["5", "5"]
