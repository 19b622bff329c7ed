"""Whatever a provider sends is read as events, or is an error of ours."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import to_json

from llm_sdks import errors
from llm_sdks.answers import (
    Answer,
    AnswerBuilder,
    Begun,
    Ended,
    Event,
    events_of,
)
from llm_sdks.anthropic_sdk import AnthropicSDK
from llm_sdks.formats import (
    anthropic_api,
    openai_chat_api,
    openai_responses_api,
)
from llm_sdks.formats.api import Head
from llm_sdks.formats.conversation_reader import ConversationReader
from llm_sdks.formats.sse import EventReader
from llm_sdks.gemini_sdk import GeminiSDK
from llm_sdks.openai_sdk import OpenAISDK
from llm_sdks.provider_sdk import ProviderSDK
from tests.support.talks import answers, places

HEAD = Head("0123abcd", "theirs", 1_700_000_000)
_WORDS = [
    "stop", "tool_use", "text", "thinking", "message_start", "message",
    "content_block_start", "content_block_delta", "message_delta",
    "input_json_delta", "text_delta", "thinking_delta", "signature_delta",
    "STOP", "end_turn", "\ud83d", "\ude00", "0", "",
]  # fmt: skip
_FIELDS = [
    "choices", "delta", "message", "content", "tool_calls", "function",
    "name", "arguments", "id", "index", "finish_reason", "logprobs", "token",
    "logprob", "bytes", "top_logprobs", "reasoning_content", "refusal",
    "type", "content_block", "input", "partial_json", "text", "thinking",
    "stop_reason", "usage", "candidates", "parts", "functionCall", "args",
    "thoughtSignature", "logprobsResult", "chosenCandidates", "tokenCount",
]  # fmt: skip
_json = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-2, 3),
        st.floats(),
        st.sampled_from(_WORDS),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(_FIELDS), inner, max_size=6),
    ),
    max_leaves=25,
)
_ALL = pytest.mark.parametrize("kind", [OpenAISDK, AnthropicSDK, GeminiSDK])


def _reader(kind: type[ProviderSDK]) -> ConversationReader:
    sdk = kind()
    return ConversationReader(sdk, sdk.typed(), "key", {})


def _check(events: list[Event]) -> None:
    """Check what is promised of events, and that all can write them."""
    assert isinstance(events[0], Begun)
    assert isinstance(events[-1], Ended)
    assert sum(isinstance(event, Begun | Ended) for event in events) == 2
    builder = AnswerBuilder()
    for event in events:
        builder.add(event)
    answer = builder.answer()
    for api in (openai_chat_api, openai_responses_api, anthropic_api):
        writer = api.StreamWriter(HEAD)
        for event in events:
            writer.write(event).decode()
        try:
            to_json(api.write(answer, HEAD))
        except errors.FailedGenerationError:
            assert api is anthropic_api


def _read(kind: type[ProviderSDK], values: list[Any]) -> None:
    reader = _reader(kind)
    events: list[Event] = []
    try:
        for value in values:
            events += reader.take(value)
        events += reader.end(is_done=True)
    except errors.LLMError:
        return
    _check(events)


@_ALL
@given(values=st.lists(_json, max_size=4))
def test_any_stream(kind: type[ProviderSDK], values: list[Any]) -> None:
    _read(kind, values)


def _streamed(kind: type[ProviderSDK], answer: Answer) -> list[Any]:
    """Give an answer as the provider streams it."""
    if kind is GeminiSDK:
        return list(_of_gemini(answer))
    api: Any = openai_chat_api if kind is OpenAISDK else anthropic_api
    writer, reader = api.StreamWriter(HEAD), EventReader()
    content = b"".join(map(writer.write, events_of(answer)))
    return list(reader.feed(content))


def _of_gemini(answer: Answer) -> Iterator[dict[str, Any]]:
    said = [{"text": answer.thinking, "thought": True}, {"text": answer.text}]
    calls = [
        {"functionCall": {"name": each.name, "args": {"a": [1]}}}
        for each in answer.tool_calls
    ]
    for part in (*said, *calls):
        yield {"candidates": [{"content": {"parts": [part]}}]}
    yield {
        "candidates": [{"finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 1},
    }


@_ALL
@given(answer=answers(), data=st.data())
def test_any_damage(
    kind: type[ProviderSDK], answer: Answer, data: st.DataObject
) -> None:
    values = _streamed(kind, answer)
    for _ in range(data.draw(st.integers(0, 2))):
        holder, key = data.draw(st.sampled_from(list(places(values))))
        if data.draw(st.booleans()):
            del holder[key]
        else:
            holder[key] = data.draw(_json)
    _read(kind, values)


@_ALL
@given(value=_json)
def test_any_answer(kind: type[ProviderSDK], value: Any) -> None:
    try:
        content = to_json(value)
    except ValueError:  # half of a surrogate pair
        return
    try:
        _reader(kind).whole(content, 200)
    except errors.LLMError:
        return


def test_arguments_before_any_call_are_an_error() -> None:
    delta = {"type": "input_json_delta", "partial_json": "{}"}
    event = {"type": "content_block_delta", "index": 0, "delta": delta}
    with pytest.raises(errors.UnreadableAnswerError):
        list(_reader(AnthropicSDK).take(event))


def test_halves_of_a_letter_are_joined() -> None:
    reader = _reader(OpenAISDK)
    events: list[Event] = []
    for text in ("a\ud83d", "\ude00b", "\ud83d"):
        events += reader.take({"choices": [{"delta": {"content": text}}]})
    events += reader.end(is_done=True)
    builder = AnswerBuilder()
    for event in events:
        builder.add(event)
    assert builder.answer().text == "a😀b\N{REPLACEMENT CHARACTER}"
