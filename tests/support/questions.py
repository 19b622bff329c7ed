"""One question to any provider, and answers in each one's form."""

import json
from contextlib import aclosing
from typing import Any, Protocol

from aiohttp import web
from pydantic import SecretStr

from llm_sdks.base_sdk import (
    Completion,
    CompletionRequest,
    LLMConfig,
    StreamItem,
)
from llm_sdks.registry import SdkRegistry
from tests.support.recorder import server_sent

KEY = "key-abcdefgh-ijklmnop"
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "My answer!",
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 3}},
    "required": ["n"],
    "additionalProperties": False,
}
OPEN_SCHEMA = {"type": "object"}


MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "content": [
        {"type": "thinking", "thinking": "hm", "signature": "x"},
        {"type": "text", "text": "yes, "},
        {"type": "text", "text": "so it is"},
    ],
    "stop_reason": "end_turn",
    "usage": {
        "input_tokens": 10,
        "cache_read_input_tokens": 5,
        "cache_creation_input_tokens": 2,
        "output_tokens": 9,
        "output_tokens_details": {"thinking_tokens": 4},
    },
}


def gemini(*parts: Any, reason: str = "STOP", **more: Any) -> dict[str, Any]:
    """Give generated content as Google sends it."""
    return {
        "candidates": [
            {"content": {"parts": list(parts)}, "finishReason": reason}
        ],
        "usageMetadata": {
            "promptTokenCount": 20,
            "cachedContentTokenCount": 5,
            "candidatesTokenCount": 6,
            "thoughtsTokenCount": 3,
        },
        "responseId": "r-1",
        **more,
    }


class Reachable(Protocol):
    """Any provider of the tests."""

    url: str


def question(provider: Reachable, path: str = "", **kw: Any) -> Any:
    """Make a request; further fields are the request's or the model's."""
    values: dict[str, Any] = {"temperature": 0.5, "timeout": 20.0}
    for name in ("response_schema", "idempotency_key", "temperature"):
        if name in kw:
            values[name] = kw.pop(name)
    fields: dict[str, Any] = {
        "name": "m",
        "deployment": "theirs",
        "endpoint": provider.url + path,
        "api_key": SecretStr(KEY),
        "max_token": 100,
        **kw,
    }
    system = fields.pop("system", "Be brief.")
    return CompletionRequest(
        config=LLMConfig(**fields), system=system, user="Hi", **values
    )


async def ask(name: str, asked: CompletionRequest) -> Completion:
    """Ask for a whole answer."""
    async with aclosing(SdkRegistry.discover().create(name)) as sdk:
        return await sdk.acomplete(asked)


async def read(name: str, asked: CompletionRequest) -> list[StreamItem]:
    """Ask for a stream and read it to its end."""
    async with aclosing(SdkRegistry.discover().create(name)) as sdk:
        return [item async for item in sdk.astream(asked)]


def chat(text: str = "yes", **message: Any) -> web.Response:
    """Give a chat completion as OpenAI sends it."""
    choice = {
        "message": {"content": text, **message},
        "finish_reason": "stop",
    }
    return web.json_response({"choices": [choice]})


def events(*values: Any) -> web.Response:
    """Give a stream of events without names."""
    return server_sent(*(f"data: {json.dumps(value)}" for value in values))
