"""Reads the requests that clients send for chat completions."""

from collections.abc import Mapping
from typing import Any

from llm_sdks.conversation import (
    Conversation,
    Effort,
    ResponseFormat,
    Sampling,
    ToolChoice,
    ToolDefinition,
)
from llm_sdks.formats.api import ConversationAsked
from llm_sdks.formats.fields import Fields, refuse, take_usual, unsupported
from llm_sdks.formats.openai_chat_messages import is_marked, read_messages

MOST_TOP_LOGPROBS = 20
_SEEDS = 2**63
# They say who asks and how the provider keeps it, not what is asked.
OF_BOOKKEEPING = (
    "metadata",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "user",
)
# Taken where they ask for what happens anyway.
_USUAL: Mapping[str, tuple[object, ...]] = {
    "n": (1,),
    "store": (False,),
    "service_tier": ("auto", "default"),
    "modalities": (["text"],),
    "logit_bias": ({},),
    "verbosity": ("medium",),
}
_MODES = ("auto", "none", "required")


def read(body: Mapping[str, Any]) -> ConversationAsked:
    """Read a request.

    Raises:
        BadRequestError: names the field that is wrong or not translatable.
    """
    fields = Fields(body)
    model = fields.need_text("model")
    stream = fields.flag("stream") or False
    usage = _stream_usage(fields)
    fields.drop(*OF_BOOKKEEPING)
    take_usual(fields, _USUAL)
    conversation = Conversation(
        read_messages(fields),
        read_tools(fields),
        read_choice(fields),
        _form(fields),
        _sampling(fields),
    )
    fields.end()
    return ConversationAsked(model, conversation, stream, usage)


def _stream_usage(fields: Fields) -> bool:
    options = fields.inner("stream_options")
    if options is None:
        return False
    options.drop("include_obfuscation")
    wanted = options.flag("include_usage")
    options.end()
    return wanted or False


def read_tools(fields: Fields) -> tuple[ToolDefinition, ...]:
    """Read the tools that the model may call.

    Raises:
        BadRequestError: names the field that is wrong or not translatable.
    """
    return tuple(_tool(each) for each in fields.objects("tools"))


def _tool(tool: Fields) -> ToolDefinition:
    kind = tool.text("type") or "function"
    if kind != "function":
        unsupported(tool.at("type"), kind)
    cache = is_marked(tool)
    function = tool.need_inner("function")
    definition = tool_of(function, cache=cache)
    tool.end()
    return definition


def tool_of(function: Fields, *, cache: bool = False) -> ToolDefinition:
    """Read a function's name, description, schema and strictness."""
    name = function.need_text("name")
    text = function.text("description") or ""
    schema = function.schema("parameters")
    strict = function.flag("strict") or False
    function.end()
    if schema is None:
        return ToolDefinition(name, text, strict=strict, cache=cache)
    return ToolDefinition(name, text, schema, strict, cache)


def read_choice(fields: Fields) -> ToolChoice | None:
    """Read which tool the model must call."""
    parallel = fields.flag("parallel_tool_calls")
    asked, path = fields.take("tool_choice"), fields.at("tool_choice")
    if asked is None:
        return None if parallel is None else ToolChoice(parallel=parallel)
    if isinstance(asked, str):
        if asked not in _MODES:
            refuse(path, "must be auto, none, required or a tool")
        return ToolChoice(asked, parallel=parallel)  # type: ignore[arg-type]  # one of the modes
    choice = Fields(asked, path)
    kind = choice.need_text("type")
    if kind != "function":
        unsupported(choice.at("type"), kind)
    # Responses have the name one level higher.
    function = choice.inner("function") or choice
    name = function.need_text("name")
    function.end()
    choice.end()
    if not name:
        refuse(function.at("name"), "must not be empty")
    return ToolChoice("tool", name, parallel)


def _form(fields: Fields) -> ResponseFormat:
    form = fields.inner("response_format")
    if form is None:
        return ResponseFormat()
    kind = form.need_text("type")
    if kind == "json_schema":
        found = form_of(form.need_inner("json_schema"))
    elif kind in ("text", "json_object"):
        found = ResponseFormat(kind)  # type: ignore[arg-type]  # one of them
    else:
        unsupported(form.at("type"), kind)
    form.end()
    return found


def form_of(described: Fields) -> ResponseFormat:
    """Read a schema with its name, description and strictness."""
    schema = described.schema("schema")
    form = ResponseFormat(
        "json_schema",
        {} if schema is None else schema,
        described.text("name") or "",
        described.text("description") or "",
        described.flag("strict"),
    )
    described.end()
    return form


def _sampling(fields: Fields) -> Sampling:
    older = fields.whole_number("max_tokens", 1)
    newer = fields.whole_number("max_completion_tokens", 1)
    return Sampling(
        temperature=fields.number("temperature", 0, 2),
        top_p=fields.number("top_p", 0, 1),
        # Not OpenAI's, but many servers of this format take it.
        top_k=fields.whole_number("top_k"),
        max_tokens=older if newer is None else newer,
        stop=fields.texts("stop"),
        seed=fields.whole_number("seed", -_SEEDS, _SEEDS - 1),
        presence_penalty=fields.number("presence_penalty", -2, 2),
        frequency_penalty=fields.number("frequency_penalty", -2, 2),
        reasoning_effort=fields.word("reasoning_effort", Effort),
        logprobs=_logprobs(fields),
    )


def _logprobs(fields: Fields) -> int | None:
    wanted = fields.flag("logprobs")
    top = fields.whole_number("top_logprobs", 0, MOST_TOP_LOGPROBS)
    if top and not wanted:
        refuse(fields.at("top_logprobs"), "needs logprobs")
    return (top or 0) if wanted else None
