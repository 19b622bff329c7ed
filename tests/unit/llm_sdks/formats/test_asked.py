"""What clients send that is wrong, or that no other format can say."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_sdks import errors
from llm_sdks.conversation import (
    ImagePart,
    Message,
    Sampling,
    TextPart,
    ThinkingPart,
    ToolCall,
    ToolChoice,
    ToolDefinition,
    ToolResult,
)
from llm_sdks.formats import (
    anthropic_api,
    openai_chat_api,
    openai_responses_api,
)

CHAT: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": "Hi"}],
}
MESSAGES: dict[str, Any] = {**CHAT, "max_tokens": 5}
PICTURE = "data:image/png;base64,YWJj"


def _user(*parts: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}]}


def _message(**fields: Any) -> dict[str, Any]:
    return {"messages": [fields]}


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"model": None}, "model"),
        ({"model": 5}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": {}}, "messages"),
        ({"messages": [5]}, "messages[0]"),
        (_message(content="Hi"), "messages[0].role"),
        (_message(role="user"), "messages[0].content"),
        (_message(role="function", content=""), "messages[0].role"),
        (_message(role="user", content="", name="Al"), "messages[0].name"),
        (_user({"type": "text"}), "messages[0].content[0].text"),
        (_user("Hi"), "messages[0].content[0]"),
        (
            _user({"type": "input_audio", "input_audio": {}}),
            "messages[0].content[0].type",
        ),
        (
            _user({"type": "image_url", "image_url": {"url": "ftp://a"}}),
            "messages[0].content[0].image_url.url",
        ),
        (
            _user({"type": "image_url", "image_url": {"url": "data:x"}}),
            "messages[0].content[0].image_url.url",
        ),
        (
            _user(
                {
                    "type": "image_url",
                    "image_url": {"url": "data:image/png;base64,%"},
                }
            ),
            "messages[0].content[0].image_url.url",
        ),
        (
            _user(
                {
                    "type": "image_url",
                    "image_url": {"url": PICTURE, "detail": "huge"},
                }
            ),
            "messages[0].content[0].image_url.detail",
        ),
        (
            _message(
                role="system",
                content=[{"type": "image_url", "image_url": {"url": PICTURE}}],
            ),
            "messages[0].content",
        ),
        (
            _message(role="assistant", tool_calls=[{"id": "1"}]),
            "messages[0].tool_calls[0].function",
        ),
        (
            _message(role="assistant", tool_calls=[{"type": "custom"}]),
            "messages[0].tool_calls[0].type",
        ),
        (
            _message(role="assistant", function_call={"name": "f"}),
            "messages[0].function_call",
        ),
        (_message(role="tool", content=""), "messages[0].tool_call_id"),
        ({"n": 2}, "n"),
        ({"store": True}, "store"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"prediction": {}}, "prediction"),
        ({"functions": []}, "functions"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"seed": 0.5}, "seed"),
        ({"stop": [5]}, "stop[0]"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"reasoning_effort": "huge"}, "reasoning_effort"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"x": 1}}, "stream_options.x"),
        ({"response_format": {"type": "x"}}, "response_format.type"),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"schema": 5},
                }
            },
            "response_format.json_schema.schema",
        ),
        ({"tools": [{"type": "custom"}]}, "tools[0].type"),
        (
            {"tools": [{"type": "function", "function": {"x": 1}}]},
            "tools[0].function.name",
        ),
        ({"tool_choice": "any"}, "tool_choice"),
        ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice.type"),
        (
            {"tool_choice": {"type": "function", "function": {"name": ""}}},
            "tool_choice.function.name",
        ),
    ],
)
def test_chat_completions_are_refused_by_path(more: Any, path: str) -> None:
    with pytest.raises(errors.BadRequestError) as raised:
        openai_chat_api.read({**CHAT, **more})
    assert raised.value.param == path
    assert path in str(raised.value)


def _block(**fields: Any) -> dict[str, Any]:
    return _user(fields)


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"messages": []}, "messages"),
        (_message(role="robot", content=""), "messages[0].role"),
        (_block(type="document"), "messages[0].content[0].type"),
        (_block(type="tool_use"), "messages[0].content[0].input"),
        (
            _block(type="tool_use", input={}, id="1", name="f"),
            "messages[0].content",
        ),
        (_block(type="image"), "messages[0].content[0].source"),
        (
            _block(type="image", source={"type": "file"}),
            "messages[0].content[0].source.type",
        ),
        (
            _block(type="image", source={"type": "base64", "data": "%"}),
            "messages[0].content[0].source.data",
        ),
        (
            _block(
                type="image",
                source={"type": "base64", "data": "", "media_type": ""},
            ),
            "messages[0].content[0].source.media_type",
        ),
        (
            _block(type="text", text="", cache_control={"type": "x"}),
            "messages[0].content[0].cache_control.type",
        ),
        (
            _block(
                type="tool_result",
                tool_use_id="1",
                content=[{"type": "document"}],
            ),
            "messages[0].content[0].content[0].type",
        ),
        (
            _block(
                type="tool_result",
                tool_use_id="1",
                content=[{"type": "thinking"}],
            ),
            "messages[0].content[0].content",
        ),
        (
            {
                "system": [
                    {
                        "type": "image",
                        "source": {"type": "url", "url": "https://host/a"},
                    }
                ]
            },
            "system",
        ),
        ({"temperature": 1.5}, "temperature"),
        ({"thinking": {"type": "x"}}, "thinking.type"),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 5}},
            "thinking.budget_tokens",
        ),
        ({"tools": [{"type": "web_search_20250305"}]}, "tools[0].type"),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
        ({"tool_choice": {"type": "x"}}, "tool_choice.type"),
        ({"tool_choice": {"type": "tool", "name": ""}}, "tool_choice.name"),
        ({"output_config": {"effort": "none"}}, "output_config.effort"),
        (
            {"output_config": {"format": {"type": "json"}}},
            "output_config.format.type",
        ),
        (
            {"output_config": {"format": {"type": "json_schema"}}},
            "output_config.format.schema",
        ),
        ({"container": "c"}, "container"),
        ({"mcp_servers": []}, "mcp_servers"),
        ({"speed": "fast"}, "speed"),
    ],
)
def test_anthropics_messages_are_refused_by_path(more: Any, path: str) -> None:
    with pytest.raises(errors.BadRequestError) as raised:
        anthropic_api.read({**MESSAGES, **more})
    assert raised.value.param == path
    assert path in str(raised.value)


def test_chat_completions_take_what_clients_send_besides() -> None:
    asked = openai_chat_api.read(
        {
            "model": "m",
            "messages": [
                {"role": "developer", "content": "Be brief."},
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "text",
                            "text": "What is it?",
                            "prompt_cache_breakpoint": {"mode": "explicit"},
                        },
                        {
                            "type": "image_url",
                            "image_url": {"url": PICTURE, "detail": "low"},
                        },
                    ],
                },
                {
                    "role": "assistant",
                    "content": None,
                    "refusal": None,
                    "annotations": [],
                    "audio": None,
                    "function_call": None,
                    "reasoning_content": "hm",
                    "tool_calls": [
                        {
                            "id": "1",
                            "type": "function",
                            "function": {"name": "f", "arguments": "{}"},
                            "extra_content": {
                                "google": {"thought_signature": "YWJj"}
                            },
                        }
                    ],
                },
                {"role": "tool", "tool_call_id": "1", "content": "a"},
                {
                    "role": "tool",
                    "tool_call_id": "2",
                    "name": "g",
                    "content": [
                        {"type": "text", "text": "b"},
                        {"type": "text", "text": "c"},
                    ],
                },
                {
                    "role": "assistant",
                    "content": [{"type": "refusal", "refusal": "No."}],
                },
            ],
            "n": 1,
            "store": False,
            "user": "u",
            "metadata": {"a": "b"},
            "stop": "END",
            "max_tokens": 9,
            "max_completion_tokens": 5,
            "stream": True,
            "stream_options": {"include_usage": True},
            "parallel_tool_calls": False,
            "tools": [{"type": "function", "function": {"name": "f"}}],
            "response_format": {"type": "json_object"},
        }
    )
    assert (asked.stream, asked.stream_usage) == (True, True)
    picture = ImagePart(data=b"abc", media_type="image/png", detail="low")
    conversation = asked.conversation
    assert conversation.messages == (
        Message.of("system", "Be brief."),
        Message("user", (TextPart("What is it?", cache=True), picture)),
        Message(
            "assistant",
            (ThinkingPart("hm"), ToolCall("1", "f", "{}", "YWJj")),
        ),
        Message(
            "tool",
            (
                ToolResult("1", "a"),
                ToolResult("2", (TextPart("b"), TextPart("c")), "g"),
            ),
        ),
        Message.of("assistant", "No."),
    )
    assert conversation.tool_choice == ToolChoice(parallel=False)
    assert conversation.tools == (ToolDefinition("f"),)
    assert conversation.sampling == Sampling(max_tokens=5, stop=("END",))


def test_anthropics_messages_take_what_clients_send_besides() -> None:
    mark = {"type": "ephemeral", "ttl": "1h"}
    asked = anthropic_api.read(
        {
            "model": "m",
            "max_tokens": 5,
            "system": [
                {"type": "text", "text": "Be brief.", "cache_control": mark}
            ],
            "messages": [
                {
                    "role": "assistant",
                    "content": [
                        {"type": "redacted_thinking", "data": "x"},
                        {"type": "text", "text": "a", "citations": None},
                        {
                            "type": "tool_use",
                            "id": "1",
                            "name": "f",
                            "input": {},
                            "caller": {"type": "direct"},
                        },
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "tool_result",
                            "tool_use_id": "1",
                            "is_error": True,
                            "cache_control": mark,
                        },
                        {
                            "type": "tool_result",
                            "tool_use_id": "2",
                            "content": [
                                {
                                    "type": "image",
                                    "source": {
                                        "type": "base64",
                                        "media_type": "image/png",
                                        "data": "YWJj",
                                    },
                                }
                            ],
                        },
                        {"type": "text", "text": "Why?"},
                    ],
                },
            ],
            "cache_control": mark,
            "metadata": {"user_id": "u"},
            "service_tier": "auto",
            "thinking": {"type": "enabled", "budget_tokens": 4000},
            "tools": [
                {
                    "name": "f",
                    "input_schema": {"type": "object"},
                    "cache_control": mark,
                    "eager_input_streaming": True,
                }
            ],
            "tool_choice": {
                "type": "tool",
                "name": "f",
                "disable_parallel_tool_use": True,
            },
        }
    )
    picture = ImagePart(data=b"abc", media_type="image/png")
    conversation = asked.conversation
    assert conversation.messages == (
        Message("system", (TextPart("Be brief.", cache=True),)),
        Message("assistant", (TextPart("a"), ToolCall("1", "f"))),
        Message(
            "tool",
            (
                ToolResult("1", is_error=True, cache=True),
                ToolResult("2", (picture,)),
            ),
        ),
        Message.of("user", "Why?"),
    )
    assert conversation.sampling.reasoning_effort == "medium"
    assert conversation.tools[0].cache
    assert conversation.tool_choice == ToolChoice("tool", "f", parallel=False)


@pytest.mark.parametrize(
    ("thinking", "effort"),
    [
        ({"type": "disabled"}, None),
        ({"type": "adaptive", "display": "omitted"}, None),
        ({"type": "enabled"}, None),
        ({"type": "enabled", "budget_tokens": 1024}, "low"),
        ({"type": "enabled", "budget_tokens": 32000}, "high"),
    ],
)
def test_budgets_for_thinking_become_levels(
    thinking: Any, effort: Any
) -> None:
    asked = anthropic_api.read({**MESSAGES, "thinking": thinking})
    assert asked.conversation.sampling.reasoning_effort == effort


def test_tokens_are_counted_without_a_limit() -> None:
    asked = anthropic_api.read_to_count(CHAT)
    assert asked.conversation.sampling.max_tokens is None


_WORDS = [
    "user", "assistant", "system", "tool", "text", "image", "function",
    "tool_use", "tool_result", "function_call", "reasoning", "json_schema",
]  # fmt: skip
_FIELDS = [
    "role", "content", "type", "text", "id", "name", "input", "messages",
    "tools", "source", "tool_calls", "function", "arguments", "image_url",
    "url", "tool_use_id", "output", "call_id", "summary", "system", "model",
    "max_tokens", "thinking", "tool_choice", "response_format", "schema",
]  # fmt: skip
_json = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=5),
        st.sampled_from(_WORDS),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(_FIELDS), inner, max_size=5),
    ),
    max_leaves=20,
)


@pytest.mark.parametrize(
    "api", [openai_chat_api, anthropic_api, openai_responses_api]
)
@given(body=st.dictionaries(st.text(max_size=5), _json), messages=_json)
def test_whatever_is_sent_is_read_or_refused(
    api: Any, body: Any, messages: Any
) -> None:
    asked = {**body, "model": "m", "max_tokens": 5}
    for name in ("messages", "input", "tools"):
        with suppress(errors.BadRequestError):
            api.read({**asked, name: messages})
