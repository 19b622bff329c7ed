"""What is written, as the vendors' own libraries read it."""

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import pytest
from aiohttp import web
from pydantic import BaseModel

from llm_sdks.answers import (
    Answer,
    TextOut,
    ThinkingOut,
    events_of,
)
from llm_sdks.conversation import Conversation, Message, ToolCall
from llm_sdks.errors import BadRequestError
from llm_sdks.formats import (
    anthropic_api,
    openai_chat_api,
    openai_responses_api,
)
from llm_sdks.formats.api import Head, Problem, problem_of
from llm_sdks.usage import Usage
from tests.support.recorder import Recorder, recorder
from tests.support.talks import LOGPROBS

HEAD = Head("0123abcd", "theirs", 1_700_000_000)
ANSWER = Answer(
    (
        ThinkingOut("hm", "proof"),
        TextOut("Wait."),
        ToolCall("c1", "weather", '{"city":"Rome"}'),
        ToolCall("c2", "time", "{}"),
    ),
    Usage(9, 7, 2, 3, 1),
    "tool_calls",
    logprobs=LOGPROBS,
)
BROKEN = Problem("provider", "It broke.", request_id="r")
ASK: Any = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
MESSAGE: Any = {**ASK, "max_tokens": 5}
RESPONSE: Any = {"model": "m", "input": "Hi"}


@pytest.fixture
async def server() -> AsyncIterator[Recorder]:
    async with recorder() as kept:
        yield kept


@pytest.fixture
async def of_openai(server: Recorder) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        api_key="k", base_url=f"{server.url}/v1", max_retries=0
    ) as client:
        yield client


@pytest.fixture
async def of_anthropic(
    server: Recorder,
) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(
        api_key="k", base_url=server.url, max_retries=0
    ) as client:
        yield client


def _stream(writer: Any, *, breaks: bool = False) -> web.Response:
    events = list(events_of(ANSWER))
    content = b"".join(map(writer.write, events[:3] if breaks else events))
    if breaks:
        content += writer.fail(BROKEN)
    return web.Response(body=content, content_type="text/event-stream")


async def test_openais_library_reads_chat_completions(
    server: Recorder, of_openai: openai.AsyncOpenAI
) -> None:
    server.answer = lambda _: web.json_response(
        openai_chat_api.write(ANSWER, HEAD)
    )
    whole = await of_openai.chat.completions.create(**ASK)
    writer = openai_chat_api.StreamWriter(HEAD, usage=True)
    server.answer = lambda _: _stream(writer)
    async with of_openai.chat.completions.stream(**ASK) as stream:
        streamed = await stream.get_final_completion()
    for found in (whole, streamed):
        message = found.choices[0].message
        assert message.content == "Wait."
        assert [
            (call.id, call.function.name, call.function.arguments)
            for call in message.tool_calls or ()
            if call.type == "function"
        ] == [("c1", "weather", '{"city":"Rome"}'), ("c2", "time", "{}")]
        assert found.choices[0].finish_reason == "tool_calls"
        logprobs = found.choices[0].logprobs
        assert logprobs is not None
        assert [each.token for each in logprobs.content or ()] == ["ye", "s"]
        assert found.usage is not None
        assert found.usage.total_tokens == 16


async def test_openais_library_reads_responses(
    server: Recorder, of_openai: openai.AsyncOpenAI
) -> None:
    server.answer = lambda _: web.json_response(
        openai_responses_api.write(ANSWER, HEAD)
    )
    whole = await of_openai.responses.create(**RESPONSE)
    server.answer = lambda _: _stream(openai_responses_api.StreamWriter(HEAD))
    async with of_openai.responses.stream(**RESPONSE) as stream:
        streamed = await stream.get_final_response()
    for found in (whole, streamed):
        assert found.output_text == "Wait."
        assert [item.type for item in found.output] == [
            "reasoning",
            "message",
            "function_call",
            "function_call",
        ]
        assert found.usage is not None
        assert found.usage.output_tokens_details.reasoning_tokens == 3


async def test_anthropics_library_reads_messages(
    server: Recorder, of_anthropic: anthropic.AsyncAnthropic
) -> None:
    server.answer = lambda _: web.json_response(
        anthropic_api.write(ANSWER, HEAD)
    )
    whole = await of_anthropic.messages.create(**MESSAGE)
    server.answer = lambda _: _stream(anthropic_api.StreamWriter(HEAD))
    async with of_anthropic.messages.stream(**MESSAGE) as stream:
        streamed = await stream.get_final_message()
    for found in (whole, streamed):
        blocks = [block.to_dict() for block in found.content]
        assert [block["type"] for block in blocks] == [
            "thinking",
            "text",
            "tool_use",
            "tool_use",
        ]
        assert blocks[0]["signature"] == "proof"
        assert blocks[2]["input"] == {"city": "Rome"}
        assert found.stop_reason == "tool_use"
        usage = found.usage
        assert (usage.input_tokens, usage.cache_read_input_tokens) == (6, 2)
        assert usage.output_tokens == 7


async def test_the_libraries_raise_when_a_stream_breaks(
    server: Recorder,
    of_openai: openai.AsyncOpenAI,
    of_anthropic: anthropic.AsyncAnthropic,
) -> None:
    writer: Any = openai_chat_api.StreamWriter(HEAD)
    server.answer = lambda _: _stream(writer, breaks=True)
    with pytest.raises(openai.APIError, match=r"It broke\."):
        async for _ in await of_openai.chat.completions.create(
            **ASK, stream=True
        ):
            pass
    writer = openai_responses_api.StreamWriter(HEAD)
    with pytest.raises(openai.APIError, match=r"It broke\."):
        async for _ in await of_openai.responses.create(
            **RESPONSE, stream=True
        ):
            pass
    writer = anthropic_api.StreamWriter(HEAD)
    with pytest.raises(anthropic.APIStatusError, match=r"It broke\."):
        async for _ in await of_anthropic.messages.create(
            **MESSAGE, stream=True
        ):
            pass


async def test_the_libraries_know_the_errors(
    server: Recorder,
    of_openai: openai.AsyncOpenAI,
    of_anthropic: anthropic.AsyncAnthropic,
) -> None:
    problem = Problem("rate_limited", "Wait.", param="model")
    server.answer = lambda _: web.json_response(
        openai_chat_api.write_error(problem),
        status=openai_chat_api.status_of(problem),
    )
    with pytest.raises(openai.RateLimitError, match=r"Wait\.") as limited:
        await of_openai.chat.completions.create(**ASK)
    assert limited.value.code == "rate_limit_exceeded"
    assert limited.value.param == "model"
    server.answer = lambda _: web.json_response(
        anthropic_api.write_error(problem),
        status=anthropic_api.status_of(problem),
    )
    with pytest.raises(anthropic.RateLimitError, match=r"Wait\."):
        await of_anthropic.messages.create(**MESSAGE)


async def test_openais_answers_can_be_sent_back(
    server: Recorder, of_openai: openai.AsyncOpenAI
) -> None:
    tool: Any = openai.pydantic_function_tool(Weather, name="weather")
    server.answer = lambda _: _stream(openai_chat_api.StreamWriter(HEAD))
    async with of_openai.chat.completions.stream(
        **ASK, tools=[tool]
    ) as stream:
        streamed = (await stream.get_final_completion()).choices[0].message
    server.answer = lambda _: web.json_response(
        openai_chat_api.write(ANSWER, HEAD)
    )
    whole = (await of_openai.chat.completions.create(**ASK)).choices[0].message
    forms: list[Any] = [streamed, whole, whole.model_dump()]
    for message in forms:
        await of_openai.chat.completions.create(
            model="m", messages=[*ASK["messages"], message], tools=[tool]
        )
        asked = openai_chat_api.read(server.bodies[-1])
        assert _said(asked.conversation.messages[1]) == SAID


async def test_openais_responses_can_be_sent_back(
    server: Recorder, of_openai: openai.AsyncOpenAI
) -> None:
    tool: Any = {
        **openai.pydantic_function_tool(Weather, name="weather")["function"],
        "type": "function",
    }
    server.answer = lambda _: _stream(openai_responses_api.StreamWriter(HEAD))
    async with of_openai.responses.stream(**RESPONSE, tools=[tool]) as stream:
        streamed = await stream.get_final_response()
    server.answer = lambda _: web.json_response(
        openai_responses_api.write(ANSWER, HEAD)
    )
    whole = await of_openai.responses.create(**RESPONSE)
    for found in (streamed, whole):
        items: Any = found.output
        await of_openai.responses.create(
            model="m", input=[{"role": "user", "content": "Hi"}, *items]
        )
        asked = openai_responses_api.read(server.bodies[-1])
        assert _said(asked.conversation.messages[1]) == SAID


async def test_anthropics_answers_can_be_sent_back(
    server: Recorder, of_anthropic: anthropic.AsyncAnthropic
) -> None:
    server.answer = lambda _: _stream(anthropic_api.StreamWriter(HEAD))
    async with of_anthropic.messages.stream(**MESSAGE) as stream:
        streamed = await stream.get_final_message()
    server.answer = lambda _: web.json_response(
        anthropic_api.write(ANSWER, HEAD)
    )
    whole = await of_anthropic.messages.create(**MESSAGE)
    for found in (streamed, whole):
        content: Any = found.content
        turn: Any = {"role": "assistant", "content": content}
        await of_anthropic.messages.create(
            model="m", max_tokens=5, messages=[*ASK["messages"], turn]
        )
        asked = anthropic_api.read(server.bodies[-1])
        assert _said(asked.conversation.messages[1]) == SAID


@anthropic.beta_async_tool
async def weather(city: str) -> str:
    """Tell the weather.

    Args:
        city: The city's name.
    """
    return f"It is sunny in {city}."


@anthropic.beta_async_tool
async def time() -> str:
    """Tell the time."""
    return "It is noon."


async def test_anthropics_tool_runner_does_without_threads(
    server: Recorder, of_anthropic: anthropic.AsyncAnthropic
) -> None:
    asked: list[Conversation] = []

    def serve(body: Any) -> web.Response:
        try:
            asked.append(anthropic_api.read(body).conversation)
        except BadRequestError as error:
            problem = problem_of(error)
            return web.json_response(
                anthropic_api.write_error(problem),
                status=anthropic_api.status_of(problem),
            )
        done = Answer((TextOut("It is sunny."),))
        answer = ANSWER if len(asked) == 1 else done
        return web.json_response(anthropic_api.write(answer, HEAD))

    server.answer = serve
    runner = of_anthropic.beta.messages.tool_runner(
        **MESSAGE, tools=[weather, time]
    )
    last = await runner.until_done()
    assert last.content[0].to_dict()["text"] == "It is sunny."
    assert [each.name for each in asked[0].tools] == ["weather", "time"]
    *_, results = asked[1].messages
    assert [each.text for each in results.tool_results] == [
        "It is sunny in Rome.",
        "It is noon.",
    ]


SAID = ("Wait.", [("c1", "weather"), ("c2", "time")])


class Weather(BaseModel):
    city: str


def _said(message: Message) -> tuple[str, list[tuple[str, str]]]:
    calls = [(each.id, each.name) for each in message.tool_calls]
    return message.text, calls
