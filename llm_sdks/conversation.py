"""What a model is asked, in our own terms; formats turn it into JSON.

A `Conversation` is messages, tools, the form of the answer and the options
of one call. Everything is frozen, so that one may be shared by threads and
kept as a key of a call. A format (`llm_sdks.formats`) renders all of it, or
raises an error that names what the provider or the model cannot do.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

Role = Literal["system", "user", "assistant", "tool"]
ImageDetail = Literal["auto", "low", "high", "original"]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TextPart:
    """A piece of text.

    `cache` asks the provider to keep everything up to here for later calls,
    where it knows such marks; others cache by themselves or not at all.
    """

    text: str
    cache: bool = False


@dataclass(frozen=True, slots=True)
class ImagePart:
    """A picture: either a `url`, or `data` with its `media_type`."""

    url: str | None = None
    data: bytes | None = field(default=None, repr=False)
    media_type: str | None = None
    detail: ImageDetail | None = None
    cache: bool = False

    def __post_init__(self) -> None:
        if (self.url is None) == (self.data is None):
            raise ValueError("an image has either a url or data")
        if self.data is not None and not self.media_type:
            raise ValueError("an image's data needs its media_type")

    @property
    def base64(self) -> str:
        """The data as Base64; empty for a URL."""
        return base64.b64encode(self.data or b"").decode()

    @property
    def address(self) -> str:
        """The URL, or the data as a `data:` URL."""
        if self.url is not None:
            return self.url
        return f"data:{self.media_type};base64,{self.base64}"


@dataclass(frozen=True, slots=True)
class ThinkingPart:
    """What the model thought before; `signature` is its provider's proof.

    Formats whose providers take no thoughts back leave it out.
    """

    text: str
    signature: str = ""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the model asked for; `arguments` is the JSON it wrote.

    `signature` is what some providers want back with the call.
    """

    id: str
    name: str
    arguments: str = "{}"
    signature: str = ""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool answered to the call `call_id`.

    `name` is the tool's; without it, it is taken from the call.
    """

    call_id: str
    content: str | tuple[TextPart | ImagePart, ...] = ""
    name: str = ""
    is_error: bool = False
    cache: bool = False

    @property
    def text(self) -> str:
        """The texts of the result."""
        if isinstance(self.content, str):
            return self.content
        texts = [each for each in self.content if isinstance(each, TextPart)]
        return "\n\n".join(each.text for each in texts)

    @property
    def images(self) -> tuple[ImagePart, ...]:
        """The pictures of the result."""
        if isinstance(self.content, str):
            return ()
        return tuple(
            each for each in self.content if isinstance(each, ImagePart)
        )


MessagePart = TextPart | ImagePart | ThinkingPart | ToolCall | ToolResult

_ALLOWED: Mapping[str, tuple[type, ...]] = {
    "system": (TextPart,),
    "user": (TextPart, ImagePart),
    "assistant": (TextPart, ThinkingPart, ToolCall),
    "tool": (ToolResult,),
}


@dataclass(frozen=True, slots=True)
class Message:
    """One turn; its role decides which kinds of parts it may have."""

    role: Role
    parts: tuple[MessagePart, ...]

    def __post_init__(self) -> None:
        allowed = _ALLOWED.get(self.role)
        if allowed is None:
            raise ValueError(f"unknown role {self.role!r}")
        for part in self.parts:
            if not isinstance(part, allowed):
                raise TypeError(
                    f"a message of role {self.role!r} cannot hold a "
                    f"{type(part).__name__}"
                )

    @classmethod
    def of(cls, role: Role, text: str) -> Self:
        """Make a message of one text."""
        return cls(role, (TextPart(text),))

    @property
    def texts(self) -> tuple[TextPart, ...]:
        """The parts that are text."""
        return tuple(each for each in self.parts if isinstance(each, TextPart))

    @property
    def text(self) -> str:
        """All texts, joined by blank lines."""
        return "\n\n".join(each.text for each in self.texts)

    @property
    def images(self) -> tuple[ImagePart, ...]:
        """The pictures, those inside tool results included."""
        found: list[ImagePart] = []
        for part in self.parts:
            if isinstance(part, ImagePart):
                found.append(part)
            elif isinstance(part, ToolResult):
                found.extend(part.images)
        return tuple(found)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls that the model asked for."""
        return tuple(each for each in self.parts if isinstance(each, ToolCall))

    @property
    def tool_results(self) -> tuple[ToolResult, ...]:
        """The answers of tools."""
        return tuple(
            each for each in self.parts if isinstance(each, ToolResult)
        )


@dataclass(frozen=True, slots=True)
class ToolDefinition:
    """A function that the model may call.

    `parameters` is the JSON Schema of its arguments; `strict` asks the
    provider to hold the model to it.
    """

    name: str
    description: str = ""
    parameters: Schema = field(
        default_factory=lambda: {"type": "object", "properties": {}}
    )
    strict: bool = False
    cache: bool = False


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether and which tool the model must call.

    `auto`: as it likes, `none`: no tool, `required`: any tool, `tool`: the
    one that `name` names. `parallel` allows several calls in one answer;
    None leaves that to the provider.
    """

    mode: Literal["auto", "none", "required", "tool"] = "auto"
    name: str = ""
    parallel: bool | None = None

    def __post_init__(self) -> None:
        if (self.mode == "tool") != bool(self.name):
            raise ValueError("the mode 'tool', and no other, needs a name")


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """The form of the answer.

    With `json_schema`, `strict` None promises strictness to the provider
    where the schema qualifies for it.
    """

    kind: Literal["text", "json_object", "json_schema"] = "text"
    schema: Schema | None = None
    name: str = ""
    description: str = ""
    strict: bool | None = None

    def __post_init__(self) -> None:
        if (self.kind == "json_schema") != (self.schema is not None):
            raise ValueError("the kind 'json_schema', alone, needs a schema")

    @classmethod
    def of(cls, schema: Schema | None) -> Self:
        """Ask for an answer of this schema; None asks for text."""
        return cls() if schema is None else cls("json_schema", schema)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the answer is made; None leaves an option to the provider.

    `max_tokens` can only lower the model's own limit. `logprobs` is how
    many alternatives of each token are wanted; 0 asks for the token's own.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    reasoning_effort: Effort | None = None
    logprobs: int | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """Everything that one call asks, apart from which model and for how long.

    System messages may stand anywhere; formats that know one system text
    only get them joined.
    """

    messages: tuple[Message, ...]
    tools: tuple[ToolDefinition, ...] = ()
    tool_choice: ToolChoice | None = None
    response_format: ResponseFormat = field(default_factory=ResponseFormat)
    sampling: Sampling = field(default_factory=Sampling)

    @classmethod
    def simple(
        cls,
        system: str,
        user: str,
        temperature: float | None = None,
        response_schema: Schema | None = None,
    ) -> Self:
        """Make a conversation of a system text and one user message."""
        first = (Message.of("system", system),) if system else ()
        return cls(
            (*first, Message.of("user", user)),
            response_format=ResponseFormat.of(response_schema),
            sampling=Sampling(temperature=temperature),
        )

    @property
    def system(self) -> str:
        """The texts of all system messages, joined by blank lines."""
        texts = [each.text for each in self.messages if each.role == "system"]
        return "\n\n".join(text for text in texts if text)

    @property
    def turns(self) -> tuple[Message, ...]:
        """The messages that are not the system's."""
        return tuple(each for each in self.messages if each.role != "system")

    @property
    def is_simple(self) -> bool:
        """Whether a system text and one user text are all there is."""
        turns = self.turns
        return (
            len(turns) == 1
            and turns[0].role == "user"
            and len(turns[0].texts) == len(turns[0].parts) == 1
            and not self.tools
        )

    @property
    def has_images(self) -> bool:
        """Whether there is a picture anywhere."""
        return any(message.images for message in self.messages)

    @property
    def has_tools(self) -> bool:
        """Whether tools are defined, called or answered."""
        return bool(self.tools) or any(
            message.tool_calls or message.tool_results
            for message in self.messages
        )

    def with_system(self, system: str) -> Self:
        """Return the same with another system text."""
        first = (Message.of("system", system),) if system else ()
        return replace(self, messages=(*first, *self.turns))

    def with_user(self, user: str) -> Self:
        """Return the same with another text as the last user message."""
        last = Message.of("user", user)
        for index in range(len(self.messages) - 1, -1, -1):
            if self.messages[index].role == "user":
                before = self.messages[:index]
                after = self.messages[index + 1 :]
                return replace(self, messages=(*before, last, *after))
        return replace(self, messages=(*self.messages, last))

    def with_instruction(self, text: str) -> Self:
        """Return the same with a further system text behind the first."""
        part = TextPart(text)
        first, *rest = self.messages or (Message("system", ()),)
        if first.role == "system":
            whole = Message("system", (*first.parts, part))
            return replace(self, messages=(whole, *rest))
        return replace(
            self, messages=(Message("system", (part,)), first, *rest)
        )

    def without_system(self) -> Self:
        """Return the same with the system text in the first user message.

        For models that know no system messages.
        """
        system = self.system
        if not system:
            return replace(self, messages=self.turns)
        turns = list(self.turns)
        if turns and turns[0].role == "user":
            parts = (TextPart(system), *turns[0].parts)
            turns[0] = Message("user", _joined(parts))
        else:
            turns.insert(0, Message.of("user", system))
        return replace(self, messages=tuple(turns))


def _joined(parts: tuple[MessagePart, ...]) -> tuple[MessagePart, ...]:
    # Simple servers, those without system messages above all, take one text.
    first, second, *rest = parts
    if isinstance(first, TextPart) and isinstance(second, TextPart):
        text = f"{first.text}\n\n{second.text}"
        return (TextPart(text, second.cache), *rest)
    return parts
