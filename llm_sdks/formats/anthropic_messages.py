"""Reads the messages that clients send to Anthropic's interface."""

from collections.abc import Iterable, Iterator

from pydantic_core import to_json

from llm_sdks.conversation import (
    ImagePart,
    Message,
    MessagePart,
    Role,
    TextPart,
    ThinkingPart,
    ToolCall,
    ToolResult,
)
from llm_sdks.formats.fields import (
    Fields,
    bytes_of,
    image_of,
    items_of,
    refuse,
    unsupported,
)

_ROLES: dict[str, Role] = {
    "user": "user",
    "assistant": "assistant",
    "system": "system",
}


def read_messages(body: Fields) -> tuple[Message, ...]:
    """Read the system text and all messages.

    Raises:
        BadRequestError: names the field that is wrong or not translatable.
    """
    system = tuple(_texts(body, "system"))
    messages = [Message("system", system)] if system else []
    for fields in body.objects("messages"):
        messages += _turn(fields)
    if not any(message.role != "system" for message in messages):
        refuse("messages", "must hold at least one message")
    return tuple(messages)


def _turn(fields: Fields) -> Iterable[Message]:
    role = _ROLES.get(name := fields.need_text("role"))
    if role is None:
        unsupported(fields.at("role"), name)
    parts = list(_parts(fields, "content"))
    path = fields.at("content")
    fields.end()
    results = tuple(each for each in parts if isinstance(each, ToolResult))
    others = tuple(each for each in parts if not isinstance(each, ToolResult))
    if results:
        yield _message("tool" if role == "user" else role, results, path)
    if others or not results:
        yield _message(role, others, path)


def _message(role: Role, parts: tuple[MessagePart, ...], path: str) -> Message:
    try:
        return Message(role, parts)
    except TypeError as error:
        refuse(path, str(error))


def _texts(fields: Fields, name: str) -> Iterator[TextPart]:
    for part in _parts(fields, name):
        if not isinstance(part, TextPart):
            refuse(fields.at(name), "must hold text only")
        yield part


def _parts(fields: Fields, name: str) -> Iterator[MessagePart]:
    content, path = fields.take(name), fields.at(name)
    if isinstance(content, str):
        yield TextPart(content)
    elif content is not None:
        for where, item in items_of(content, path):
            block = Fields(item, where)
            yield from _block(block)
            block.end()


def _block(block: Fields) -> Iterator[MessagePart]:
    kind = block.need_text("type")
    # Of the answers that clients send back.
    block.drop("citations", "parsed_output")
    match kind:
        case "text":
            yield TextPart(block.need_text("text"), is_marked(block))
        case "image":
            yield _image(block)
        case "thinking":
            yield ThinkingPart(
                block.text("thinking") or "", block.text("signature") or ""
            )
        case "redacted_thinking":
            block.drop("data")  # only its own provider can read it
        case "tool_use":
            yield _call(block)
        case "tool_result":
            yield _result(block)
        case _:
            unsupported(block.at("type"), kind)


def _image(block: Fields) -> ImagePart:
    cache = is_marked(block)
    source = block.need_inner("source")
    kind = source.need_text("type")
    if kind == "url":
        url, path = source.need_text("url"), source.at("url")
        source.end()
        return image_of(url, path, cache=cache)
    if kind != "base64":
        unsupported(source.at("type"), kind)
    data = bytes_of(source.need_text("data"), source.at("data"))
    media_type = source.need_text("media_type")
    if not media_type:
        refuse(source.at("media_type"), "must not be empty")
    source.end()
    return ImagePart(data=data, media_type=media_type, cache=cache)


def _call(block: Fields) -> ToolCall:
    is_marked(block)  # no other format marks calls
    block.drop("caller", "toolset_name")
    asked, path = block.take("input"), block.at("input")
    if not isinstance(asked, dict):
        refuse(path, "must be an object")
    return ToolCall(
        block.need_text("id"),
        block.need_text("name"),
        to_json(asked).decode(),
    )


def _result(block: Fields) -> ToolResult:
    block.drop("toolset_name")
    parts = tuple(_parts(block, "content"))
    path = block.at("content")
    call_id = block.need_text("tool_use_id")
    is_error, cache = block.flag("is_error") or False, is_marked(block)
    match parts:
        case ():
            return ToolResult(call_id, is_error=is_error, cache=cache)
        case (TextPart(text, False),):
            return ToolResult(call_id, text, "", is_error, cache)
    content = tuple(_text_or_image(part, path) for part in parts)
    return ToolResult(call_id, content, "", is_error, cache)


def _text_or_image(part: MessagePart, path: str) -> TextPart | ImagePart:
    if not isinstance(part, TextPart | ImagePart):
        refuse(path, "must hold texts and images only")
    return part


def is_marked(block: Fields) -> bool:
    """Tell whether a block has a mark: cache everything up to here."""
    mark = block.inner("cache_control")
    if mark is None:
        return False
    kind = mark.text("type")
    if kind != "ephemeral":
        unsupported(mark.at("type"), kind or "")
    # How long is the provider's own matter.
    mark.drop("ttl")
    mark.end()
    return True
