import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_sdks.anthropic_sdk import AnthropicSDK
from llm_sdks.base_sdk import Usage
from llm_sdks.formats import passed
from llm_sdks.formats.passed import WholeReader, answer_meter, is_known
from llm_sdks.gemini_sdk import GeminiSDK
from llm_sdks.openai_sdk import OpenAISDK
from llm_sdks.provider_sdk import ProviderSDK

CHAT = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
MESSAGES = {"input_tokens": 3, "output_tokens": 5}
GOOGLES = {
    "promptTokenCount": 3,
    "candidatesTokenCount": 5,
    "totalTokenCount": 8,
}


def usage_of(sdk: ProviderSDK, path: str, answer: Any) -> Usage | None:
    meter = answer_meter(path, sdk.interfaces, sdk, [], "secret")
    if meter is None:
        return None
    reader = WholeReader(meter)
    content = json.dumps(answer).encode()
    for start in range(0, len(content), 7):
        reader.feed(content[start : start + 7])
    reader.close()
    return meter.usage


def choices(usage: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": "x"}
    return {"choices": [{"message": message}], "usage": usage}


@pytest.mark.parametrize(
    ("sdk", "path", "answer"),
    [
        (OpenAISDK, "/v1/chat/completions", choices(CHAT)),
        (OpenAISDK, "/openai/deployments/d/chat/completions", choices(CHAT)),
        (OpenAISDK, "/v1/responses", {"output": [], "usage": MESSAGES}),
        (OpenAISDK, "/v1/completions", {"usage": CHAT}),
        (OpenAISDK, "/v1/images/generations", {"usage": MESSAGES}),
        (OpenAISDK, "/v1/audio/transcriptions", {"usage": MESSAGES}),
        (AnthropicSDK, "/v1/messages", {"content": [], "usage": MESSAGES}),
        # A server that speaks both.
        (OpenAISDK, "/v1/messages", {"content": [], "usage": MESSAGES}),
        (
            GeminiSDK,
            "/v1beta/models/m:generateContent",
            {"candidates": [{}], "usageMetadata": GOOGLES},
        ),
        (
            GeminiSDK,
            "/v1beta/models/m:streamGenerateContent",
            [{"candidates": [{}]}, {"usageMetadata": GOOGLES}],
        ),
    ],
)
def test_usage_is_read_where_it_is_known(
    sdk: type[ProviderSDK], path: str, answer: Any
) -> None:
    assert usage_of(sdk(), path, answer) == Usage(3, 5)
    assert is_known(path)


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/v1/files", {"usage": CHAT}),
        ("/v1/messages/batches", {"usage": CHAT}),
        ("/v1/audio/transcriptions", {"usage": {"seconds": 3}}),
        ("/v1/images/generations", {"data": []}),
        ("/v1/completions", [1, {"usage": 5}]),
        ("/v1/completions", "text"),
    ],
)
def test_what_is_no_usage_is_not_counted(path: str, answer: Any) -> None:
    assert usage_of(OpenAISDK(), path, answer) is None


def test_of_a_large_answer_only_the_end_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(passed, "WHOLE_READ", 100)
    answer = {"data": ["x" * 50_000], "usage": {"prompt_tokens": 3}}
    assert usage_of(OpenAISDK(), "/v1/embeddings", answer) == Usage(3)
    meter = answer_meter("/x/completions", (), OpenAISDK(), [], "")
    assert meter is not None
    reader = WholeReader(meter)
    for _ in range(100):
        reader.feed(b"x" * 1000)
    assert len(reader._kept) <= 4096 + 1000


@given(
    content=st.binary(max_size=200)
    | st.text('[]{}":,1', max_size=30).map(str.encode)
)
def test_nothing_that_a_provider_sends_raises(content: bytes) -> None:
    for path in ("/v1/completions", "/x/m:streamGenerateContent"):
        meter = answer_meter(path, (), GeminiSDK(), [], "")
        assert meter is not None
        reader = WholeReader(meter)
        reader.feed(content)
        reader.close()
