from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from llm_sdks import errors
from llm_sdks.base_sdk import Completion, Usage
from tests.support.questions import (
    KEY,
    SCHEMA,
    ask,
    events,
    gemini,
    question,
    read,
)
from tests.support.recorder import Recorder, recorder


@pytest.fixture
async def provider() -> AsyncIterator[Recorder]:
    async with recorder() as kept:
        yield kept


THOUGHT = {"text": "hm", "thought": True}


async def test_gemini_is_asked_to_generate_content(
    provider: Recorder,
) -> None:
    provider.answer = lambda _: web.json_response(
        gemini(THOUGHT, {"text": "yes"})
    )
    asked = question(provider, response_schema=SCHEMA)
    answer = await ask("Gemini", asked)
    assert answer == Completion("yes", Usage(20, 9, 5, 3), "STOP", "r-1")
    assert provider.paths == ["/v1/models/theirs:generateContent"]
    (body,) = provider.bodies
    assert body["contents"][0]["parts"] == [{"text": "Hi"}]
    assert body["systemInstruction"]["parts"] == [{"text": "Be brief."}]
    config = body["generationConfig"]
    assert config["maxOutputTokens"] == 100
    assert config["temperature"] == 0.5
    assert config["responseMimeType"] == "application/json"
    assert config["responseJsonSchema"]["required"] == ["n"]
    assert provider.headers[0]["x-goog-api-key"] == KEY


async def test_geminis_stream_and_version(provider: Recorder) -> None:
    first = {"candidates": [{"content": {"parts": [{"text": "ye"}]}}]}
    provider.answer = lambda _: events(first, gemini({"text": "s"}))
    items = await read("Gemini", question(provider, api_version="v1beta"))
    assert items == ["ye", "s", Usage(20, 9, 5, 3)]
    (path,) = provider.paths
    assert path == "/v1beta/models/theirs:streamGenerateContent?alt=sse"


async def test_a_prompt_that_gemini_blocks_is_filtered(
    provider: Recorder,
) -> None:
    body = {"promptFeedback": {"blockReason": "SAFETY"}}
    provider.answer = lambda _: web.json_response(body)
    with pytest.raises(errors.ContentFilteredError, match="SAFETY"):
        await ask("Gemini", question(provider))
    provider.answer = lambda _: events(body)
    with pytest.raises(errors.ContentFilteredError, match="SAFETY"):
        await read("Gemini", question(provider))


@pytest.mark.parametrize("reason", ["SAFETY", "RECITATION", "SPII"])
async def test_what_gemini_filters_keeps_its_text(
    provider: Recorder, reason: str
) -> None:
    answer = gemini({"text": "ye"}, reason=reason)
    provider.answer = lambda _: web.json_response(answer)
    with pytest.raises(errors.ContentFilteredError) as failed:
        await ask("Gemini", question(provider))
    assert failed.value.partial_text == "ye"
    assert failed.value.usage == Usage(20, 9, 5, 3)


async def test_a_key_that_google_does_not_know_is_no_bad_request(
    provider: Recorder,
) -> None:
    problem = {
        "code": 400,
        "message": "API key not valid. Please pass a valid API key.",
        "status": "INVALID_ARGUMENT",
        "details": [{"reason": "API_KEY_INVALID"}],
    }
    provider.answer = lambda _: web.json_response(
        {"error": problem}, status=400
    )
    with pytest.raises(errors.NotAuthorizedError) as failed:
        await ask("Gemini", question(provider))
    assert failed.value.http_status == 400


@pytest.mark.parametrize("text", ["", "<html>", "{broken"])
async def test_a_failure_of_googles_keeps_its_status(
    provider: Recorder, text: str
) -> None:
    provider.answer = lambda _: web.Response(
        text=text, status=429, headers={"Retry-After": "7"},
        content_type="application/json",
    )  # fmt: skip
    with pytest.raises(errors.RateLimitedError) as failed:
        await ask("Gemini", question(provider))
    assert failed.value.retry_after == 7.0
