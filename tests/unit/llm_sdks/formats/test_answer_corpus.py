"""Answers as the vendors' documentation has them, in every format.

What comes in and what goes out is checked by the vendors' own types, and
the client is told the same in whatever format it asks.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from anthropic.types import Message
from anthropic.types.raw_message_stream_event import RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter
from pydantic_core import from_json, to_json

from llm_sdks.answers import Answer, events_of
from llm_sdks.anthropic_sdk import AnthropicSDK
from llm_sdks.base_sdk import CompletionRequest, LLMConfig
from llm_sdks.conversation import Conversation
from llm_sdks.formats import (
    anthropic_api,
    anthropic_request,
    openai_chat_api,
    openai_request,
    openai_responses_api,
)
from llm_sdks.formats.api import Head
from llm_sdks.formats.conversation_reader import ConversationReader
from llm_sdks.formats.sse import EventReader
from llm_sdks.openai_sdk import OpenAISDK
from llm_sdks.profiles.profile import EVERYTHING
from tests.support.talks import answers, conversations

Json = dict[str, Any]
ROWS = json.loads((Path(__file__).parent / "corpus/answers.json").read_text())
HEAD = Head("0123abcd", "theirs", 1_700_000_000)
CONFIG = LLMConfig("m", deployment="theirs", max_token=100)
PLUGINS = {"chat": OpenAISDK, "anthropic": AnthropicSDK}


@dataclass(frozen=True)
class Told:
    """What a client is told: in any format the same."""

    texts: str
    tools: list[Any]
    finish: str
    usage: list[int]


def _of_chat(body: Json) -> Told:
    choice, usage = body["choices"][0], body["usage"]
    message = choice["message"]
    tools = [
        [each["function"]["name"], json.loads(each["function"]["arguments"])]
        for each in message.get("tool_calls") or ()
    ]
    texts = (message["content"] or "") + (message.get("refusal") or "")
    counts = [usage["prompt_tokens"], usage["completion_tokens"]]
    return Told(texts, tools, choice["finish_reason"], counts)


def _of_anthropic(body: Json) -> Told:
    content, usage = body["content"], body["usage"]
    tools = [
        [each["name"], each["input"]]
        for each in content
        if each["type"] == "tool_use"
    ]
    texts = "".join(each.get("text", "") for each in content)
    finish = {"max_tokens": "length", "tool_use": "tool_calls"}
    asked = usage["input_tokens"] + sum(
        usage.get(f"cache_{each}_input_tokens") or 0
        for each in ("read", "creation")
    )
    return Told(
        texts,
        tools,
        finish.get(body["stop_reason"], "stop"),
        [asked, usage["output_tokens"]],
    )


def _of_responses(body: Json) -> Told:
    output, usage = body["output"], body["usage"]
    parts = [
        part
        for item in output
        if item["type"] == "message"
        for part in item["content"]
    ]
    tools = [
        [each["name"], json.loads(each["arguments"])]
        for each in output
        if each["type"] == "function_call"
    ]
    texts = "".join(
        part.get("text") or part.get("refusal") or "" for part in parts
    )
    finish = "tool_calls" if tools else "stop"
    if body["status"] == "incomplete":
        finish = "length"
    counts = [usage["input_tokens"], usage["output_tokens"]]
    return Told(texts, tools, finish, counts)


@dataclass(frozen=True)
class Format:
    """One format: how it is written, and its vendor's types."""

    api: Any
    told: Callable[[Json], Told]
    whole: TypeAdapter[Any]
    event: TypeAdapter[Any]
    writer: Callable[[], Any]


FORMATS: Mapping[str, Format] = {
    "chat": Format(
        openai_chat_api,
        _of_chat,
        TypeAdapter(ChatCompletion),
        TypeAdapter(ChatCompletionChunk),
        lambda: openai_chat_api.StreamWriter(HEAD, usage=True),
    ),
    "anthropic": Format(
        anthropic_api,
        _of_anthropic,
        TypeAdapter(Message),
        TypeAdapter(RawMessageStreamEvent),
        lambda: anthropic_api.StreamWriter(HEAD),
    ),
    "responses": Format(
        openai_responses_api,
        _of_responses,
        TypeAdapter(Response),
        TypeAdapter(ResponseStreamEvent),
        lambda: openai_responses_api.StreamWriter(HEAD),
    ),
}


def _read(row: Json) -> Answer:
    sdk = PLUGINS[row["source"]]()
    reader = ConversationReader(sdk, sdk.typed(), "key", {})
    return reader.whole(json.dumps(row["body"]), 200)


def _events(writer: Any, answer: Answer) -> list[Any]:
    content = b"".join(writer.write(each) for each in events_of(answer))
    reader = EventReader()
    return [*reader.feed(content), *reader.close()]


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize(
    "row", ROWS, ids=lambda row: f"{row['source']}: {row['name']}"
)
def test_a_documented_answer_says_the_same(row: Json, target: str) -> None:
    wanted = Told(row["texts"], row["tools"], row["finish"], row["usage"])
    source, form = FORMATS[row["source"]], FORMATS[target]
    source.whole.validate_python(row["body"])
    assert source.told(row["body"]) == wanted
    answer = _read(row)
    body = form.api.write(answer, HEAD)
    form.whole.validate_json(to_json(body), strict=False)
    assert form.told(from_json(to_json(body))) == wanted
    for event in _events(form.writer(), answer):
        form.event.validate_python(event)


@given(answer=answers())
def test_openais_types_hold_any_answer_as_a_response(answer: Answer) -> None:
    form = FORMATS["responses"]
    body = openai_responses_api.write(answer, HEAD)
    form.whole.validate_python(body)
    events = _events(form.writer(), answer)
    for event in events:
        form.event.validate_python(event)
    last = events[-1]["response"]
    assert form.told(last) == form.told(body)
    chat = FORMATS["chat"].told(openai_chat_api.write(answer, HEAD))
    assert form.told(body).usage == chat.usage


@given(conversation=conversations(top_k=st.sampled_from([None, 7])))
def test_chat_completions_are_the_same_after_anthropics_messages(
    conversation: Conversation,
) -> None:
    def chat(asked: Conversation) -> Json:
        request = CompletionRequest(CONFIG, conversation=asked)
        body: Json = from_json(
            to_json(openai_request.render(request, EVERYTHING))
        )
        return body

    first = chat(conversation)
    through = openai_chat_api.read(first).conversation
    messages = anthropic_request.render(
        CompletionRequest(CONFIG, conversation=through), EVERYTHING
    )
    back = anthropic_api.read(from_json(to_json(messages))).conversation
    assert chat(back) == first
