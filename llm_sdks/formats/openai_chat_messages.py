"""Reads the messages that clients send for chat completions."""

from collections.abc import Iterable

from llm_sdks.conversation import (
    ImageDetail,
    ImagePart,
    Message,
    MessagePart,
    TextPart,
    ThinkingPart,
    ToolCall,
    ToolResult,
)
from llm_sdks.formats.fields import (
    Fields,
    image_of,
    items_of,
    refuse,
    unsupported,
)

_SYSTEM = ("system", "developer")


def read_messages(body: Fields) -> tuple[Message, ...]:
    """Read all messages; results of tools in a row are one message.

    Raises:
        BadRequestError: names the field that is wrong or not translatable.
    """
    messages: list[Message] = []
    for fields in body.objects("messages"):
        message = _message(fields)
        if message.role == "tool" and messages and messages[-1].role == "tool":
            parts = (*messages.pop().parts, *message.parts)
            message = Message("tool", parts)
        messages.append(message)
    if not messages:
        refuse("messages", "must hold at least one message")
    return tuple(messages)


def _message(fields: Fields) -> Message:
    role = fields.need_text("role")
    if role in _SYSTEM:
        message = Message("system", tuple(_texts(fields)))
    elif role == "user":
        message = Message("user", tuple(_content(fields)))
    elif role == "assistant":
        message = Message("assistant", tuple(_of_assistant(fields)))
    elif role == "tool":
        message = Message("tool", (_result(fields),))
    else:
        unsupported(fields.at("role"), role)
    fields.end()
    return message


def _content(fields: Fields) -> Iterable[TextPart | ImagePart]:
    content = fields.take("content")
    path = fields.at("content")
    if content is None:
        refuse(path, "is required")
    if isinstance(content, str):
        yield TextPart(content)
        return
    for where, item in items_of(content, path):
        part = Fields(item, where)
        match part.need_text("type"):
            case "text" | "input_text" | "output_text":
                yield TextPart(part.need_text("text"), is_marked(part))
            case "image_url":
                yield _image(part)
            case "refusal":
                yield TextPart(part.need_text("refusal"))
            case kind:
                unsupported(part.at("type"), kind)
        part.end()


def _texts(fields: Fields) -> Iterable[TextPart]:
    path = fields.at("content")
    for part in _content(fields):
        if not isinstance(part, TextPart):
            refuse(path, "must hold text only")
        yield part


def _image(part: Fields) -> ImagePart:
    cache = is_marked(part)
    image = part.need_inner("image_url")
    url, path = image.need_text("url"), image.at("url")
    detail: ImageDetail | None = image.word("detail", ImageDetail)
    image.end()
    return image_of(url, path, detail, cache=cache)


def is_marked(part: Fields) -> bool:
    """Tell whether a part has a mark: cache everything up to here.

    OpenAI's own, or Anthropic's, which gateways take here as well.
    """
    marks = [
        part.inner("prompt_cache_breakpoint"),
        part.inner("cache_control"),
    ]
    return any(mark is not None for mark in marks)


def _of_assistant(fields: Fields) -> Iterable[MessagePart]:
    # Sent back as it was received: with what the answer said of itself, and
    # what OpenAI's library has read in it.
    fields.drop("annotations", "parsed")
    if thought := fields.text("reasoning_content"):
        yield ThinkingPart(thought)
    content = fields.take("content")
    if content is not None:
        yield from _said(Fields({"content": content}, fields.path))
    if refusal := fields.text("refusal"):
        yield TextPart(refusal)
    for call in fields.objects("tool_calls"):
        yield _call(call)


def _said(fields: Fields) -> Iterable[TextPart]:
    for part in _texts(fields):
        # What comes with calls of tools is often empty.
        if part.text:
            yield part


def _call(call: Fields) -> ToolCall:
    kind = call.text("type") or "function"
    if kind != "function":
        unsupported(call.at("type"), kind)
    call.drop("index")
    call_id = call.need_text("id")
    function = call.need_inner("function")
    name = function.need_text("name")
    arguments = function.text("arguments") or "{}"
    function.drop("parsed_arguments")
    signature = signature_of(call)
    function.end()
    call.end()
    return ToolCall(call_id, name, arguments, signature)


def signature_of(call: Fields) -> str:
    """Read a call's signature, as Google's endpoint of this format has it."""
    more = call.inner("extra_content")
    google = None if more is None else more.inner("google")
    return "" if google is None else google.text("thought_signature") or ""


def _result(fields: Fields) -> ToolResult:
    parts = tuple(_content(fields))
    call_id = fields.need_text("tool_call_id")
    # The tool's name: of older clients.
    name = fields.text("name") or ""
    if len(parts) == 1 and isinstance(parts[0], TextPart):
        only = parts[0]
        return ToolResult(call_id, only.text, name, cache=only.cache)
    return ToolResult(call_id, parts, name)
