"""Reads the input items that clients send to OpenAI's Responses."""

from collections.abc import Iterable, Iterator

from llm_sdks.conversation import (
    ImageDetail,
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
    image_of,
    items_of,
    refuse,
    unsupported,
)
from llm_sdks.formats.openai_chat_messages import is_marked, signature_of

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}


def read_input(body: Fields) -> tuple[Message, ...]:
    """Read the instructions and all items.

    What the model said, thought and called in a row is one message, and so
    are the results of tools.

    Raises:
        BadRequestError: names the field that is wrong or not translatable.
    """
    messages: list[Message] = []
    if instructions := body.text("instructions"):
        messages.append(Message.of("system", instructions))
    asked, path = body.take("input"), body.at("input")
    if isinstance(asked, str):
        return (*messages, Message.of("user", asked))
    for where, item in items_of(asked, path):
        _join(messages, _item(Fields(item, where)))
    if all(message.role == "system" for message in messages):
        refuse(path, "must hold at least one message")
    return tuple(messages)


def _join(messages: list[Message], message: Message) -> None:
    last = messages[-1] if messages else None
    if (
        last is not None
        and message.role in ("assistant", "tool")
        and last.role == message.role
    ):
        parts = (*messages.pop().parts, *message.parts)
        message = Message(message.role, parts)
    messages.append(message)


def _item(item: Fields) -> Message:
    kind = item.text("type") or "message"
    # Of answers that are sent back as they came.
    item.drop("id", "status", "caller", "parsed_arguments")
    match kind:
        case "message":
            message = _message(item)
        case "function_call":
            message = Message("assistant", (_call(item),))
        case "function_call_output":
            message = Message("tool", (_result(item),))
        case "reasoning":
            message = Message("assistant", tuple(_thoughts(item)))
        case _:
            unsupported(item.at("type"), kind)
    item.end()
    return message


def _message(item: Fields) -> Message:
    role = _ROLES.get(name := item.need_text("role"))
    if role is None:
        unsupported(item.at("role"), name)
    item.drop("phase")
    parts: tuple[MessagePart, ...] = tuple(_content(item, "content"))
    if role != "user" and not all(isinstance(x, TextPart) for x in parts):
        refuse(item.at("content"), "must hold text only")
    return Message(role, parts)


def _content(item: Fields, name: str) -> Iterator[TextPart | ImagePart]:
    content, path = item.take(name), item.at(name)
    if isinstance(content, str):
        yield TextPart(content)
        return
    for where, value in items_of(content, path):
        part = Fields(value, where)
        match part.need_text("type"):
            case "input_text" | "output_text" | "text":
                part.drop("annotations", "logprobs", "parsed")
                yield TextPart(part.need_text("text"), is_marked(part))
            case "refusal":
                yield TextPart(part.need_text("refusal"))
            case "input_image":
                yield _image(part)
            case kind:
                unsupported(part.at("type"), kind)
        part.end()


def _image(part: Fields) -> ImagePart:
    url, path = part.need_text("image_url"), part.at("image_url")
    detail: ImageDetail | None = part.word("detail", ImageDetail)
    return image_of(url, path, detail, cache=is_marked(part))


def _call(item: Fields) -> ToolCall:
    return ToolCall(
        item.need_text("call_id"),
        item.need_text("name"),
        item.text("arguments") or "{}",
        signature_of(item),
    )


def _result(item: Fields) -> ToolResult:
    parts = tuple(_content(item, "output"))
    call_id, name = item.need_text("call_id"), item.text("name") or ""
    match parts:
        case (TextPart(text, cache),):
            return ToolResult(call_id, text, name, cache=cache)
    return ToolResult(call_id, parts, name)


def _thoughts(item: Fields) -> Iterable[ThinkingPart]:
    # Only its own provider can read it.
    item.drop("encrypted_content")
    for name in ("summary", "content"):
        for part in item.objects(name):
            part.drop("type")
            yield ThinkingPart(part.need_text("text"))
            part.end()
