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
# What these options are without an effect; then nothing is lost.
_NEUTRAL: dict[str, tuple[object, ...]] = {
    "temperature": (1,),
    "top_p": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "reasoning_effort": ("none",),
}

# Gives a call's body, of what the model supports.
Render = Callable[[CompletionRequest, Profile], dict[str, Any]]


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


def complete_only(render: Render) -> Render:
    """Refuse what `render` would leave out of a call."""

    def rendered(
        request: CompletionRequest, profile: Profile
    ) -> dict[str, Any]:
        check_options(request, profile)
        return render(request, profile)

    return rendered


def check_options(request: CompletionRequest, profile: Profile) -> None:
    """Make sure that no option of a call has to be left out.

    An option that is what it is without being asked for may be.

    Raises:
        ConfigurationError: names the option.
    """
    conversation = request.conversation
    for name in _dropped(profile):
        wanted = getattr(conversation.sampling, name)
        if wanted is not None and wanted not in _NEUTRAL.get(name, ()):
            raise unsupported(name, request.config.name, name)
    choice = conversation.tool_choice
    if (
        choice is not None
        and choice.parallel is False
        and not profile.supports_parallel_tool_calls
    ):
        name = "parallel_tool_calls"
        raise unsupported(f"{name} = false", request.config.name, name)


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


def unsupported(
    what: str, model: str, option: str | None = None
) -> errors.ConfigurationError:
    """Give the error for what a model does not support."""
    error = errors.ConfigurationError(
        f"The model {model!r} does not support {what}; its profile says what "
        "it supports"
    )
    error.param = option
    return error


def _check(asked: Conversation, profile: Profile, model: str) -> None:
    sampling = asked.sampling
    if not profile.supports_tools and asked.has_tools:
        raise unsupported("tools", model, "tools")
    if not profile.supports_images and asked.has_images:
        raise unsupported("images", model, "messages")
    if not profile.supports_stop and sampling.stop:
        raise unsupported("stop sequences", model, "stop")
    if not profile.supports_logprobs and sampling.logprobs is not None:
        what = "log probabilities (logprobs)"
        raise unsupported(what, model, "logprobs")


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
