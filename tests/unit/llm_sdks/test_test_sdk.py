import json

import pytest

from llm_sdks.base_sdk import CompletionRequest, LLMConfig
from llm_sdks.test_sdk import TestSDK
from utilities import payload


def ask(user: str) -> str:
    request = CompletionRequest(LLMConfig("m"), "", user, 0.5, 1.0)
    return TestSDK().complete(request).text


def test_it_echoes_the_request() -> None:
    answer = json.loads(ask('{"a":[1]}'))
    assert answer == {"result": "ok", "model": "m", "echo": {"a": [1]}}


@pytest.mark.parametrize("depth", [payload.MAX_DEPTH, payload.MAX_DEPTH + 1])
def test_a_request_as_deep_as_allowed_is_echoed_as_text(depth: int) -> None:
    user = "[" * depth + "1" + "]" * depth
    answer = payload.load(ask(user))
    assert answer["echo"] == user
    # It can be stored.
    assert payload.dump(answer)


def test_what_is_not_json_is_echoed_as_text() -> None:
    assert json.loads(ask("Hi \ud83d"))["echo"] == "Hi ?"
