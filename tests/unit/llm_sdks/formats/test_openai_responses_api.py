"""OpenAI's Responses: requests in, answers out."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter
from pydantic_core import from_json, to_json

from llm_sdks import errors
from llm_sdks.answers import (
    Answer,
    Event,
    TextOut,
    ThinkingOut,
    events_of,
)
from llm_sdks.conversation import (
    Conversation,
    ImagePart,
    Message,
    Sampling,
    TextPart,
    ThinkingPart,
    ToolCall,
    ToolDefinition,
    ToolResult,
)
from llm_sdks.formats import openai_responses_api
from llm_sdks.formats.api import Head, Problem
from llm_sdks.formats.sse import EventReader
from tests.support.talks import LOGPROBS, answers, conversations, schema_forms

HEAD = Head("0123abcd", "theirs", 1_700_000_000)
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def _body(asked: Conversation) -> dict[str, Any]:
    """Write a conversation as a client would ask it."""
    sampling = asked.sampling
    body: dict[str, Any] = {
        "model": "theirs",
        "input": [x for each in asked.messages for x in _items(each)],
        "tools": [_tool(each) for each in asked.tools],
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_output_tokens": sampling.max_tokens,
        "reasoning": {"effort": sampling.reasoning_effort, "summary": "auto"},
        "top_logprobs": sampling.logprobs,
        "text": {"format": _form(asked)},
    }
    if choice := asked.tool_choice:
        named = {"type": "function", "name": choice.name}
        body["tool_choice"] = named if choice.name else choice.mode
        body["parallel_tool_calls"] = choice.parallel
    return {name: value for name, value in body.items() if value is not None}


def _form(asked: Conversation) -> dict[str, Any]:
    form = asked.response_format
    if form.schema is None:
        return {"type": form.kind}
    return {
        "type": form.kind,
        "schema": form.schema,
        "name": form.name,
        "description": form.description,
        "strict": form.strict,
    }


def _tool(tool: ToolDefinition) -> dict[str, Any]:
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": tool.strict,
    }


def _items(message: Message) -> Iterable[dict[str, Any]]:
    kind = "output_text" if message.role == "assistant" else "input_text"
    content: list[dict[str, Any]] = [
        {"type": kind, "text": part.text}
        if isinstance(part, TextPart)
        else {"type": "input_image", "image_url": part.address}
        for part in message.parts
        if isinstance(part, TextPart | ImagePart)
    ]
    if content:
        yield {"role": message.role, "content": content}
    for call in message.tool_calls:
        yield {
            "type": "function_call",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments,
        }
    for result in message.tool_results:
        yield {
            "type": "function_call_output",
            "call_id": result.call_id,
            "output": result.text,
        }


def _without_stop(conversation: Conversation) -> Conversation:
    sampling = replace(conversation.sampling, stop=())
    return replace(conversation, sampling=sampling)


@given(
    conversations(logprobs=st.sampled_from([None, 0, 3])).map(_without_stop),
    st.one_of(st.none(), schema_forms()),
)
def test_a_conversation_is_the_same_after_responses(
    conversation: Conversation, form: Any
) -> None:
    if form is not None:
        conversation = replace(conversation, response_format=form)
    back = openai_responses_api.read(from_json(to_json(_body(conversation))))
    assert back.conversation == conversation
    assert back.model == "theirs"


def _streamed(events: Iterable[Event], head: Head = HEAD) -> list[Any]:
    writer = openai_responses_api.StreamWriter(head)
    content = b"".join(writer.write(event) for event in events)
    return list(EventReader().feed(content))


@given(answers())
def test_answers_are_responses(answer: Answer) -> None:
    body = openai_responses_api.write(answer, HEAD)
    response = Response.model_validate(body)
    assert response.output_text == answer.text
    assert response.usage is not None
    assert response.usage.input_tokens == answer.usage.input_tokens
    calls = [
        ToolCall(item.call_id, item.name, item.arguments)
        for item in response.output
        if item.type == "function_call"
    ]
    assert tuple(calls) == answer.tool_calls
    is_cut = answer.finish == "length"
    assert response.status == ("incomplete" if is_cut else "completed")


@given(answers())
def test_streams_end_with_the_same_response(answer: Answer) -> None:
    values = _streamed(events_of(answer))
    for number, value in enumerate(values):
        event = EVENT.validate_python(value)
        assert event.sequence_number == number
    assert values[-1]["response"] == openai_responses_api.write(answer, HEAD)
    said = "".join(
        value["delta"]
        for value in values
        if value["type"] == "response.output_text.delta"
    )
    assert said == answer.text
    # What began has ended.
    names = [value["type"] for value in values]
    added = names.count("response.output_item.added")
    assert names.count("response.output_item.done") == added


def test_a_response_repeats_its_request() -> None:
    tool = {"type": "function", "name": "f"}
    request = {"model": "m", "input": "Hi", "tools": [tool], "top_p": 0.5}
    body = openai_responses_api.write(
        Answer((TextOut("yes"),)), replace(HEAD, request=request)
    )
    response = Response.model_validate(body)
    assert response.tools[0].type == "function"
    assert response.top_p == 0.5


def test_log_probabilities_are_in_the_text() -> None:
    answer = Answer((TextOut("yes"), ToolCall("1", "f")), logprobs=LOGPROBS)
    response = Response.model_validate(
        openai_responses_api.write(answer, HEAD)
    )
    item = response.output[0]
    assert item.type == "message"
    content = item.content[0]
    assert content.type == "output_text"
    assert content.logprobs is not None
    assert content.logprobs[0].top_logprobs[1].bytes == list(b"no")


def test_thoughts_are_items_of_their_own() -> None:
    answer = Answer((ThinkingOut("hm", "proof"), TextOut("yes")))
    body = openai_responses_api.write(answer, HEAD)
    assert [item["type"] for item in body["output"]] == [
        "reasoning",
        "message",
    ]
    asked = openai_responses_api.read(
        {
            "model": "m",
            "instructions": "Be brief.",
            "input": [
                {"role": "user", "content": "Hi"},
                *body["output"],
                {"role": "user", "content": "Why?"},
            ],
        }
    )
    assert asked.conversation.messages == (
        Message.of("system", "Be brief."),
        Message.of("user", "Hi"),
        Message("assistant", (ThinkingPart("hm"), TextPart("yes"))),
        Message.of("user", "Why?"),
    )


@pytest.mark.parametrize("finish", ["content_filter", "refusal"])
def test_an_answer_held_back_is_not_complete(finish: Any) -> None:
    values = _streamed(events_of(Answer(finish=finish)))
    last = EVENT.validate_python(values[-1])
    assert last.type == "response.incomplete"
    assert last.response.incomplete_details.reason == "content_filter"


def test_a_broken_stream_ends_with_the_vendors_error() -> None:
    writer = openai_responses_api.StreamWriter(HEAD)
    first, second, *_ = events_of(Answer((TextOut("a"),)))
    content = (
        writer.write(first)
        + writer.write(second)
        + writer.fail(Problem("provider", "It broke."))
    )
    *_, error, failed = [
        EVENT.validate_python(value) for value in EventReader().feed(content)
    ]
    assert (error.type, error.message) == ("error", "It broke.")
    assert failed.type == "response.failed"
    assert failed.response.error.message == "It broke."
    assert failed.response.output_text == "a"


def test_pictures_and_results_of_several_parts_are_read() -> None:
    asked = openai_responses_api.read(
        {
            "model": "m",
            "input": [
                {
                    "type": "function_call",
                    "call_id": "c",
                    "name": "f",
                    "arguments": "",
                    "id": "fc_1",
                    "status": "completed",
                },
                {
                    "type": "function_call_output",
                    "call_id": "c",
                    "output": [
                        {"type": "input_text", "text": "a"},
                        {
                            "type": "input_image",
                            "image_url": "data:image/png;base64,YWJj",
                            "detail": "low",
                        },
                    ],
                },
            ],
            "include": ["message.output_text.logprobs"],
            "text": {"format": {"type": "json_object"}},
        }
    )
    picture = ImagePart(data=b"abc", media_type="image/png", detail="low")
    result = ToolResult("c", (TextPart("a"), picture))
    assert asked.conversation.messages == (
        Message("assistant", (ToolCall("c", "f"),)),
        Message("tool", (result,)),
    )
    assert asked.conversation.sampling == Sampling(logprobs=0)
    assert asked.conversation.response_format.kind == "json_object"


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "c"}, "conversation"),
        ({"background": True}, "background"),
        ({"truncation": "auto"}, "truncation"),
        ({"include": ["file_search_call.results"]}, "include"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tool_choice": {"type": "mcp"}}, "tool_choice.type"),
        ({"tool_choice": "any"}, "tool_choice"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
        ({"input": [{"type": "item_reference"}]}, "input[0].type"),
        ({"input": [{"role": "robot", "content": ""}]}, "input[0].role"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file"}]}]},
            "input[0].content[0].type",
        ),
        (
            {
                "input": [
                    {
                        "role": "system",
                        "content": [
                            {
                                "type": "input_image",
                                "image_url": "https://host/a.png",
                            }
                        ],
                    }
                ]
            },
            "input[0].content",
        ),
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"top_logprobs": 21}, "top_logprobs"),
    ],
)
def test_what_cannot_be_translated_is_refused_by_its_path(
    more: Any, path: str
) -> None:
    with pytest.raises(errors.BadRequestError) as raised:
        openai_responses_api.read({"model": "m", "input": "Hi", **more})
    assert raised.value.param == path
    assert path in str(raised.value)
