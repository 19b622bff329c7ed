"""Requests as the vendors' documentation has them, into every format.

What comes in and what goes out is checked by the vendors' own types, and
what goes out means the same as what came in.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from anthropic.types.message_create_params import (
    MessageCreateParamsNonStreaming,
    MessageCreateParamsStreaming,
)
from google.genai import types
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import completion_create_params
from openai.types.responses import response_create_params
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from llm_sdks import errors
from llm_sdks.base_sdk import CompletionRequest, LLMConfig
from llm_sdks.conversation import Conversation
from llm_sdks.formats import (
    anthropic_api,
    anthropic_request,
    gemini_request,
    openai_chat_api,
    openai_request,
    openai_responses_api,
)
from llm_sdks.formats.rendering import check_options
from llm_sdks.profiles.profile import EVERYTHING, Profile
from tests.support.talks import places

Json = dict[str, Any]
CORPUS = Path(__file__).parent / "corpus"
CONFIG = LLMConfig("m", max_token=8192)


def _checked_by(*kinds: Any) -> Callable[[Json], None]:
    """Check by a vendor's type: whole, and streamed if it is."""
    adapters: list[TypeAdapter[Any]] = [TypeAdapter(kind) for kind in kinds]

    def check(body: Json) -> None:
        is_streamed = bool(body.get("stream"))
        _consume(adapters[is_streamed].validate_python(body))

    return check


def _consume(value: Any) -> None:
    """Read what pydantic checks only when it is read."""
    if isinstance(value, Mapping):
        for inner in value.values():
            _consume(inner)
    elif hasattr(value, "__iter__") and not isinstance(value, str | bytes):
        for inner in value:
            _consume(inner)


def _check_gemini(body: Json) -> None:
    types.GenerateContentConfig.model_validate(body["config"])
    if isinstance(body["contents"], list):
        for content in body["contents"]:
            types.Content.model_validate(content)


CHECKS: Mapping[str, Callable[[Json], None]] = {
    "chat": _checked_by(
        completion_create_params.CompletionCreateParamsNonStreaming,
        completion_create_params.CompletionCreateParamsStreaming,
    ),
    "responses": _checked_by(
        response_create_params.ResponseCreateParamsNonStreaming,
        response_create_params.ResponseCreateParamsStreaming,
    ),
    "anthropic": _checked_by(
        MessageCreateParamsNonStreaming, MessageCreateParamsStreaming
    ),
    "gemini": _check_gemini,
}
APIS: Mapping[str, Any] = {
    "chat": openai_chat_api,
    "responses": openai_responses_api,
    "anthropic": anthropic_api,
}
TARGETS: Mapping[str, tuple[Any, Profile]] = {
    "chat": (openai_request, EVERYTHING),
    "anthropic": (anthropic_request, anthropic_request.PROFILE),
    "gemini": (gemini_request, gemini_request.PROFILE),
}


@dataclass(frozen=True)
class Row:
    """One request; `refused` has by format what it cannot say."""

    source: str
    name: str
    body: Json
    refused: Mapping[str, str]


def _rows() -> Iterator[Row]:
    for source in APIS:
        content = (CORPUS / f"{source}.json").read_text()
        for row in json.loads(content):
            yield Row(source, row["name"], row["body"], row.get("refused", {}))


ROWS = list(_rows())


def _essence(asked: Conversation, *, is_anthropic: bool) -> Json:
    """Give what every format keeps, in one form."""
    sampling, form = asked.sampling, asked.response_format
    said: list[Any] = []
    for message in asked.turns:
        results = [(each.call_id, each.text) for each in message.tool_results]
        calls = [
            (each.id, each.name, json.loads(each.arguments))
            for each in message.tool_calls
        ]
        pictures = [each.address for each in message.images]
        said.append((message.role, message.text, pictures, calls, results))
    return {
        "system": asked.system,
        "said": said,
        "tools": [
            (each.name, each.description, each.parameters)
            for each in asked.tools
        ],
        "choice": asked.tool_choice,
        # Anthropic has no JSON mode: it is asked for in words.
        "form": None if form.schema is None else form.schema,
        "kind": None if is_anthropic else form.kind,
        "effort": sampling.reasoning_effort,
        "stop": sampling.stop,
        "sampling": (sampling.temperature, sampling.top_p, sampling.top_k),
        "logprobs": sampling.logprobs,
    }


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "row", ROWS, ids=lambda row: f"{row.source}: {row.name}"
)
def test_a_documented_request_means_the_same(row: Row, target: str) -> None:
    CHECKS[row.source](row.body)
    asked = APIS[row.source].read(row.body)
    assert asked.stream is bool(row.body.get("stream"))
    request = CompletionRequest(CONFIG, conversation=asked.conversation)
    form, profile = TARGETS[target]
    if target in row.refused:
        with pytest.raises(
            errors.ConfigurationError, match=row.refused[target]
        ):
            _rendered(form, request, profile)
        return
    body = _rendered(form, request, profile)
    CHECKS[target](body)
    if target == "gemini":
        return
    back = APIS[target].read(from_json(to_json(body))).conversation
    is_anthropic = target == "anthropic"
    wanted = _essence(asked.conversation, is_anthropic=is_anthropic)
    found = _essence(back, is_anthropic=is_anthropic)
    if row.name == "JSON mode" and is_anthropic:
        assert "JSON" in found.pop("system")
        wanted.pop("system")
    assert found == wanted


def _rendered(form: Any, request: CompletionRequest, profile: Profile) -> Any:
    check_options(request, profile)
    return form.render(request, profile)


@pytest.mark.parametrize(
    "row", ROWS, ids=lambda row: f"{row.source}: {row.name}"
)
def test_a_field_that_nobody_knows_is_refused(row: Row) -> None:
    body = {**row.body, "wonder": 1}
    with pytest.raises(errors.BadRequestError) as raised:
        APIS[row.source].read(body)
    assert raised.value.param == "wonder"


@pytest.mark.parametrize("source", APIS)
def test_the_types_do_refuse(source: str) -> None:
    body = next(row.body for row in ROWS if row.source == source)
    name = "input" if source == "responses" else "messages"
    CHECKS[source](body)
    with pytest.raises(ValidationError):
        CHECKS[source]({**body, name: [{"role": "robot", "content": 5}]})


_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.floats(),
    st.sampled_from(
        ["", "user", "tool", "text", "auto", "json_schema", "data:,", "{"]
    ),
    st.just([]),
    st.just({}),
)


@given(data=st.data())
def test_damaged_requests_are_refused_or_rendered(data: st.DataObject) -> None:
    row = data.draw(st.sampled_from(ROWS))
    body = deepcopy(row.body)
    for _ in range(data.draw(st.integers(1, 2))):
        holder, key = data.draw(st.sampled_from(list(places(body))))
        if data.draw(st.booleans()):
            del holder[key]
        else:
            holder[key] = deepcopy(data.draw(_LEAVES))
    try:
        asked = APIS[row.source].read(body)
    except errors.BadRequestError:
        return
    request = CompletionRequest(CONFIG, conversation=asked.conversation)
    for form, profile in TARGETS.values():
        with suppress(errors.LLMError):
            _rendered(form, request, profile)
