"""Conversations and answers through each format and back."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import anthropic.types
import openai.types.chat
import pytest
from anthropic.types.raw_message_stream_event import RawMessageStreamEvent
from anthropic.types.shared import ErrorResponse
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from pydantic_core import from_json, to_json

from llm_sdks import errors
from llm_sdks.answers import (
    Answer,
    AnswerBuilder,
    Event,
    RefusalOut,
    TextOut,
    ThinkingOut,
    events_of,
)
from llm_sdks.anthropic_sdk import AnthropicSDK
from llm_sdks.base_sdk import CompletionRequest, LLMConfig
from llm_sdks.conversation import Conversation, ToolCall
from llm_sdks.formats import (
    anthropic_api,
    anthropic_request,
    openai_chat_api,
    openai_request,
    rendering,
)
from llm_sdks.formats.api import Head, Problem, problem_of
from llm_sdks.formats.conversation_reader import ConversationReader
from llm_sdks.formats.sse import EventReader
from llm_sdks.openai_sdk import OpenAISDK
from llm_sdks.profiles.profile import EVERYTHING
from llm_sdks.usage import Usage
from tests.support.examples import examples  # noqa: F401 - sets the profile
from tests.support.talks import LOGPROBS, answers, conversations, schema_forms

CONFIG = LLMConfig("m", deployment="theirs", max_token=100)
HEAD = Head("0123abcd", "theirs", 1_700_000_000)
EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)


@dataclass(frozen=True)
class Dialect:
    """One format in both directions, and the judge of what is written."""

    api: Any
    sdk: type[OpenAISDK | AnthropicSDK]
    writer: Callable[[], Any]
    check_whole: Callable[[Any], object]
    check_event: Callable[[Any], object]

    def reader(self) -> ConversationReader:
        sdk = self.sdk()
        return ConversationReader(
            sdk, sdk.typed(), "key", {"x-request-id": "req-1"}
        )

    def streamed(self, events: Iterable[Event]) -> list[Any]:
        """Write a stream, and read its events as JSON."""
        writer = self.writer()
        content = b"".join(writer.write(event) for event in events)
        reader = EventReader()
        return [*reader.feed(content), *reader.close()]

    def read_back(self, values: Iterable[Any]) -> Answer:
        """Read a stream's events as a provider's."""
        reader, builder = self.reader(), AnswerBuilder()
        for value in values:
            for event in reader.take(value):
                builder.add(event)
        for event in reader.end(is_done=True):
            builder.add(event)
        return builder.answer()


OPENAI = Dialect(
    openai_chat_api,
    OpenAISDK,
    lambda: openai_chat_api.StreamWriter(HEAD, usage=True),
    openai.types.chat.ChatCompletion.model_validate,
    openai.types.chat.ChatCompletionChunk.model_validate,
)
ANTHROPIC = Dialect(
    anthropic_api,
    AnthropicSDK,
    lambda: anthropic_api.StreamWriter(HEAD),
    anthropic.types.Message.model_validate,
    EVENT.validate_python,
)
BOTH = pytest.mark.parametrize("dialect", [OPENAI, ANTHROPIC])


def asked(conversation: Conversation) -> CompletionRequest:
    return CompletionRequest(CONFIG, conversation=conversation)


@given(
    conversations(
        seed=st.one_of(st.none(), st.integers(-5, 5)),
        presence_penalty=st.sampled_from([None, 0.5]),
        top_k=st.sampled_from([None, 7]),
        logprobs=st.sampled_from([None, 0, 3]),
    ),
    st.one_of(st.none(), schema_forms()),
)
def test_a_conversation_is_the_same_after_chat_completions(
    conversation: Conversation, form: Any
) -> None:
    if form is not None:
        conversation = replace(conversation, response_format=form)
    body = openai_request.render(asked(conversation), EVERYTHING)
    back = openai_chat_api.read(from_json(to_json(body)))
    assert back.conversation == conversation
    assert (back.model, back.stream) == ("theirs", False)


@pytest.mark.parametrize("stream", [False, True])
@given(conversation=conversations(top_k=st.sampled_from([None, 7])))
def test_a_conversation_is_the_same_after_anthropics_messages(
    conversation: Conversation, *, stream: bool
) -> None:
    body = anthropic_request.render(asked(conversation), EVERYTHING)
    body["stream"] = stream
    back = anthropic_api.read(from_json(to_json(body)))
    assert back.conversation == conversation
    assert (back.model, back.stream) == ("theirs", stream)


def test_anthropic_holds_a_schema() -> None:
    schema = {"type": "object", "additionalProperties": False}
    conversation = Conversation.simple("", "Hi", response_schema=schema)
    body = anthropic_request.render(asked(conversation), EVERYTHING)
    back = anthropic_api.read(body)
    assert back.conversation.response_format.schema == schema


def _held(answer: Answer, dialect: Dialect) -> Answer:
    """Give what of an answer a format can tell."""
    if dialect is OPENAI:
        return answer
    # Its refusals are text like any other, and are told by the end.
    parts = tuple(
        TextOut(part.text) if isinstance(part, RefusalOut) else part
        for part in answer.parts
    )
    return replace(answer, parts=parts)


@BOTH
@given(answers())
def test_an_answer_is_the_same_after_any_format(
    dialect: Dialect, answer: Answer
) -> None:
    body = dialect.api.write(answer, HEAD)
    dialect.check_whole(body)
    back = dialect.reader().whole(to_json(body), 200)
    assert back == _held(answer, dialect)


@BOTH
@given(answers())
def test_a_stream_is_the_same_after_any_format(
    dialect: Dialect, answer: Answer
) -> None:
    values = dialect.streamed(events_of(answer))
    for value in values:
        dialect.check_event(value)
    assert dialect.read_back(values) == _held(answer, dialect)


@BOTH
@given(answers())
def test_a_stream_in_place_of_an_answer_is_read_as_well(
    dialect: Dialect, answer: Answer
) -> None:
    writer = dialect.writer()
    content = b"".join(map(writer.write, events_of(answer)))
    assert dialect.reader().whole(content, 200) == _held(answer, dialect)


def test_log_probabilities_pass_through_chat_completions() -> None:
    answer = Answer((TextOut("yes"),), logprobs=LOGPROBS, model="theirs")
    body = openai_chat_api.write(answer, HEAD)
    whole = openai.types.chat.ChatCompletion.model_validate(body)
    logprobs = whole.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert logprobs.content[0].top_logprobs[1].token == "no"
    assert OPENAI.reader().whole(to_json(body), 200).logprobs == LOGPROBS
    values = OPENAI.streamed(events_of(answer))
    assert OPENAI.read_back(values).logprobs == LOGPROBS


def test_thoughts_keep_their_proof_in_anthropics_format() -> None:
    thoughts = (ThinkingOut("so", "p1"), ThinkingOut("no", "p2"))
    answer = Answer((*thoughts, TextOut("yes")), model="theirs")
    values = ANTHROPIC.streamed(events_of(answer))
    assert ANTHROPIC.read_back(values).parts == answer.parts
    body = anthropic_api.write(answer, HEAD)
    assert ANTHROPIC.reader().whole(to_json(body), 200).parts == answer.parts
    again = anthropic_api.read(
        {
            "model": "m",
            "max_tokens": 5,
            "messages": [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": body["content"]},
                {"role": "user", "content": "Why?"},
            ],
        }
    )
    rendered = anthropic_request.render(asked(again.conversation), EVERYTHING)
    assert rendered["messages"][1]["content"] == body["content"]


def test_a_stop_sequence_is_told_in_anthropics_format() -> None:
    answer = Answer((TextOut("a"),), stop_sequence="END", model="theirs")
    body = anthropic_api.write(answer, HEAD)
    assert body["stop_reason"] == "stop_sequence"
    back = ANTHROPIC.reader().whole(to_json(body), 200)
    assert (back.finish, back.stop_sequence) == ("stop", "END")
    back = ANTHROPIC.read_back(ANTHROPIC.streamed(events_of(answer)))
    assert back.stop_sequence == "END"


def test_anthropics_format_holds_no_broken_arguments() -> None:
    answer = Answer((ToolCall("1", "f", "[1"),), finish="tool_calls")
    with pytest.raises(errors.FailedGenerationError, match="'f'"):
        anthropic_api.write(answer, HEAD)


@pytest.mark.parametrize(
    ("endpoint", "kept"),
    [
        ("https://generativelanguage.googleapis.com/v1beta/openai", "YWJj"),
        ("https://api.openai.com/v1", ""),
    ],
)
def test_googles_signatures_pass_through_chat_completions(
    endpoint: str, kept: str
) -> None:
    call = ToolCall("1", "f", "{}", "YWJj")
    answer = Answer((call,), finish="tool_calls")
    body = openai_chat_api.write(answer, HEAD)
    assert OPENAI.reader().whole(to_json(body), 200).tool_calls == (call,)
    values = OPENAI.streamed(events_of(answer))
    assert OPENAI.read_back(values).tool_calls == (call,)
    again = {"messages": [body["choices"][0]["message"]], "model": "m"}
    request = CompletionRequest(
        replace(CONFIG, endpoint=endpoint),
        conversation=openai_chat_api.read(again).conversation,
    )
    rendered = openai_request.render(request, EVERYTHING)
    (found,) = openai_chat_api.read(rendered).conversation.messages
    assert found.tool_calls[0].signature == kept


def test_usage_is_written_where_it_was_asked_for_only() -> None:
    writer = openai_chat_api.StreamWriter(HEAD)
    written = [writer.write(each) for each in events_of(Answer())]
    assert all(b"usage" not in each for each in written)
    usage = Usage(5, 4, 3, 2, 1)
    (last,) = [
        value
        for value in OPENAI.streamed(events_of(Answer(usage=usage)))
        if value["usage"]
    ]
    assert last["choices"] == []
    chunk = openai.types.chat.ChatCompletionChunk.model_validate(last)
    assert chunk.usage is not None
    assert chunk.usage.total_tokens == 9


def test_a_model_name_does_not_break_a_stream() -> None:
    head = replace(HEAD, model='\0"content":"\0"')
    writer = openai_chat_api.StreamWriter(head)
    content = b"".join(map(writer.write, events_of(Answer((TextOut("a"),)))))
    assert OPENAI.reader().whole(content, 200).text == "a"


@pytest.mark.parametrize(
    ("error", "status", "theirs"),
    [
        (errors.RateLimitedError("x"), 429, 429),
        (errors.OverloadedError("x"), 503, 529),
        (errors.CallTimeoutError("x"), 504, 504),
        (errors.ModelNotFoundError("x"), 404, 404),
        (errors.ConfigurationError("x"), 500, 500),
        (rendering.unsupported("x", "m", "seed"), 400, 400),
        (errors.NotAuthorizedError("x"), 502, 502),
        (errors.QuotaExhaustedError("x"), 429, 429),
        (errors.PluginError("x"), 500, 500),
    ],
)
def test_errors_have_each_formats_shape(
    error: errors.LLMError, status: int, theirs: int
) -> None:
    problem = problem_of(error)
    assert openai_chat_api.status_of(problem) == status
    assert anthropic_api.status_of(problem) == theirs
    body = openai_chat_api.write_error(problem)["error"]
    assert body.keys() == {"message", "type", "param", "code"}
    ErrorResponse.model_validate(anthropic_api.write_error(problem))


@BOTH
def test_a_broken_stream_ends_with_the_vendors_error(
    dialect: Dialect,
) -> None:
    writer = dialect.writer()
    first, second, *_ = events_of(Answer((TextOut("a"),)))
    content = (
        writer.write(first)
        + writer.write(second)
        + writer.fail(Problem("provider", "It broke.", request_id="r"))
    )
    values = list(EventReader().feed(content))
    assert values[-1]["error"]["message"] == "It broke."
    with pytest.raises(errors.LLMError, match="It broke") as raised:
        dialect.reader().whole(content, 200)
    assert raised.value.partial_text == "a"
