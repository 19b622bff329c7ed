"""What the vendors' documentation shows, as a user types it.

Each example runs with the model of either vendor behind it.
"""

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from anthropic import beta_tool
from pydantic import BaseModel

from provider_simulator.running import Simulator
from tests.support.gateway_user import GatewayUser

OSLO = {"name": "get_weather", "arguments": {"location": "Oslo"}}
PARAMETERS: Any = {
    "type": "object",
    "properties": {"location": {"type": "string"}},
    "required": ["location"],
    "additionalProperties": False,
}
DOT = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwAD"
    "hgGAWjR9awAAAABJRU5ErkJggg=="
)


class CalendarEvent(BaseModel):
    name: str
    date: str
    participants: list[str]


EVENT = {"name": "fair", "date": "Friday", "participants": ["Ada", "Bob"]}


@pytest.fixture
def simulator(shared_simulator: Simulator) -> Simulator:
    return shared_simulator


@pytest.fixture
def user(http: httpx2.Client) -> GatewayUser:
    return GatewayUser(http)


@pytest.fixture(params=["OpenAI", "Anthropic"])
def model(
    request: pytest.FixtureRequest, user: GatewayUser, simulator: Simulator
) -> str:
    return made(user, simulator, request.param)


def made(user: GatewayUser, simulator: Simulator, sdk: str) -> str:
    return user.model(
        sdk=sdk,
        endpoint=simulator.base_urls[sdk],
        key="PROVIDER-KEY",
        deployment="theirs",
        maxToken=4096,
    )


@pytest.fixture
def client(user: GatewayUser) -> Iterator[openai.OpenAI]:
    with user.openai() as made_client:
        yield made_client


@pytest.fixture
def claude(user: GatewayUser) -> Iterator[anthropic.Anthropic]:
    with user.anthropic() as made_client:
        yield made_client


# OpenAI: chat completions.


def test_chat_with_a_developers_message(
    client: openai.OpenAI, model: str
) -> None:
    completion = client.chat.completions.create(
        model=model,
        messages=[
            {"role": "developer", "content": "Talk like a pirate."},
            {"role": "user", "content": "Are semicolons optional?"},
        ],
    )
    assert "semicolons" in str(completion.choices[0].message.content)


def test_chat_in_a_stream(client: openai.OpenAI, model: str) -> None:
    stream = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "Say 'double bubble bath'."}],
        stream=True,
    )
    said = ""
    for chunk in stream:
        if chunk.choices[0].delta.content is not None:
            said += chunk.choices[0].delta.content
    assert "double bubble bath" in said


def test_chat_with_an_earlier_turn_and_parts(
    client: openai.OpenAI, model: str
) -> None:
    url = f"data:image/png;base64,{DOT}"
    completion = client.chat.completions.create(
        model=model,
        messages=[
            {"role": "user", "content": "knock knock."},
            {"role": "assistant", "content": "Who's there?"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What's in this image?"},
                    {
                        "type": "image_url",
                        "image_url": {"url": url, "detail": "low"},
                    },
                ],
            },
        ],
        max_completion_tokens=300,
    )
    assert "image" in str(completion.choices[0].message.content)


def test_chat_calls_functions(
    client: openai.OpenAI, model: str, simulator: Simulator
) -> None:
    simulator.script(
        {"tool_calls": [OSLO, OSLO], "times": 1}, {"text": "Cold."}
    )
    tools: Any = [
        {
            "type": "function",
            "function": {
                "name": "get_weather",
                "description": "Get the temperature of a place.",
                "parameters": PARAMETERS,
                "strict": True,
            },
        }
    ]
    messages: list[Any] = [{"role": "user", "content": "How is Oslo?"}]
    completion = client.chat.completions.create(
        model=model, messages=messages, tools=tools
    )
    calls = completion.choices[0].message.tool_calls
    assert calls is not None
    assert completion.choices[0].finish_reason == "tool_calls"
    messages.append(completion.choices[0].message)
    for call in calls:
        assert call.type == "function"
        assert json.loads(call.function.arguments) == {"location": "Oslo"}
        messages.append(
            {"role": "tool", "tool_call_id": call.id, "content": "-3"}
        )
    second = client.chat.completions.create(
        model=model, messages=messages, tools=tools
    )
    assert second.choices[0].message.content == "Cold."
    assert len({call.id for call in calls}) == 2


def test_chat_streams_the_calls_of_functions(
    client: openai.OpenAI, model: str, simulator: Simulator
) -> None:
    simulator.script({"tool_calls": [OSLO, OSLO]})
    final: dict[int, Any] = {}
    for chunk in client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "How is Oslo?"}],
        tools=[
            {
                "type": "function",
                "function": {"name": "get_weather", "parameters": PARAMETERS},
            }
        ],
        stream=True,
    ):
        for call in chunk.choices[0].delta.tool_calls or []:
            assert call.function is not None
            if call.index not in final:
                final[call.index] = call
            else:
                final[call.index].function.arguments += (
                    call.function.arguments or ""
                )
    arguments = [each.function.arguments for each in final.values()]
    assert [json.loads(each) for each in arguments] == [
        {"location": "Oslo"},
        {"location": "Oslo"},
    ]


def test_chat_parses_structured_output(
    client: openai.OpenAI, model: str, simulator: Simulator
) -> None:
    simulator.script({"json": EVENT})
    completion = client.chat.completions.parse(
        model=model,
        messages=[
            {"role": "system", "content": "Extract the event information."},
            {"role": "user", "content": "Ada and Bob go to a fair."},
        ],
        response_format=CalendarEvent,
    )
    assert completion.choices[0].message.parsed == CalendarEvent(**EVENT)
    with client.chat.completions.stream(
        model=model,
        messages=[{"role": "user", "content": "Ada and Bob go to a fair."}],
        response_format=CalendarEvent,
    ) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert "content.delta" in kinds
    assert final.choices[0].message.parsed == CalendarEvent(**EVENT)


def test_chat_in_json_mode(
    client: openai.OpenAI, model: str, simulator: Simulator
) -> None:
    simulator.script({"json": {"winner": "nobody"}})
    completion = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "Who won? Answer in JSON."}],
        response_format={"type": "json_object"},
    )
    assert json.loads(str(completion.choices[0].message.content)) == {
        "winner": "nobody"
    }


# OpenAI: responses.


def test_responses_with_instructions(
    client: openai.OpenAI, model: str
) -> None:
    response = client.responses.create(
        model=model,
        reasoning={"effort": "low"},
        instructions="Talk like a pirate.",
        input="Are semicolons optional in JavaScript?",
    )
    assert "semicolons" in response.output_text


def test_responses_in_a_stream(client: openai.OpenAI, model: str) -> None:
    stream = client.responses.create(
        model=model,
        input=[{"role": "user", "content": "Say 'double bubble bath'."}],
        stream=True,
    )
    events = list(stream)
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    numbers = [event.sequence_number for event in events]
    assert numbers == sorted(set(numbers))
    said = "".join(
        event.delta
        for event in events
        if event.type == "response.output_text.delta"
    )
    assert said == events[-1].response.output_text


def test_responses_with_a_picture(client: openai.OpenAI, model: str) -> None:
    response = client.responses.create(
        model=model,
        input=[
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "what is here?"},
                    {
                        "type": "input_image",
                        "image_url": f"data:image/png;base64,{DOT}",
                        "detail": "auto",
                    },
                ],
            }
        ],
    )
    assert "what is here?" in response.output_text


def test_responses_call_functions(
    client: openai.OpenAI, model: str, simulator: Simulator
) -> None:
    simulator.script({"tool_calls": [OSLO], "times": 1}, {"text": "Cold."})
    tools: Any = [
        {
            "type": "function",
            "name": "get_weather",
            "description": "Get the weather.",
            "parameters": PARAMETERS,
            "strict": True,
        }
    ]
    asked: list[Any] = [{"role": "user", "content": "How is Oslo?"}]
    response = client.responses.create(model=model, tools=tools, input=asked)
    asked += response.output
    for item in response.output:
        if item.type == "function_call":
            assert json.loads(item.arguments) == {"location": "Oslo"}
            asked.append(
                {
                    "type": "function_call_output",
                    "call_id": item.call_id,
                    "output": json.dumps({"temperature": -3}),
                }
            )
    last = client.responses.create(model=model, tools=tools, input=asked)
    assert last.output_text == "Cold."


def test_responses_parse_structured_output(
    client: openai.OpenAI, model: str, simulator: Simulator
) -> None:
    simulator.script({"json": EVENT})
    response = client.responses.parse(
        model=model,
        input=[{"role": "user", "content": "Ada and Bob go to a fair."}],
        text_format=CalendarEvent,
    )
    assert response.output_parsed == CalendarEvent(**EVENT)


# OpenAI: the rest.


def test_embeddings_of_several_texts(
    client: openai.OpenAI, user: GatewayUser, simulator: Simulator
) -> None:
    model = made(user, simulator, "OpenAI")
    whole = client.embeddings.create(
        model=model, input=["one", "two"], encoding_format="float"
    )
    packed = client.embeddings.create(model=model, input="one", dimensions=8)
    assert [len(each.embedding) for each in whole.data] == [64, 64]
    assert len(packed.data[0].embedding) == 8


def test_raw_and_streamed_responses(client: openai.OpenAI, model: str) -> None:
    messages: Any = [{"role": "user", "content": "Say this is a test"}]
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=messages
    )
    assert raw.headers["x-stream-id"]
    assert raw.request_id
    assert raw.status_code == 200
    assert raw.parse().choices
    with client.chat.completions.with_streaming_response.create(
        model=model, messages=messages
    ) as streamed:
        assert "application/json" in str(streamed.headers["content-type"])
        assert any("test" in line for line in streamed.iter_lines())


def test_the_lists_of_models_are_whole(
    client: openai.OpenAI,
    claude: anthropic.Anthropic,
    user: GatewayUser,
    simulator: Simulator,
) -> None:
    names = {made(user, simulator, "OpenAI") for _ in range(5)}
    assert names <= {each.id for each in client.models.list()}
    # Page by page, behind the scenes.
    found = [each.id for each in claude.models.list(limit=2)]
    assert names <= set(found)
    assert len(found) == len(set(found))
    page = claude.models.list(limit=2)
    assert page.has_next_page()
    assert len(page.get_next_page().data) > 0

    async def all_of_them() -> list[str]:
        async with user.async_anthropic() as other:
            return [each.id async for each in other.models.list(limit=3)]

    assert names <= set(asyncio.run(all_of_them()))
    assert client.models.retrieve(found[0]).id == found[0]
    assert claude.models.retrieve(found[0]).id == found[0]


# Anthropic: messages.


def test_messages_with_a_system_text_and_turns(
    claude: anthropic.Anthropic, model: str
) -> None:
    message = claude.messages.create(
        model=model,
        max_tokens=1024,
        system="Respond only in Yoda-speak.",
        messages=[
            {"role": "user", "content": "Hello, Claude"},
            {"role": "assistant", "content": "Hello!"},
            {"role": "user", "content": "Can you describe models to me?"},
        ],
    )
    assert message.stop_reason == "end_turn"
    assert "describe models" in message.content[0].text  # type: ignore[union-attr]
    assert message.usage.input_tokens > 0


def test_messages_in_a_stream(claude: anthropic.Anthropic, model: str) -> None:
    asked: Any = [{"role": "user", "content": "Say hello there!"}]
    kinds = []
    with claude.messages.create(
        model=model, max_tokens=1024, messages=asked, stream=True
    ) as events:
        kinds = [event.type for event in events]
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    with claude.messages.stream(
        model=model, max_tokens=1024, messages=asked
    ) as stream:
        texts = list(stream.text_stream)
        final = stream.get_final_message()
    assert "".join(texts) == stream.get_final_text()
    assert final.stop_reason == "end_turn"


def test_messages_with_a_picture_and_a_cache_mark(
    claude: anthropic.Anthropic, model: str
) -> None:
    message = claude.messages.create(
        model=model,
        max_tokens=1024,
        system=[
            {
                "type": "text",
                "text": "A long text.",
                "cache_control": {"type": "ephemeral"},
            }
        ],
        messages=[
            {
                "role": "user",
                "content": [
                    {
                        "type": "image",
                        "source": {
                            "type": "base64",
                            "media_type": "image/png",
                            "data": DOT,
                        },
                    },
                    {"type": "text", "text": "Describe this image."},
                ],
            }
        ],
    )
    assert "Describe" in message.content[0].text  # type: ignore[union-attr]


def test_messages_use_tools(
    claude: anthropic.Anthropic, model: str, simulator: Simulator
) -> None:
    simulator.script({"tool_calls": [OSLO], "times": 1}, {"text": "Cold."})
    tools: Any = [
        {
            "name": "get_weather",
            "description": "Get the weather in a location",
            "input_schema": PARAMETERS,
        }
    ]
    asked: list[Any] = [{"role": "user", "content": "How is Oslo?"}]
    response = claude.messages.create(
        model=model,
        max_tokens=1024,
        tools=tools,
        tool_choice={"type": "any"},
        messages=asked,
    )
    assert response.stop_reason == "tool_use"
    used = next(each for each in response.content if each.type == "tool_use")
    assert used.input == {"location": "Oslo"}
    result = {"type": "tool_result", "tool_use_id": used.id, "content": "-3"}
    asked += [
        {"role": "assistant", "content": response.content},
        {"role": "user", "content": [result]},
    ]
    last = claude.messages.create(
        model=model, max_tokens=1024, tools=tools, messages=asked
    )
    assert last.content[0].text == "Cold."  # type: ignore[union-attr]


def test_messages_stream_the_input_of_tools(
    claude: anthropic.Anthropic, model: str, simulator: Simulator
) -> None:
    simulator.script({"tool_calls": [OSLO]})
    with claude.messages.stream(
        model=model,
        max_tokens=1024,
        tools=[{"name": "get_weather", "input_schema": PARAMETERS}],
        messages=[{"role": "user", "content": "How is Oslo?"}],
    ) as stream:
        parts = [
            event.partial_json
            for event in stream
            if event.type == "input_json"
        ]
        final = stream.get_final_message()
    assert json.loads("".join(parts)) == {"location": "Oslo"}
    assert final.content[-1].input == {"location": "Oslo"}  # type: ignore[union-attr]


def test_the_tool_runner_works(
    claude: anthropic.Anthropic, model: str, simulator: Simulator
) -> None:
    simulator.script({"tool_calls": [OSLO], "times": 1}, {"text": "Cold."})

    @beta_tool
    def get_weather(location: str) -> str:
        """Get the weather.

        Args:
            location: A city.
        """
        return f"-3 in {location}"

    runner = claude.beta.messages.tool_runner(
        model=model,
        max_tokens=1024,
        tools=[get_weather],
        messages=[{"role": "user", "content": "How is Oslo?"}],
    )
    last = runner.until_done()
    assert last.content[0].text == "Cold."  # type: ignore[union-attr]


def test_messages_stop_and_are_truncated(
    claude: anthropic.Anthropic, model: str, simulator: Simulator
) -> None:
    simulator.script({"text": "word " * 100})
    message = claude.messages.create(
        model=model,
        max_tokens=5,
        stop_sequences=["END"],
        messages=[{"role": "user", "content": "Go on."}],
    )
    assert message.stop_reason == "max_tokens"


# Both libraries: time, and trying again.


@pytest.mark.parametrize("streams", [False, True])
def test_the_libraries_wait_no_longer_than_they_are_told(
    user: GatewayUser, model: str, simulator: Simulator, *, streams: bool
) -> None:
    simulator.configure(latency_ms=20_000)
    asked: Any = [{"role": "user", "content": "Hello"}]
    started = time.monotonic()
    with (
        user.openai(timeout=0.3) as client,
        pytest.raises(openai.APITimeoutError),
    ):
        client.chat.completions.create(
            model=model, messages=asked, stream=streams
        )
    with (
        user.anthropic() as claude,
        pytest.raises(anthropic.APITimeoutError),
    ):
        claude.with_options(timeout=0.3).messages.create(
            model=model, max_tokens=5, messages=asked, stream=streams
        )
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("status", [429, 500, 503])
def test_the_libraries_try_again_as_often_as_they_are_told(
    user: GatewayUser, model: str, simulator: Simulator, status: int
) -> None:
    failing = {"status": status, "message": "not now", "retry_after": 0}
    simulator.script({**failing, "times": 2}, {"text": "at last"})
    asked: Any = [{"role": "user", "content": "Hello"}]
    with user.openai(max_retries=2) as client:
        raw = client.chat.completions.with_raw_response.create(
            model=model, messages=asked
        )
    assert raw.retries_taken == 2
    assert raw.parse().choices[0].message.content == "at last"
    simulator.script({**failing, "times": 2}, {"text": "at last"})
    with (
        user.anthropic(max_retries=1) as claude,
        pytest.raises(anthropic.APIStatusError) as caught,
    ):
        claude.messages.create(model=model, max_tokens=5, messages=asked)
    assert caught.value.status_code in (status, 502, 529)


def test_what_is_wrong_is_not_tried_again(
    user: GatewayUser, model: str, simulator: Simulator
) -> None:
    simulator.script({"status": 400, "message": "no such thing"})
    with (
        user.openai(max_retries=5) as client,
        pytest.raises(openai.BadRequestError),
    ):
        client.responses.create(model=model, input="Hello")
    assert simulator.stats()["requests"] == 1
