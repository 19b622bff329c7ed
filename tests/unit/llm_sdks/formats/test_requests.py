import itertools
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import to_json

from llm_sdks import errors
from llm_sdks.base_sdk import CompletionRequest, LLMConfig
from llm_sdks.conversation import (
    Conversation,
    ImagePart,
    Message,
    MessagePart,
    ResponseFormat,
    Sampling,
    TextPart,
    ToolCall,
    ToolChoice,
    ToolDefinition,
    ToolResult,
)
from llm_sdks.formats import (
    anthropic_request,
    gemini_request,
    openai_request,
)
from llm_sdks.profiles.profile import EVERYTHING, NEWER_LIMIT, Profile

CONFIG = LLMConfig("m", max_token=100)
PICTURE = ImagePart(data=b"abc", media_type="image/png", detail="low")
LINK = ImagePart("https://host/a.png")
TOOL = ToolDefinition(
    "weather",
    "Tells the weather.",
    {"type": "object", "properties": {"city": {"type": "string"}}},
    strict=True,
)
TALK = Conversation(
    (
        Message("system", (TextPart("Be brief."),)),
        Message("user", (TextPart("What is it?"), PICTURE, LINK)),
        Message(
            "assistant",
            (
                TextPart("Wait."),
                ToolCall("c1", "weather", '{"city":"Rome"}'),
                ToolCall("c2", "weather", '{"city":"Oslo"}'),
            ),
        ),
        Message(
            "tool",
            (
                ToolResult("c1", '{"sky":"blue"}'),
                ToolResult("c2", "no such city", is_error=True),
            ),
        ),
        Message.of("user", "And now?"),
    ),
    (TOOL,),
    ToolChoice("tool", "weather", parallel=False),
    sampling=Sampling(
        temperature=0.5,
        top_p=0.9,
        max_tokens=50,
        stop=("END",),
        reasoning_effort="low",
    ),
)
SCHEMA = {
    "title": "Sky",
    "type": "object",
    "properties": {"a": {"oneOf": [{"const": 1}, {"type": "string"}]}},
    "required": ["a"],
    "additionalProperties": False,
}
FORMATS = {
    "openai": (openai_request.render, EVERYTHING),
    "anthropic": (anthropic_request.render, anthropic_request.PROFILE),
    "gemini": (gemini_request.render, gemini_request.PROFILE),
}


def body(
    name: str,
    talk: Conversation,
    said: Profile = Profile(),  # noqa: B008 - frozen
    config: LLMConfig = CONFIG,
) -> dict[str, Any]:
    render, default = FORMATS[name]
    request = CompletionRequest(config, conversation=talk)
    return render(request, said.over(default))


def of_form(form: ResponseFormat, text: str = "Hi") -> Conversation:
    return Conversation((Message.of("user", text),), response_format=form)


def test_a_whole_conversation_for_openai() -> None:
    function = {
        "name": "weather",
        "parameters": TOOL.parameters,
        "description": "Tells the weather.",
        "strict": True,
    }
    data = "data:image/png;base64,YWJj"
    assert body("openai", TALK) == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is it?"},
                    {
                        "type": "image_url",
                        "image_url": {"url": data, "detail": "low"},
                    },
                    {
                        "type": "image_url",
                        "image_url": {"url": "https://host/a.png"},
                    },
                ],
            },
            {
                "role": "assistant",
                "content": "Wait.",
                "tool_calls": [
                    {
                        "id": call_id,
                        "type": "function",
                        "function": {
                            "name": "weather",
                            "arguments": arguments,
                        },
                    }
                    for call_id, arguments in (
                        ("c1", '{"city":"Rome"}'),
                        ("c2", '{"city":"Oslo"}'),
                    )
                ],
            },
            {
                "role": "tool",
                "tool_call_id": "c1",
                "content": '{"sky":"blue"}',
            },
            {
                "role": "tool",
                "tool_call_id": "c2",
                "content": "no such city",
            },
            {"role": "user", "content": "And now?"},
        ],
        "max_tokens": 50,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["END"],
        "reasoning_effort": "low",
        "tools": [{"type": "function", "function": function}],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "parallel_tool_calls": False,
    }


def test_a_whole_conversation_for_anthropic() -> None:
    assert body("anthropic", TALK) == {
        "model": "m",
        "max_tokens": 50,
        "system": "Be brief.",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is it?"},
                    {
                        "type": "image",
                        "source": {
                            "type": "base64",
                            "media_type": "image/png",
                            "data": "YWJj",
                        },
                    },
                    {
                        "type": "image",
                        "source": {
                            "type": "url",
                            "url": "https://host/a.png",
                        },
                    },
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "Wait."},
                    *(
                        {
                            "type": "tool_use",
                            "id": call_id,
                            "name": "weather",
                            "input": {"city": city},
                        }
                        for call_id, city in (("c1", "Rome"), ("c2", "Oslo"))
                    ),
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "c1",
                        "content": '{"sky":"blue"}',
                    },
                    {
                        "type": "tool_result",
                        "tool_use_id": "c2",
                        "content": "no such city",
                        "is_error": True,
                    },
                    {"type": "text", "text": "And now?"},
                ],
            },
        ],
        "temperature": 0.5,
        "top_p": 0.9,
        "stop_sequences": ["END"],
        "output_config": {"effort": "low"},
        "tools": [
            {
                "name": "weather",
                "input_schema": TOOL.parameters,
                "description": "Tells the weather.",
                "strict": True,
            }
        ],
        "tool_choice": {
            "type": "tool",
            "name": "weather",
            "disable_parallel_tool_use": True,
        },
    }


def test_a_whole_conversation_for_gemini() -> None:
    assert body("gemini", TALK) == {
        "contents": [
            {
                "role": "user",
                "parts": [
                    {"text": "What is it?"},
                    {
                        "inline_data": {
                            "data": b"abc",
                            "mime_type": "image/png",
                        }
                    },
                    {"file_data": {"file_uri": "https://host/a.png"}},
                ],
            },
            {
                "role": "model",
                "parts": [
                    {"text": "Wait."},
                    *(
                        {
                            "function_call": {
                                "id": call_id,
                                "name": "weather",
                                "args": {"city": city},
                            }
                        }
                        for call_id, city in (("c1", "Rome"), ("c2", "Oslo"))
                    ),
                ],
            },
            {
                "role": "user",
                "parts": [
                    *(
                        {
                            "function_response": {
                                "id": call_id,
                                "name": "weather",
                                "response": response,
                            }
                        }
                        for call_id, response in (
                            ("c1", {"sky": "blue"}),
                            ("c2", {"error": "no such city"}),
                        )
                    ),
                    {"text": "And now?"},
                ],
            },
        ],
        "config": {
            "max_output_tokens": 50,
            "temperature": 0.5,
            "top_p": 0.9,
            "stop_sequences": ["END"],
            "thinking_config": {"thinking_level": "LOW"},
            "system_instruction": "Be brief.",
            "tools": [
                {
                    "function_declarations": [
                        {
                            "name": "weather",
                            "description": "Tells the weather.",
                            "parameters_json_schema": TOOL.parameters,
                        }
                    ]
                }
            ],
            "tool_config": {
                "function_calling_config": {
                    "mode": "ANY",
                    "allowed_function_names": ["weather"],
                }
            },
        },
    }


def test_googles_library_takes_what_is_written_for_it() -> None:
    from google.genai import types  # noqa: PLC0415 - takes seconds

    whole = body("gemini", TALK)
    types.GenerateContentConfig(**whole["config"])
    for content in whole["contents"]:
        types.Content.model_validate(content)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("said", "what"),
    [
        (Profile(supports_tools=False), "tools"),
        (Profile(supports_images=False), "images"),
        (Profile(supports_stop=False), "stop"),
    ],
)
def test_what_a_model_cannot_do_is_named(
    name: str, said: Profile, what: str
) -> None:
    with pytest.raises(errors.ConfigurationError, match=what):
        body(name, TALK, said)


def test_log_probabilities_are_asked_for_where_they_are_known() -> None:
    talk = Conversation(
        (Message.of("user", "Hi"),), sampling=Sampling(logprobs=3)
    )
    asked = body("openai", talk)
    assert (asked["logprobs"], asked["top_logprobs"]) == (True, 3)
    config = body("gemini", talk)["config"]
    assert (config["response_logprobs"], config["logprobs"]) == (True, 3)
    with pytest.raises(errors.ConfigurationError, match="logprobs"):
        body("anthropic", talk)


def test_options_that_only_shape_an_answer_are_left_out() -> None:
    sampling = Sampling(
        temperature=0.5,
        top_p=0.9,
        top_k=5,
        seed=1,
        presence_penalty=0.1,
        frequency_penalty=0.1,
        reasoning_effort="high",
    )
    talk = Conversation((Message.of("user", "Hi"),), sampling=sampling)
    said = Profile(
        supports_temperature=False,
        supports_top_p=False,
        supports_top_k=False,
        supports_seed=False,
        supports_penalties=False,
        supports_reasoning_effort=False,
    )
    plain = {"messages", "max_tokens", "model"}
    assert body("openai", talk, said).keys() == plain
    assert body("anthropic", talk, said).keys() == plain
    assert body("gemini", talk, said)["config"] == {"max_output_tokens": 100}


def test_a_schema_is_sent_as_far_as_it_is_taken() -> None:
    talk = of_form(ResponseFormat.of(SCHEMA))
    said = Profile(schema_keywords_refused=("const", "oneOf"))
    form = body("openai", talk, said)["response_format"]["json_schema"]
    sent = form["schema"]["properties"]["a"]
    assert sent == {"anyOf": [{"enum": [1]}, {"type": "string"}]}
    assert (form["name"], form["strict"]) == ("Sky", True)
    loose = body("openai", talk, Profile(supports_strict_schema=False))
    assert loose["response_format"]["json_schema"]["strict"] is False
    output = body("anthropic", talk)["output_config"]["format"]
    assert "anyOf" in output["schema"]["properties"]["a"]


def test_without_schemas_the_prompt_says_it() -> None:
    talk = of_form(ResponseFormat.of(SCHEMA))
    said = Profile(supports_json_schema=False)
    asked = body("openai", talk, said)
    assert asked["response_format"] == {"type": "json_object"}
    system = asked["messages"][0]
    assert system["role"] == "system"
    assert to_json(SCHEMA).decode() in system["content"]
    said = replace(said, supports_json_object=False)
    asked = body("openai", talk, said)
    assert "response_format" not in asked
    assert to_json(SCHEMA).decode() in asked["messages"][0]["content"]
    # Anthropic has no mode for open schemas.
    opened = of_form(ResponseFormat.of({"type": "object"}))
    asked = body("anthropic", opened)
    assert "output_config" not in asked
    assert '{"type":"object"}' in asked["system"]


def test_json_mode_is_asked_for_in_words_as_well() -> None:
    form = ResponseFormat("json_object")
    assert len(body("openai", of_form(form, "As JSON"))["messages"]) == 1
    asked = body("openai", of_form(form))["messages"]
    assert "JSON" in asked[0]["content"]
    assert "JSON" in body("anthropic", of_form(form))["system"]


def test_a_model_without_system_messages_gets_them_from_the_user() -> None:
    said = Profile(supports_system=False)
    talk = Conversation.simple("Be brief.", "Hi")
    (message,) = body("openai", talk, said)["messages"]
    assert message == {"role": "user", "content": "Be brief.\n\nHi"}
    assert body("gemini", talk, said)["contents"] == "Be brief.\n\nHi"
    assert "system" not in body("anthropic", talk, said)


@pytest.mark.parametrize(
    ("limits", "wanted", "field", "sent"),
    [
        ({"max_token": 7}, None, None, {"max_tokens": 7}),
        ({"max_token": 7}, 9, None, {"max_tokens": 7}),
        ({"max_token": 7}, 5, NEWER_LIMIT, {"max_completion_tokens": 5}),
        ({}, 5, None, {"max_tokens": 5}),
        ({}, None, NEWER_LIMIT, {}),
    ],
)
def test_the_lower_limit_is_sent(
    limits: dict[str, int],
    wanted: int | None,
    field: Any,
    sent: dict[str, int],
) -> None:
    talk = Conversation(
        (Message.of("user", "x"),), sampling=Sampling(max_tokens=wanted)
    )
    asked = body(
        "openai",
        talk,
        Profile(token_limit_field=field),
        LLMConfig("m", **limits),  # type: ignore[arg-type]
    )
    found = {k: v for k, v in asked.items() if k.startswith("max_")}
    assert found == sent


def test_cache_marks_go_to_anthropic() -> None:
    talk = Conversation(
        (
            Message("system", (TextPart("Long.", cache=True),)),
            Message("user", (TextPart("Hi", cache=True),)),
        ),
        (replace(TOOL, cache=True),),
    )
    asked = body("anthropic", talk)
    mark = {"cache_control": {"type": "ephemeral"}}
    assert asked["system"] == [{"type": "text", "text": "Long.", **mark}]
    (turn,) = asked["messages"]
    assert turn["content"] == [{"type": "text", "text": "Hi", **mark}]
    assert asked["tools"][0]["cache_control"] == {"type": "ephemeral"}
    assert "cache_control" not in json.dumps(body("openai", talk))


@pytest.mark.parametrize("name", ["anthropic", "gemini"])
@pytest.mark.parametrize("arguments", ["{broken", "[1]", "null"])
def test_arguments_that_are_no_object_are_a_bad_request(
    name: str, arguments: str
) -> None:
    call = Message("assistant", (ToolCall("c1", "weather", arguments),))
    with pytest.raises(errors.BadRequestError, match="weather"):
        body(name, Conversation((call,)))


def test_a_result_must_belong_to_a_call_of_geminis() -> None:
    result = Message("tool", (ToolResult("c9", "x"),))
    with pytest.raises(errors.BadRequestError, match="c9"):
        body("gemini", Conversation((result,)))


texts = st.builds(TextPart, st.text(max_size=9), st.booleans())
images = st.just(PICTURE) | st.just(LINK)
calls = st.builds(ToolCall, st.text(min_size=1), st.just("weather"))
results = st.builds(
    ToolResult,
    st.text(),
    st.text() | st.tuples(texts),
    st.just("weather"),
    st.booleans(),
)
PARTS: dict[Any, st.SearchStrategy[MessagePart]] = {
    "system": texts,
    "user": texts | images,
    "assistant": texts | calls,
    "tool": results,
}
messages = st.sampled_from(list(PARTS)).flatmap(
    lambda role: st.lists(PARTS[role], min_size=1, max_size=4).map(
        lambda parts: Message(role, tuple(parts))
    )
)
conversations = st.lists(messages, min_size=1, max_size=6).map(
    lambda each: Conversation(tuple(each), (TOOL,))
)
profiles = st.fixed_dictionaries(
    {
        name: st.booleans()
        for name in (
            "supports_system",
            "supports_temperature",
            "supports_json_schema",
            "supports_json_object",
        )
    }
).map(Profile.of)


@given(conversations, profiles, st.sampled_from(list(FORMATS)))
def test_any_conversation_can_be_written_down_with_all_its_texts(
    talk: Conversation, said: Profile, name: str
) -> None:
    form = ResponseFormat.of(SCHEMA)
    talk = replace(talk, response_format=form)
    whole = body(name, talk, said)
    written = to_json(whole, bytes_mode="base64").decode()
    for message in talk.messages:
        for part in message.texts:
            # Not quoted, for texts may be joined.
            assert json.dumps(part.text, ensure_ascii=False)[1:-1] in (
                json.dumps(json.loads(written), ensure_ascii=False)
            )
    if name == "anthropic":
        roles = [turn["role"] for turn in whole["messages"]]
        assert all(a != b for a, b in itertools.pairwise(roles))
