import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from llm_sdks import errors
from llm_sdks.base_sdk import Completion, Usage
from tests.support.questions import (
    KEY,
    MESSAGE,
    OPEN_SCHEMA,
    SCHEMA,
    ask,
    question,
    read,
)
from tests.support.recorder import Recorder, recorder, server_sent


@pytest.fixture
async def provider() -> AsyncIterator[Recorder]:
    async with recorder() as kept:
        yield kept


async def test_anthropic_is_sent_a_message(provider: Recorder) -> None:
    provider.answer = lambda _: web.json_response(
        MESSAGE, headers={"request-id": "req_1"}
    )
    asked = question(provider, temperature=1.5, idempotency_key="job-1")
    answer = await ask("Anthropic", asked)
    assert answer == Completion(
        "yes, so it is", Usage(17, 9, 5, 4, 2), "end_turn", "req_1"
    )
    assert provider.paths == ["/v1/messages"]
    assert provider.bodies == [
        {
            "model": "theirs",
            "system": "Be brief.",
            "messages": [{"role": "user", "content": "Hi"}],
            "max_tokens": 100,
            "temperature": 1.0,
        }
    ]
    (headers,) = provider.headers
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["idempotency-key"] == "job-1"
    assert headers["anthropic-version"]


async def test_a_model_may_name_anthropics_version(
    provider: Recorder,
) -> None:
    provider.answer = lambda _: web.json_response(MESSAGE)
    await ask("Anthropic", question(provider, api_version="2023-06-01"))
    assert provider.headers[0]["anthropic-version"] == "2023-06-01"


async def test_anthropics_schema_has_nothing_that_it_refuses(
    provider: Recorder,
) -> None:
    provider.answer = lambda _: web.json_response(MESSAGE)
    await ask("Anthropic", question(provider, response_schema=SCHEMA))
    await ask("Anthropic", question(provider, response_schema=OPEN_SCHEMA))
    strict, loose = provider.bodies
    form = strict["output_config"]["format"]
    assert form["type"] == "json_schema"
    assert form["schema"]["properties"] == {"n": {"type": "integer"}}
    assert "$schema" not in form["schema"]
    assert "output_config" not in loose


async def test_anthropics_stream_adds_up_its_usage(
    provider: Recorder,
) -> None:
    usage = {**MESSAGE["usage"], "output_tokens": 1}  # type: ignore[dict-item]
    parts: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**MESSAGE, "usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": {}},
        {"type": "ping"},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "thinking_delta", "thinking": "hm"},
        },
        {
            "type": "content_block_delta",
            "index": 1,
            "delta": {"type": "text_delta", "text": "yes"},
        },
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": 9, "input_tokens": None},
        },
        {"type": "message_stop"},
    ]
    provider.answer = lambda _: server_sent(
        *(f"event: {p['type']}\ndata: {json.dumps(p)}" for p in parts)
    )
    items = await read("Anthropic", question(provider))
    # The first count is given early, for a reader that does not stay.
    assert items == [
        Usage(17, 1, 5, 4, 2),
        "yes",
        Usage(17, 9, 5, 4, 2),
    ]
    assert provider.bodies[0]["stream"] is True


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("overloaded_error", errors.OverloadedError),
        ("rate_limit_error", errors.RateLimitedError),
        ("api_error", errors.ProviderError),
        ("invalid_request_error", errors.BadRequestError),
        ("authentication_error", errors.NotAuthorizedError),
        ("timeout_error", errors.CallTimeoutError),
    ],
)
async def test_anthropics_errors_inside_a_stream_are_told_apart(
    provider: Recorder, kind: str, error: type[errors.LLMError]
) -> None:
    body = {"type": "error", "error": {"type": kind, "message": f"no {KEY}"}}
    provider.answer = lambda _: server_sent(
        f"event: error\ndata: {json.dumps(body)}"
    )
    with pytest.raises(errors.LLMError) as failed:
        await read("Anthropic", question(provider))
    assert type(failed.value) is error
    assert KEY not in str(failed.value)


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        ("max_tokens", errors.TruncatedError),
        ("model_context_window_exceeded", errors.TruncatedError),
        ("refusal", errors.ContentFilteredError),
    ],
)
async def test_anthropics_reasons_to_stop_early(
    provider: Recorder, reason: str, error: type[errors.PartialAnswerError]
) -> None:
    provider.answer = lambda _: web.json_response(
        {**MESSAGE, "stop_reason": reason}
    )
    with pytest.raises(error) as failed:
        await ask("Anthropic", question(provider))
    assert failed.value.partial_text == "yes, so it is"
    assert failed.value.usage == Usage(17, 9, 5, 4, 2)
