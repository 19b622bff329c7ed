"""What all formats do before they write a conversation down."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from pydantic_core import from_json, to_json

from llm_sdks import errors
from llm_sdks.base_sdk import CompletionRequest
from llm_sdks.conversation import (
    Conversation,
    ResponseFormat,
    Sampling,
    Schema,
    ToolCall,
)
from llm_sdks.formats import schemas, settings
from llm_sdks.profiles.profile import Profile

_JSON_ONLY = "Answer with one JSON object only."
_BY_SCHEMA = (
    "Answer with one JSON value only, which follows this JSON Schema:\n"
)
# Options that only shape how an answer is made.
_LEFT_OUT = (
    ("supports_temperature", ("temperature",)),
    ("supports_top_p", ("top_p",)),
    ("supports_top_k", ("top_k",)),
    ("supports_seed", ("seed",)),
    ("supports_penalties", ("presence_penalty", "frequency_penalty")),
    ("supports_reasoning_effort", ("reasoning_effort",)),
)
_TEXT = ResponseFormat()


@dataclass(frozen=True, slots=True)
class Prepared:
    """A conversation as a model takes it.

    `form` is what the provider is asked for; the conversation's own
    instructions say the rest. `max_tokens` is None without any limit.
    """

    conversation: Conversation
    form: ResponseFormat
    sampling: Sampling
    max_tokens: int | None


def prepare(
    request: CompletionRequest,
    profile: Profile,
    takes_schema: Callable[[Schema], bool] = bool,
) -> Prepared:
    """Bring a conversation to what a model supports.

    `takes_schema` tells whether the provider takes a schema at all.

    Raises:
        ConfigurationError: the model does not support what cannot be left
            out; names it.
    """
    asked = request.conversation
    _check(asked, profile, request.config.name)
    form = _form(asked.response_format, profile, takes_schema)
    conversation = _instructed(asked, form)
    if not profile.supports_system:
        conversation = conversation.without_system()
    return Prepared(
        conversation,
        form,
        _sampling(request, profile),
        token_limit(request),
    )


def token_limit(request: CompletionRequest) -> int | None:
    """Return the limit of the answer's tokens: the lower of the two."""
    wanted = request.conversation.sampling.max_tokens
    limits = [
        limit
        for limit in (wanted, settings.token_limit(request.config))
        if limit is not None
    ]
    return min(limits, default=None)


def arguments_of(call: ToolCall) -> dict[str, object]:
    """Return a tool call's arguments as an object.

    Raises:
        BadRequestError: they are none.
    """
    try:
        value = from_json(call.arguments or "{}")
    except ValueError:
        value = None
    if isinstance(value, dict):
        return value
    raise errors.BadRequestError(
        f"The arguments of the tool call {call.name!r} are no JSON object"
    )


def tool_name(conversation: Conversation, call_id: str, name: str) -> str:
    """Return the name of the tool that a result belongs to.

    Raises:
        BadRequestError: no call has that id.
    """
    if name:
        return name
    for message in conversation.messages:
        for call in message.tool_calls:
            if call.id == call_id:
                return call.name
    raise errors.BadRequestError(f"No tool call has the id {call_id!r}")


def unsupported(what: str, model: str) -> errors.ConfigurationError:
    """Give the error for what a model does not support."""
    return errors.ConfigurationError(
        f"The model {model!r} does not support {what}; its profile says what "
        "it supports"
    )


def _check(asked: Conversation, profile: Profile, model: str) -> None:
    sampling = asked.sampling
    if not profile.supports_tools and asked.has_tools:
        raise unsupported("tools", model)
    if not profile.supports_images and asked.has_images:
        raise unsupported("images", model)
    if not profile.supports_stop and sampling.stop:
        raise unsupported("stop sequences", model)
    if not profile.supports_logprobs and sampling.logprobs is not None:
        raise unsupported("log probabilities (logprobs)", model)


def _form(
    asked: ResponseFormat,
    profile: Profile,
    takes_schema: Callable[[Schema], bool],
) -> ResponseFormat:
    """Choose the strictest form that the model supports."""
    schema = asked.schema
    if schema is not None and profile.supports_json_schema:
        refused = profile.schema_keywords_refused
        loose = schemas.without(schema, refused) if refused else schema
        if loose is not None and takes_schema(loose):
            return replace(
                asked,
                schema=loose,
                name=asked.name or schemas.name_of(schema),
                strict=_is_strict(asked, loose, profile),
            )
    if asked.kind != "text" and profile.supports_json_object:
        is_object = schema is None or schema.get("type") == "object"
        return ResponseFormat("json_object") if is_object else _TEXT
    return _TEXT


def _is_strict(
    asked: ResponseFormat, schema: Schema, profile: Profile
) -> bool:
    if not profile.supports_strict_schema or asked.strict is False:
        return False
    return asked.strict is True or schemas.is_strict(schema)


def _instructed(asked: Conversation, form: ResponseFormat) -> Conversation:
    """Say in words what the provider is not asked for."""
    wanted = asked.response_format
    if wanted.kind in ("text", form.kind) and not _lacks_word(asked, form):
        return asked
    if wanted.schema is None:
        return asked.with_instruction(_JSON_ONLY)
    schema = to_json(wanted.schema).decode()
    return asked.with_instruction(_BY_SCHEMA + schema)


def _lacks_word(asked: Conversation, form: ResponseFormat) -> bool:
    # OpenAI's JSON mode refuses prompts without it.
    return form.kind == "json_object" and not any(
        "json" in message.text.lower() for message in asked.messages
    )


def _sampling(request: CompletionRequest, profile: Profile) -> Sampling:
    sampling = request.conversation.sampling
    changed: dict[str, Any] = dict.fromkeys(_dropped(profile))
    wanted = sampling.temperature
    if wanted is not None and "temperature" not in changed:
        allowed = request.config.clamp(wanted)
        if allowed != wanted:
            changed["temperature"] = allowed
    return replace(sampling, **changed) if changed else sampling


@lru_cache(maxsize=1000)
def _dropped(profile: Profile) -> tuple[str, ...]:
    return tuple(
        name
        for support, names in _LEFT_OUT
        if not getattr(profile, support)
        for name in names
    )
