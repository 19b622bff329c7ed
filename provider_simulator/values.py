"""What passes between the parts of the simulator."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any
from urllib.parse import parse_qsl

Headers = tuple[tuple[str, str], ...]

_CHARACTERS_A_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request; the names of `headers` are in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    def parameter(self, name: str) -> str | None:
        """Return a parameter of the query."""
        return dict(parse_qsl(self.query)).get(name)


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call; a JSON Schema of its arguments."""

    name: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that the model calls."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """What any vendor's request comes down to.

    `must_call` names the tool that has to be called; any, if it is empty.
    `logprobs` is how many alternatives of each token are wanted. `embeds`
    are the texts of a call for embeddings, of `dimensions` numbers each,
    written as JSON or in Base64.
    """

    model: str
    # The user's messages.
    of_user: tuple[str, ...]
    input_tokens: int
    max_tokens: int | None = None
    stream: bool = False
    include_usage: bool = False
    # Gemini's streams can also be one JSON array.
    server_sent: bool = True
    schema: Mapping[str, Any] | None = None
    tools: tuple[Tool, ...] = ()
    must_call: str | None = None
    logprobs: int | None = None
    embeds: tuple[str, ...] | None = None
    dimensions: int | None = None
    base64: bool = False

    @property
    def text(self) -> str:
        """The user's last message."""
        return self.of_user[-1] if self.of_user else ""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a call used.

    `input` counts `cached` and `cache_write`, `output` counts `reasoning`.
    """

    input: int
    output: int
    cached: int = 0
    reasoning: int = 0
    cache_write: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's answer, before it takes a vendor's form.

    `finish` is `stop`, `length`, `content_filter`, `tool_calls`, or a
    vendor's own word.
    """

    text: str
    tokens: Tokens
    finish: str = "stop"
    calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """One piece of a stream, and how many tokens it took to make."""

    data: bytes
    tokens: int = 0


class Delivery(Enum):
    """How much of a reply reaches the caller."""

    WHOLE = "whole"
    # The connection breaks before the first byte (TCP RST).
    RESET = "reset"
    # The connection stays open and silent.
    HANG = "hang"
    # Half of the body, then the end of the connection.
    TRUNCATED = "truncated"


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP response; a tuple of events is streamed."""

    body: bytes | tuple[Event, ...]
    status: int = 200
    content_type: str = "application/json"
    headers: Headers = ()
    delivery: Delivery = Delivery.WHOLE
    seconds_a_token: float = 0.0


Respond = Callable[[Reply], Awaitable[None]]
Handler = Callable[[Request, Respond], Awaitable[None]]


class RefusedError(Exception):
    """The call gets an error; `reason` is a word for what kind of error.

    `retry_after` is in seconds.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        *,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after


def bad_request(message: str) -> RefusedError:
    """Make the error for a request that is not as it must be."""
    return RefusedError(400, "bad_request", message)


def count_tokens(text: str) -> int:
    """Estimate a text's tokens: four characters each, as vendors say."""
    return -(-len(text) // _CHARACTERS_A_TOKEN)


def first_tokens(text: str, count: int) -> str:
    """Cut a text after a number of tokens."""
    return text[: count * _CHARACTERS_A_TOKEN]


def pieces(text: str) -> list[str]:
    """Split a text into its tokens."""
    size = _CHARACTERS_A_TOKEN
    return [text[at : at + size] for at in range(0, len(text), size)]
