"""The simulator speaks as each vendor does, over real sockets."""

import json

import httpx2
import pytest

from provider_simulator.running import Simulator
from tests.support.simulator_calls import (
    ANTHROPIC,
    AZURE,
    AZURE_OPENAI,
    CALLS,
    CHAT,
    CLAUDE,
    CONTENTS,
    GEMINI,
    GEMINI_STREAM,
    INFERENCE,
    MESSAGES,
    OPENAI,
    SCHEMA,
    Json,
    said,
    streamed,
)


@pytest.mark.parametrize(("path", "body"), CALLS)
def test_every_vendor_echoes(
    vendor: httpx2.Client, path: str, body: Json
) -> None:
    response = vendor.post(path, json=body)
    assert response.status_code == 200
    echo = json.loads(said(path, response.json()))
    assert (echo["result"], echo["echo"]) == ("ok", "Hello")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (path, {**CHAT, "response_format": form})
        for path in (OPENAI, AZURE_OPENAI, INFERENCE)
        for form in [
            {
                "type": "json_schema",
                "json_schema": {"name": "x", "schema": SCHEMA},
            }
        ]
    ]
    + [
        (
            ANTHROPIC,
            {
                **CLAUDE,
                "output_config": {
                    "format": {"type": "json_schema", "schema": SCHEMA}
                },
            },
        ),
        (
            ANTHROPIC,
            {
                **CLAUDE,
                "output_format": {"type": "json_schema", "schema": SCHEMA},
            },
        ),
        (GEMINI, {**CONTENTS, "generationConfig": {"responseSchema": SCHEMA}}),
        (
            GEMINI,
            {**CONTENTS, "generationConfig": {"responseJsonSchema": SCHEMA}},
        ),
    ],
)
def test_every_vendor_answers_by_schema(
    vendor: httpx2.Client, path: str, body: Json
) -> None:
    answer = vendor.post(path, json=body).json()
    assert json.loads(said(path, answer)) == {"mood": "good"}


def test_usage_as_each_vendor_names_it(
    simulator: Simulator, vendor: httpx2.Client
) -> None:
    usage = {
        "input_tokens": 100,
        "output_tokens": 60,
        "cached_tokens": 30,
        "reasoning_tokens": 20,
    }
    simulator.script({"text": "a", "usage": usage})
    for path in (OPENAI, AZURE_OPENAI, INFERENCE):
        found = vendor.post(path, json=CHAT).json()["usage"]
        assert found["prompt_tokens"] == 100
        assert found["completion_tokens"] == 60
        assert found["total_tokens"] == 160
        assert found["prompt_tokens_details"]["cached_tokens"] == 30
        assert found["completion_tokens_details"]["reasoning_tokens"] == 20
    found = vendor.post(ANTHROPIC, json=CLAUDE).json()["usage"]
    assert found["input_tokens"] == 70
    assert found["cache_read_input_tokens"] == 30
    assert found["output_tokens"] == 60
    assert found["output_tokens_details"]["thinking_tokens"] == 20
    found = vendor.post(GEMINI, json=CONTENTS).json()["usageMetadata"]
    assert found == {
        "promptTokenCount": 100,
        "candidatesTokenCount": 40,
        "totalTokenCount": 160,
        "cachedContentTokenCount": 30,
        "thoughtsTokenCount": 20,
    }


def test_the_limit_of_tokens_in_each_vendors_words(
    vendor: httpx2.Client,
) -> None:
    for limit in ("max_tokens", "max_completion_tokens"):
        body = vendor.post(OPENAI, json={**CHAT, limit: 1}).json()
        assert body["choices"][0]["finish_reason"] == "length"
    body = vendor.post(ANTHROPIC, json={**CLAUDE, "max_tokens": 1}).json()
    assert body["stop_reason"] == "max_tokens"
    config = {"generationConfig": {"maxOutputTokens": 1}}
    body = vendor.post(GEMINI, json={**CONTENTS, **config}).json()
    assert body["candidates"][0]["finishReason"] == "MAX_TOKENS"


@pytest.mark.parametrize("path", [OPENAI, AZURE_OPENAI, INFERENCE])
@pytest.mark.parametrize("usage", [True, False])
def test_chat_completions_stream(
    vendor: httpx2.Client, path: str, *, usage: bool
) -> None:
    options = {"stream_options": {"include_usage": True}} if usage else {}
    response = vendor.post(path, json={**CHAT, "stream": True, **options})
    assert response.text.endswith("data: [DONE]\n\n")
    chunks = streamed(response)
    choices = [c["choices"][0] for c in chunks if c["choices"]]
    text = "".join(c["delta"].get("content", "") for c in choices)
    assert json.loads(text)["echo"] == "Hello"
    assert choices[-1]["finish_reason"] == "stop"
    assert (chunks[-1].get("usage") is not None) is usage
    assert len({chunk["id"] for chunk in chunks}) == 1


def test_azure_tells_of_the_prompt_first(vendor: httpx2.Client) -> None:
    first = streamed(vendor.post(AZURE_OPENAI, json={**CHAT, "stream": True}))[
        0
    ]
    assert first["choices"] == []
    assert first["prompt_filter_results"]


def test_azure_without_a_path_is_known_by_its_version(
    simulator: Simulator, vendor: httpx2.Client
) -> None:
    path = "/chat/completions"
    for query in ("", "?api-version=2024-05-01-preview"):
        assert vendor.post(path + query, json=CHAT).status_code == 200
    endpoints = simulator.stats()["endpoints"]
    assert endpoints == {"openai": 1, "azure_inference": 1}


def test_a_schema_that_is_none(vendor: httpx2.Client) -> None:
    config = {"generationConfig": {"responseSchema": {"enum": 17}}}
    response = vendor.post(GEMINI, json={**CONTENTS, **config})
    assert response.status_code == 400
    assert "Invalid schema" in response.json()["error"]["message"]


def test_anthropic_streams(vendor: httpx2.Client) -> None:
    events = streamed(vendor.post(ANTHROPIC, json={**CLAUDE, "stream": True}))
    kinds = [event["type"] for event in events]
    assert kinds[:3] == ["message_start", "content_block_start", "ping"]
    assert kinds[-3:] == [
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    deltas = [e for e in events if e["type"] == "content_block_delta"]
    text = "".join(event["delta"]["text"] for event in deltas)
    assert json.loads(text)["echo"] == "Hello"
    assert events[-2]["usage"]["output_tokens"] == len(deltas)


@pytest.mark.parametrize("query", ["?alt=sse", ""])
def test_gemini_streams_events_or_an_array(
    vendor: httpx2.Client, query: str
) -> None:
    response = vendor.post(GEMINI_STREAM + query, json=CONTENTS)
    parts = streamed(response) if query else response.json()
    candidates = [part["candidates"][0] for part in parts]
    text = "".join(c["content"]["parts"][0]["text"] for c in candidates)
    assert json.loads(text)["echo"] == "Hello"
    assert [c.get("finishReason") for c in candidates[-2:]] == [None, "STOP"]


def test_a_stream_keeps_its_pace(
    simulator: Simulator, vendor: httpx2.Client
) -> None:
    simulator.configure(tokens_per_second=50)
    simulator.script({"text": "four" * 10})
    response = vendor.post(OPENAI, json={**CHAT, "stream": True})
    assert response.elapsed.total_seconds() >= 0.2


# Errors.


def test_errors_as_each_vendor_sends_them(
    simulator: Simulator, vendor: httpx2.Client
) -> None:
    simulator.configure(failures={"rate_limited": 1}, retry_after_seconds=1.5)
    for path, body in CALLS:
        response = vendor.post(path, json=body)
        assert response.status_code == 429
        assert response.headers["retry-after"] == "2"
    response = vendor.post(OPENAI, json=CHAT)
    assert response.headers["retry-after-ms"] == "1500"
    assert response.json()["error"]["code"] == "rate_limit_exceeded"
    error = vendor.post(INFERENCE, json=CHAT).json()["error"]
    assert set(error) == {"code", "message"}
    response = vendor.post(ANTHROPIC, json=CLAUDE)
    assert response.json()["error"]["type"] == "rate_limit_error"
    assert response.json()["request_id"] == response.headers["request-id"]
    error = vendor.post(GEMINI, json=CONTENTS).json()["error"]
    assert error["status"] == "RESOURCE_EXHAUSTED"
    assert error["details"][0]["retryDelay"] == "1.5s"


def test_overload_and_failure(
    simulator: Simulator, vendor: httpx2.Client
) -> None:
    for kind, status in (("overloaded", 503), ("server_error", 500)):
        simulator.configure(failures={kind: 1})
        for path, body in CALLS:
            response = vendor.post(path, json=body)
            own = path == ANTHROPIC and kind == "overloaded"
            assert response.status_code == (529 if own else status)
            assert response.json()["error"]["message"]


def test_a_filtered_prompt_as_each_vendor_tells_it(
    simulator: Simulator, vendor: httpx2.Client
) -> None:
    simulator.configure(failures={"prompt_filter": 1})
    for path in (AZURE_OPENAI, INFERENCE):
        response = vendor.post(path, json=CHAT)
        assert response.status_code == 400
        assert response.json()["error"]["code"] == "content_filter"
    response = vendor.post(GEMINI, json=CONTENTS)
    assert response.status_code == 200
    assert response.json()["promptFeedback"]["blockReason"]
    stream = vendor.post(GEMINI_STREAM + "?alt=sse", json=CONTENTS)
    assert streamed(stream)[0]["promptFeedback"]["blockReason"]


def test_a_filtered_answer_as_each_vendor_tells_it(
    simulator: Simulator, vendor: httpx2.Client
) -> None:
    simulator.configure(failures={"content_filter": 1})
    choice = vendor.post(OPENAI, json=CHAT).json()["choices"][0]
    assert choice["finish_reason"] == "content_filter"
    assert (
        vendor.post(ANTHROPIC, json=CLAUDE).json()["stop_reason"] == "refusal"
    )
    candidate = vendor.post(GEMINI, json=CONTENTS).json()["candidates"][0]
    assert candidate == {"index": 0, "finishReason": "SAFETY"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (OPENAI, {"messages": MESSAGES}),
        (OPENAI, {"model": "m"}),
        (OPENAI, {"model": "m", "messages": ["x"]}),
        (OPENAI, {**CHAT, "max_tokens": 0}),
        (OPENAI, [1]),
        (ANTHROPIC, {**CLAUDE, "max_tokens": None}),
        (ANTHROPIC, {**CLAUDE, "model": ""}),
        (GEMINI, {"contents": []}),
    ],
)
def test_requests_that_vendors_refuse(
    vendor: httpx2.Client, path: str, body: object
) -> None:
    response = vendor.post(path, json=body)
    assert response.status_code == 400
    assert response.json()["error"]["message"]
    assert vendor.post(path, content=b"{nonsense").status_code == 400


def test_azure_wants_the_apis_version(vendor: httpx2.Client) -> None:
    assert vendor.post(AZURE, json=CHAT).status_code == 404


def test_a_key_if_one_is_wanted(
    simulator: Simulator, vendor: httpx2.Client
) -> None:
    simulator.configure(api_key="right")
    for path, body in CALLS:
        refused = vendor.post(path, json=body, headers={"api-key": "wrong"})
        # Gemini takes a wrong key for a wrong argument.
        assert refused.status_code == (400 if path == GEMINI else 401)
        for header in ("api-key", "x-api-key", "x-goog-api-key"):
            accepted = vendor.post(path, json=body, headers={header: "right"})
            assert accepted.status_code == 200
    bearer = {"Authorization": "Bearer right"}
    assert vendor.post(OPENAI, json=CHAT, headers=bearer).status_code == 200
    assert vendor.post(GEMINI + "?key=right", json=CONTENTS).status_code == 200
