"""Jobs that ask more than a system text and one user message."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from aiohttp import web

from provider_simulator.running import Simulator
from tests.support.api_user import ApiUser, Json
from tests.support.fake_provider import FakeProvider

VENDORS = ("OpenAI", "Anthropic", "Gemini")
HELLO: Any = [{"role": "user", "content": "Hello"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhg"
    "GAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture
def simulator(shared_simulator: Simulator) -> Simulator:
    return shared_simulator


@pytest.fixture
def user(http: httpx2.Client) -> Iterator[ApiUser]:
    user = ApiUser(http)
    user.worker()
    yield user
    user.stop_workers()


@pytest.fixture
def faked(user: ApiUser, provider: FakeProvider) -> str:
    return user.model(
        sdk="OpenAI",
        endpoint=provider.url,
        key="PROVIDER-KEY",
        deployment="fake",
        maxToken=500,
    )


def simulated(user: ApiUser, simulator: Simulator, sdk: str) -> str:
    return user.model(
        sdk=sdk,
        endpoint=simulator.base_urls[sdk],
        key="PROVIDER-KEY",
        deployment="sim",
    )


def done(user: ApiUser, model: str, **fields: Any) -> Json:
    body = {"operation": "talk", "model": model, "temperature": 0, **fields}
    return user.ended(user.post("/jobs", body)["jobId"])


def refused(user: ApiUser, model: str, **fields: Any) -> Json:
    body = {"operation": "talk", "model": model, **fields}
    answer: Json = user.post("/jobs", body, 422)
    return answer


@pytest.mark.parametrize("sdk", VENDORS)
def test_calls_of_tools_are_the_answer(
    user: ApiUser, simulator: Simulator, sdk: str
) -> None:
    call = {"name": "weather", "arguments": {"city": "Rome"}}
    simulator.script(
        {"pattern": "Hello", "text": "Wait.", "tool_calls": [call]}
    )
    model = simulated(user, simulator, sdk)
    job = done(user, model, messages=HELLO, tools=[WEATHER])
    assert job["status"] == "PROCESSED"
    (called,) = job["responseData"]["toolCalls"]
    assert called.pop("id")
    assert called == call
    assert job["responseData"]["text"] == "Wait."
    assert job["messages"] == HELLO
    assert job["tools"] == [WEATHER]
    assert job["processingMetrics"]["totalTokens"] > 0
    # Its result goes back with the next job.
    more = [
        *HELLO,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {
                        "name": "weather",
                        "arguments": '{"city":"Rome"}',
                    },
                }
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "Sunshine"},
    ]
    simulator.script({"pattern": "", "text": "It is fine."})
    answered = done(
        user, model, messages=more, tools=[WEATHER], responseFormat="text"
    )
    assert answered["responseData"] == {"text": "It is fine."}


@pytest.mark.parametrize("sdk", VENDORS[:2])
def test_a_tool_that_must_be_called_is(
    user: ApiUser, simulator: Simulator, sdk: str
) -> None:
    job = done(
        user,
        simulated(user, simulator, sdk),
        messages=HELLO,
        tools=[WEATHER],
        toolChoice={"type": "function", "function": {"name": "weather"}},
        parallelToolCalls=False,
    )
    (called,) = job["responseData"]["toolCalls"]
    assert called["name"] == "weather"
    assert set(called["arguments"]) == {"city"}


def test_prompts_messages_and_data_are_one_conversation(
    user: ApiUser, provider: FakeProvider, faked: str
) -> None:
    prompt = user.prompt(prompt="Be brief.")
    picture = {
        "type": "image_url",
        "image_url": {"url": f"data:image/png;base64,{PIXEL}"},
    }
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "A"}, picture]},
        {"role": "assistant", "content": "B"},
    ]
    job = done(
        user,
        faked,
        workingPrompts=[prompt],
        messages=messages,
        requestData={"n": 1},
        sampling={
            "topP": 0.5,
            "seed": 7,
            "stop": ["END"],
            "maxTokens": 20,
            "presencePenalty": 0.1,
        },
    )
    assert job["status"] == "PROCESSED"
    assert job["sampling"]["topP"] == 0.5
    (asked,) = provider.requests
    assert [each["role"] for each in asked["messages"]] == [
        "system",
        "user",
        "assistant",
        "user",
    ]
    assert asked["messages"][0]["content"] == "Be brief."
    assert asked["messages"][1]["content"][1] == picture
    assert asked["messages"][3]["content"] == '{"n":1}'
    assert asked["top_p"] == 0.5
    assert asked["seed"] == 7
    assert asked["stop"] == ["END"]
    assert 20 in (asked.get("max_tokens"), asked.get("max_completion_tokens"))


def test_the_evaluation_sees_the_messages(
    user: ApiUser, provider: FakeProvider, faked: str
) -> None:
    judge = user.prompt()
    job = done(
        user,
        faked,
        messages=[{"role": "user", "content": '{"a": 1}'}],
        evalPrompt=judge,
        evalModel=faked,
    )
    assert job["status"] == "PROCESSED"
    asked = provider.requests[1]["messages"][-1]["content"]
    assert '"original_input":{"messages":[' in asked


@pytest.mark.parametrize("sdk", ["OpenAI", "Gemini"])
def test_embeddings(user: ApiUser, simulator: Simulator, sdk: str) -> None:
    model = simulated(user, simulator, sdk)
    job = done(
        user, model, embeddings={"input": ["one", "two"], "dimensions": 8}
    )
    assert job["status"] == "PROCESSED"
    found = job["responseData"]
    assert found["dimensions"] == 8
    assert [len(each) for each in found["embeddings"]] == [8, 8]
    assert found["embeddings"][0] != found["embeddings"][1]
    # Gemini does not tell how many tokens it has read.
    assert job["processingMetrics"]["inputTokens"] > 0 or sdk == "Gemini"
    one = done(user, model, embeddings={"input": "one", "dimensions": 8})
    assert one["responseData"]["embeddings"] == [
        pytest.approx(found["embeddings"][0])
    ]


def test_the_probabilities_of_tokens_are_kept(
    user: ApiUser, simulator: Simulator
) -> None:
    simulator.script({"pattern": "Hello", "text": "good day"})
    job = done(
        user,
        simulated(user, simulator, "OpenAI"),
        messages=HELLO,
        responseFormat="text",
        sampling={"logprobs": 2},
    )
    assert job["responseData"] == {"text": "good day"}
    rows = job["responseLogprobs"]
    assert "".join(token for token, _, _ in rows) == "good day"
    assert all(chance <= 0 for _, chance, _ in rows)
    assert all(1 <= len(top) <= 2 for _, _, top in rows)


def test_arguments_that_cannot_be_read_are_kept_with_the_error(
    user: ApiUser, provider: FakeProvider, faked: str
) -> None:
    async def answer(_: Any) -> web.StreamResponse:
        call = {
            "id": "c1",
            "type": "function",
            "function": {"name": "weather", "arguments": '{"city": '},
        }
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        choice = {"index": 0, "message": message}
        return web.json_response(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1,
                "model": "fake",
                "choices": [{**choice, "finish_reason": "tool_calls"}],
                "usage": {"prompt_tokens": 7, "completion_tokens": 3},
            }
        )

    provider.handler = answer
    job = done(user, faked, messages=HELLO, tools=[WEATHER])
    assert job["status"] == "ERROR_PROCESSING"
    error = job["errorData"]
    assert error["errorType"] == "TOOL_CALL_ERROR"
    assert "'weather'" in error["message"]
    assert error["failedResponseData"] == '{"city": '
    assert job["processingMetrics"]["totalTokens"] > 0


@pytest.mark.parametrize("sdk", VENDORS)
def test_an_answer_that_is_cut_is_no_answer(
    user: ApiUser, simulator: Simulator, sdk: str
) -> None:
    simulator.script(
        {"pattern": "Hello", "text": "Once upon", "finish_reason": "length"}
    )
    job = done(
        user,
        simulated(user, simulator, sdk),
        messages=HELLO,
        responseFormat="text",
    )
    assert job["status"] == "ERROR_PROCESSING"
    assert job["errorData"]["errorType"] == "TRUNCATED"
    assert job["errorData"]["failedResponseData"] == "Once upon"


@pytest.mark.parametrize(
    ("sdk", "fields", "said"),
    [
        ("Anthropic", {"embeddings": {"input": "x"}}, "embeddings"),
        ("Anthropic", {"messages": HELLO, "sampling": {"logprobs": 1}}, "log"),
        ("test", {"messages": HELLO, "tools": [WEATHER]}, "tools"),
    ],
)
def test_what_a_model_cannot_do_ends_the_job_at_once(
    user: ApiUser,
    simulator: Simulator,
    sdk: str,
    fields: Json,
    said: str,
) -> None:
    if sdk == "test":
        model = user.model(sdk="test")
    else:
        model = simulated(user, simulator, sdk)
    job = done(user, model, **fields)
    assert job["status"] == "ERROR_PROCESSING"
    assert said in job["errorData"]["message"]
    assert job["attempts"] == 1


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"messages": []}, "messages"),
        (
            {"messages": [{"role": "robot", "content": "x"}]},
            "messages[0].role: 'robot' is not known",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "smell"}]}]},
            "messages[0].content[0].type: 'smell' is not known",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {
                                "type": "image_url",
                                "image_url": {"url": "file:///etc/passwd"},
                            }
                        ],
                    }
                ]
            },
            "http(s)",
        ),
        ({"messages": HELLO, "toolChoice": "auto"}, "toolChoice needs tools"),
        (
            {"messages": HELLO, "tools": [{"type": "function"}]},
            "tools[0].function",
        ),
        ({"messages": HELLO, "sampling": {"topp": 1}}, "topP"),
        ({"messages": HELLO, "sampling": {"topP": 2}}, "topP"),
        ({"embeddings": {"input": []}}, "1 to 2048 texts"),
        (
            {"embeddings": {"input": "x"}, "messages": HELLO},
            "embeddings are asked for alone",
        ),
        ({"embeddings": {"input": "x"}, "requestData": {}}, "requestData"),
        ({}, "'type': 'missing', 'loc': ['body', 'requestData']"),
        ({"requestData": {}}, "promptFlow or messages is needed"),
        ({"requestData": None, "workingPrompts": ["x"]}, "requestData or"),
        (
            {
                "messages": [{"role": "user", "content": "x" * 7_000_000}],
                "requestData": {"text": "x" * 7_000_000},
            },
            "together are 14000",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(
    user: ApiUser, faked: str, fields: Json, said: str
) -> None:
    assert said in str(refused(user, faked, **fields))


def test_what_a_job_does_not_ask_is_not_shown(
    user: ApiUser, faked: str
) -> None:
    made = user.post("/jobs", user.job_body(faked, user.prompt()))
    job = user.request("GET", f"/jobs/{made['jobId']}", 200)
    names = {"messages", "tools", "toolChoice", "sampling", "embeddings"}
    assert not names & job.keys()
    assert not names & made.keys()


def test_what_is_asked_can_be_changed_while_the_job_waits(
    http: httpx2.Client, provider: FakeProvider
) -> None:
    user = ApiUser(http)
    model = user.model(sdk="OpenAI", endpoint=provider.url, key="PROVIDER-KEY")
    body = {"operation": "talk", "model": model, "messages": HELLO}
    job = user.post("/jobs", body)
    other = [{"role": "user", "content": '{"x": 1}'}]
    changed = user.request(
        "PATCH", f"/jobs/{job['jobId']}/full", 200, json={"messages": other}
    )
    assert changed["messages"] == other
    user.worker()
    assert user.ended(job["jobId"])["responseData"] == {"echo": {"x": 1}}
    user.stop_workers()
