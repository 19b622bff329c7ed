"""The simulator's tools, probabilities, responses and embeddings.

The vendors' own libraries are the judges.
"""

from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from provider_simulator.running import Simulator
from tests.support.simulator_calls import CLAUDE, CONTENTS, GEMINI

ASK: Any = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Rome"]}},
    "required": ["city"],
}
TOOL: Any = {
    "type": "function",
    "function": {"name": "weather", "parameters": SCHEMA},
}
SCRIPTED = {
    "pattern": "Hello",
    "text": "Wait.",
    "tool_calls": [
        {"name": "weather", "arguments": {"city": "Rome"}},
        {"name": "time"},
    ],
}


@pytest.fixture
def client(simulator: Simulator) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        api_key="k", base_url=simulator.base_urls["OpenAI"], max_retries=0
    ) as client:
        yield client


@pytest.mark.parametrize(
    "choice",
    ["required", {"type": "function", "function": {"name": "weather"}}],
)
def test_a_tool_that_must_be_called_is(
    client: openai.OpenAI, choice: Any
) -> None:
    found = client.chat.completions.create(
        **ASK, tools=[TOOL], tool_choice=choice
    )
    choice = found.choices[0]
    (call,) = choice.message.tool_calls
    assert (call.function.name, call.function.arguments) == (
        "weather",
        '{"city":"Rome"}',
    )
    assert choice.finish_reason == "tool_calls"


def test_a_tool_that_is_none_is_refused(client: openai.OpenAI) -> None:
    choice: Any = {"type": "function", "function": {"name": "other"}}
    tools: Any = [TOOL]
    with pytest.raises(openai.BadRequestError, match="other"):
        client.chat.completions.create(**ASK, tools=tools, tool_choice=choice)


def test_scripted_calls_in_openais_stream(
    simulator: Simulator, client: openai.OpenAI
) -> None:
    simulator.script(SCRIPTED)
    with client.chat.completions.stream(**ASK) as stream:
        found = stream.get_final_completion()
    message = found.choices[0].message
    assert message.content == "Wait."
    calls = [
        (call.function.name, call.function.arguments)
        for call in message.tool_calls or ()
    ]
    assert calls == [("weather", '{"city":"Rome"}'), ("time", "{}")]


def test_scripted_calls_in_anthropics_stream(simulator: Simulator) -> None:
    simulator.script(SCRIPTED)
    body: Any = CLAUDE
    with anthropic.Anthropic(
        api_key="k", base_url=simulator.base_urls["Anthropic"]
    ) as client:
        whole = client.messages.create(**body)
        with client.messages.stream(**body) as stream:
            found = stream.get_final_message()
    for message in (whole, found):
        blocks = [block.to_dict() for block in message.content]
        assert [block["type"] for block in blocks] == [
            "text",
            "tool_use",
            "tool_use",
        ]
        assert blocks[1]["input"] == {"city": "Rome"}
        assert message.stop_reason == "tool_use"


@pytest.mark.parametrize(
    ("tool_config", "name"),
    [
        ({"functionCallingConfig": {"mode": "ANY"}}, "weather"),
        (
            {
                "functionCallingConfig": {
                    "mode": "ANY",
                    "allowedFunctionNames": ["time"],
                }
            },
            "time",
        ),
    ],
)
def test_gemini_calls_what_it_must(
    vendor: httpx2.Client, tool_config: Any, name: str
) -> None:
    declared = [
        {"name": "weather", "parametersJsonSchema": SCHEMA},
        {"name": "time", "parameters": {"type": "OBJECT"}},
    ]
    body = {
        **CONTENTS,
        "tools": [{"functionDeclarations": declared}],
        "toolConfig": tool_config,
    }
    content = vendor.post(GEMINI, json=body).json()
    (part,) = content["candidates"][0]["content"]["parts"]
    assert part["functionCall"]["name"] == name


@pytest.mark.parametrize("choice", ["any", "tool"])
def test_anthropic_calls_what_it_must(
    vendor: httpx2.Client, choice: str
) -> None:
    named = {"name": "weather"} if choice == "tool" else {}
    body = {
        **CLAUDE,
        "tools": [{"name": "weather", "input_schema": SCHEMA}],
        "tool_choice": {"type": choice, **named},
    }
    (block,) = vendor.post("/v1/messages", json=body).json()["content"]
    assert (block["name"], block["input"]) == ("weather", {"city": "Rome"})


@pytest.mark.parametrize("top", [None, 2])
def test_log_probabilities(
    simulator: Simulator, client: openai.OpenAI, top: int | None
) -> None:
    simulator.script({"text": "so it is"})
    asked: Any = {**ASK, "logprobs": True, "top_logprobs": top}
    whole = client.chat.completions.create(**asked)
    with client.chat.completions.stream(**asked) as stream:
        streamed = stream.get_final_completion()
    for found in (whole, streamed):
        logprobs = found.choices[0].logprobs
        assert logprobs is not None
        tokens = logprobs.content or []
        assert [each.token for each in tokens] == ["so i", "t is"]
        assert len(tokens[0].top_logprobs) == (top or 0)


def test_responses(simulator: Simulator, client: openai.OpenAI) -> None:
    simulator.script(SCRIPTED)
    asked: Any = {
        "model": "m",
        "input": [{"role": "user", "content": "Hello"}],
        "instructions": "Be brief.",
        "include": ["message.output_text.logprobs"],
    }
    whole = client.responses.create(**asked)
    with client.responses.stream(**asked) as stream:
        streamed = stream.get_final_response()
    for found in (whole, streamed):
        assert found.output_text == "Wait."
        items = [item.to_dict() for item in found.output]
        assert [item["type"] for item in items] == [
            "message",
            "function_call",
            "function_call",
        ]
        assert items[1]["arguments"] == '{"city":"Rome"}'
        assert found.usage is not None
        assert found.usage.input_tokens == 5


def test_responses_echo_and_are_cut(client: openai.OpenAI) -> None:
    found = client.responses.create(model="m", input="Hello")
    assert '"echo":"Hello"' in found.output_text
    cut = client.responses.create(
        model="m", input="Hello", max_output_tokens=1
    )
    assert cut.status == "incomplete"
    form: Any = {"type": "json_schema", "name": "x", "schema": SCHEMA}
    shaped = client.responses.create(
        model="m", input="Hello", text={"format": form}
    )
    assert shaped.output_text == '{"city":"Rome"}'
    with pytest.raises(openai.BadRequestError):
        client.responses.create(model="m", input=[])


def test_a_broken_stream_of_responses(
    simulator: Simulator, client: openai.OpenAI
) -> None:
    simulator.script({"text": "so " * 30, "failure": "stream_error"})
    with pytest.raises(openai.APIError):
        for _ in client.responses.create(
            model="m", input="Hello", stream=True
        ):
            pass


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_embeddings(client: openai.OpenAI, encoding: Any) -> None:
    asked: Any = {"model": "m", "input": ["a", "b", "a"]}
    plain = client.embeddings.create(**asked)
    first, second, third = [each.embedding for each in plain.data]
    assert first == third != second
    assert sum(number**2 for number in first) == pytest.approx(1, abs=1e-6)
    assert plain.usage.prompt_tokens == 3
    found = client.embeddings.create(
        **asked, dimensions=3, encoding_format=encoding
    )
    length = {"float": 3, "base64": 16}[encoding]
    assert {len(each.embedding) for each in found.data} == {length}


@pytest.mark.parametrize(
    "more",
    [
        {"input": []},
        {"input": None},
        {"input": "a", "encoding_format": "int8"},
        {"input": "a", "dimensions": 5000},
    ],
)
def test_embeddings_that_are_refused(vendor: httpx2.Client, more: Any) -> None:
    response = vendor.post("/v1/embeddings", json={"model": "m", **more})
    assert response.status_code == 400
