"""Reads the requests that clients send to OpenAI's Responses."""

from collections.abc import Mapping
from typing import Any

from llm_sdks.conversation import (
    Conversation,
    Effort,
    ResponseFormat,
    Sampling,
    ToolDefinition,
)
from llm_sdks.formats.api import ConversationAsked
from llm_sdks.formats.fields import Fields, take_usual, unsupported
from llm_sdks.formats.openai_chat_asked import (
    MOST_TOP_LOGPROBS,
    OF_BOOKKEEPING,
    form_of,
    read_choice,
    tool_of,
)
from llm_sdks.formats.openai_responses_items import read_input

# Taken where they ask for what happens anyway.
_USUAL: Mapping[str, tuple[object, ...]] = {
    "background": (False,),
    "service_tier": ("auto", "default"),
    "truncation": ("disabled",),
}
_LOGPROBS = "message.output_text.logprobs"
# What cannot be told to anyone else is not told.
_INCLUDED = ("reasoning.encrypted_content", _LOGPROBS)


def read(body: Mapping[str, Any]) -> ConversationAsked:
    """Read a request.

    Whether answers are stored is our own matter, so that `store` is taken;
    what refers to stored ones is refused.

    Raises:
        BadRequestError: names the field that is wrong or not translatable.
    """
    fields = Fields(body)
    model = fields.need_text("model")
    stream = fields.flag("stream") or False
    fields.drop("stream_options", "store", *OF_BOOKKEEPING)
    take_usual(fields, _USUAL)
    conversation = Conversation(
        read_input(fields),
        tuple(_tool(each) for each in fields.objects("tools")),
        read_choice(fields),
        _form(fields),
        _sampling(fields),
    )
    fields.end()
    return ConversationAsked(model, conversation, stream, stream_usage=True)


def _tool(tool: Fields) -> ToolDefinition:
    kind = tool.need_text("type")
    if kind != "function":
        unsupported(tool.at("type"), kind)
    take_usual(
        tool,
        {
            "defer_loading": (False,),
            "async": (False,),
            "allowed_callers": (["direct"],),
        },
    )
    tool.drop("output_schema")
    return tool_of(tool)


def _form(fields: Fields) -> ResponseFormat:
    text = fields.inner("text")
    if text is None:
        return ResponseFormat()
    take_usual(text, {"verbosity": ("medium",)})
    form = text.inner("format")
    text.end()
    if form is None:
        return ResponseFormat()
    kind = form.need_text("type")
    if kind == "json_schema":
        return form_of(form)
    form.end()
    if kind not in ("text", "json_object"):
        unsupported(form.at("type"), kind)
    return ResponseFormat(kind)  # type: ignore[arg-type]  # one of the two


def _sampling(fields: Fields) -> Sampling:
    return Sampling(
        temperature=fields.number("temperature", 0, 2),
        top_p=fields.number("top_p", 0, 1),
        max_tokens=fields.whole_number("max_output_tokens", 1),
        reasoning_effort=_effort(fields),
        logprobs=_logprobs(fields),
    )


def _effort(fields: Fields) -> Effort | None:
    reasoning = fields.inner("reasoning")
    if reasoning is None:
        return None
    # Whether and how thoughts are shown is the provider's matter.
    reasoning.drop("summary", "generate_summary")
    take_usual(reasoning, {"context": ("auto",)})
    effort: Effort | None = reasoning.word("effort", Effort)
    reasoning.end()
    return effort


def _logprobs(fields: Fields) -> int | None:
    top = fields.whole_number("top_logprobs", 0, MOST_TOP_LOGPROBS)
    path = fields.at("include")
    included = fields.texts("include")
    for name in included:
        if name not in _INCLUDED:
            unsupported(path, name)
    if top is None and _LOGPROBS not in included:
        return None
    return top or 0
