"""Reads the requests that clients send to Anthropic's interface."""

from collections.abc import Mapping
from typing import Any, Literal

from llm_sdks.conversation import (
    Conversation,
    Effort,
    ResponseFormat,
    Sampling,
    ToolChoice,
    ToolDefinition,
)
from llm_sdks.formats.anthropic_messages import is_marked, read_messages
from llm_sdks.formats.api import ConversationAsked
from llm_sdks.formats.fields import Fields, refuse, take_usual, unsupported

# They say who asks, not what is asked.
_OF_BOOKKEEPING = ("metadata", "user_profile_id", "workspace_id")
_USUAL: Mapping[str, tuple[object, ...]] = {
    "service_tier": ("auto", "standard_only"),
    "speed": ("standard",),
}
_EffortWord = Literal["low", "medium", "high", "xhigh", "max"]
_MODES: Mapping[str, Literal["auto", "none", "required", "tool"]] = {
    "auto": "auto",
    "none": "none",
    "any": "required",
    "tool": "tool",
}
# From a budget of tokens for thinking to a level; others know levels only.
_BUDGETS: tuple[tuple[int, Effort], ...] = (
    (2_048, "low"),
    (8_192, "medium"),
)
_LEAST_BUDGET = 1_024


def read(body: Mapping[str, Any]) -> ConversationAsked:
    """Read a request.

    Raises:
        BadRequestError: names the field that is wrong or not translatable.
    """
    return _read(Fields(body), needs_limit=True)


def read_to_count(body: Mapping[str, Any]) -> ConversationAsked:
    """Read a request to count the tokens of: it has no limit of its own.

    Raises:
        BadRequestError: names the field that is wrong or not translatable.
    """
    return _read(Fields(body), needs_limit=False)


def _read(fields: Fields, *, needs_limit: bool) -> ConversationAsked:
    model = fields.need_text("model")
    stream = fields.flag("stream") or False
    fields.drop(*_OF_BOOKKEEPING)
    take_usual(fields, _USUAL)
    # Marks what is last, wherever it is: others do that by themselves.
    is_marked(fields)
    thinking = _thinking(fields)
    effort, form = _output(fields)
    limit = fields.whole_number("max_tokens", 1)
    if limit is None and needs_limit:
        refuse("max_tokens", "is required")
    sampling = Sampling(
        temperature=fields.number("temperature", 0, 1),
        top_p=fields.number("top_p", 0, 1),
        top_k=fields.whole_number("top_k"),
        max_tokens=limit,
        stop=fields.texts("stop_sequences"),
        reasoning_effort=effort or thinking,
    )
    conversation = Conversation(
        read_messages(fields),
        tuple(_tool(each) for each in fields.objects("tools")),
        _choice(fields),
        form,
        sampling,
    )
    fields.end()
    return ConversationAsked(model, conversation, stream, stream_usage=True)


def _thinking(fields: Fields) -> Effort | None:
    thinking = fields.inner("thinking")
    if thinking is None:
        return None
    kind = thinking.need_text("type")
    thinking.drop("display")
    effort: Effort | None = None
    if kind == "enabled":
        effort = _level(thinking.whole_number("budget_tokens", _LEAST_BUDGET))
    elif kind not in ("disabled", "adaptive"):
        unsupported(thinking.at("type"), kind)
    thinking.end()
    return effort


def _level(budget: int | None) -> Effort | None:
    if budget is None:
        return None
    for most, effort in _BUDGETS:
        if budget <= most:
            return effort
    return "high"


def _output(fields: Fields) -> tuple[Effort | None, ResponseFormat]:
    output = fields.inner("output_config")
    if output is None:
        return None, ResponseFormat()
    effort: Effort | None = output.word("effort", _EffortWord)
    form = output.inner("format")
    output.end()
    if form is None:
        return effort, ResponseFormat()
    kind = form.need_text("type")
    if kind != "json_schema":
        unsupported(form.at("type"), kind)
    schema = form.schema("schema")
    if schema is None:
        refuse(form.at("schema"), "is required")
    form.end()
    return effort, ResponseFormat("json_schema", schema)


def _tool(tool: Fields) -> ToolDefinition:
    kind = tool.text("type") or "custom"
    if kind != "custom":
        unsupported(tool.at("type"), kind)
    # Of how the tool is streamed and found.
    take_usual(
        tool,
        {
            "eager_input_streaming": (False, True),
            "defer_loading": (False,),
            "allowed_callers": (["direct"],),
        },
    )
    definition = ToolDefinition(
        tool.need_text("name"),
        tool.text("description") or "",
        tool.need_schema("input_schema"),
        tool.flag("strict") or False,
        is_marked(tool),
    )
    tool.end()
    return definition


def _choice(fields: Fields) -> ToolChoice | None:
    choice = fields.inner("tool_choice")
    if choice is None:
        return None
    kind = choice.need_text("type")
    mode = _MODES.get(kind)
    if mode is None:
        unsupported(choice.at("type"), kind)
    name = choice.need_text("name") if mode == "tool" else ""
    if mode == "tool" and not name:
        refuse(choice.at("name"), "must not be empty")
    alone = choice.flag("disable_parallel_tool_use")
    choice.end()
    return ToolChoice(mode, name, None if alone is None else not alone)
