"""A vendor's wire format: what every one of them must be able to say."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any, ClassVar

from pydantic_core import from_json, to_json

from provider_simulator.values import (
    Answer,
    Call,
    Event,
    Headers,
    RefusedError,
    Reply,
    Request,
    bad_request,
    pieces,
)

Body = Mapping[str, Any]

# Stands where a token will, and nowhere else.
_MARK = "\0token\0"

_numbers = count(1)


def next_number() -> int:
    """Return a number that no other reply of this process has."""
    return next(_numbers)


class Wire(ABC):
    """One vendor. It has no state: everything is in its arguments.

    `number` makes a reply's ids.
    """

    name: ClassVar[str]
    stream_type: ClassVar[str] = "text/event-stream; charset=utf-8"
    # Whether it charges for what is written to its cache, and says so.
    charges_cache_writes: ClassVar[bool] = False

    @abstractmethod
    def call(self, body: Body, request: Request) -> Call:
        """Read a request.

        Raises:
            RefusedError: it is not what the vendor takes.
        """

    @abstractmethod
    def whole(self, call: Call, answer: Answer, number: int) -> object:
        """Return the body of an answer in one piece."""

    @abstractmethod
    def events(
        self, call: Call, answer: Answer, number: int
    ) -> Iterator[Event]:
        """Yield the answer as a stream."""

    @abstractmethod
    def problem(self, error: RefusedError, number: int) -> object:
        """Return the body of an error."""

    @abstractmethod
    def headers(self, number: int) -> Headers:
        """Return the headers of every response."""

    @abstractmethod
    def stream_problem(self, error: RefusedError, number: int) -> Event:
        """Return an error that comes in the middle of a stream."""

    def limit_headers(
        self, limit: int, remaining: int, seconds: float
    ) -> Headers:
        """Return what the vendor tells about its rate limit."""
        del limit, remaining, seconds
        return ()

    def status(self, error: RefusedError) -> int:
        """Return the vendor's status of an error."""
        return error.status

    def read(self, request: Request) -> Call:
        """Read a request.

        Raises:
            RefusedError: it is not what the vendor takes.
        """
        try:
            body = from_json(request.body)
        except ValueError as error:
            raise bad_request(f"The body is not JSON: {error}") from None
        if not isinstance(body, Mapping):
            raise bad_request("The body must be a JSON object")
        return self.call(body, request)

    def reply(self, call: Call, answer: Answer) -> Reply:
        """Give an answer the vendor's form."""
        number = next_number()
        headers = self.headers(number)
        if not call.stream:
            body = to_json(self.whole(call, answer, number))
            return Reply(body, headers=headers)
        events = tuple(self.events(call, answer, number))
        return Reply(events, content_type=self.stream_type, headers=headers)

    def refusal(self, error: RefusedError, request: Request) -> Reply:
        """Give an error the vendor's form."""
        del request
        number = next_number()
        headers = self.headers(number)
        if error.retry_after is not None:
            headers += self.retry_headers(error.retry_after)
        body = to_json(self.problem(error, number))
        return Reply(body, status=self.status(error), headers=headers)

    def retry_headers(self, seconds: float) -> Headers:
        """Say when to come again; HTTP knows whole seconds only."""
        return (("retry-after", str(-int(-seconds // 1))),)


def positive(body: Body, *names: str) -> int | None:
    """Return the first of the numbers that is there.

    Raises:
        RefusedError: it is no whole number of at least 1.
    """
    for name in names:
        if (value := body.get(name)) is not None:
            if type(value) is not int or value < 1:
                raise bad_request(f"{name}: must be an integer of at least 1")
            return value
    return None


def items(body: Body, name: str) -> list[Body]:
    """Return a list of objects that must be there.

    Raises:
        RefusedError: it is not, or not such a list.
    """
    value = body.get(name)
    if not isinstance(value, list) or not value:
        raise bad_request(f"Missing required parameter: '{name}'.")
    if not all(isinstance(item, Mapping) for item in value):
        raise bad_request(f"{name}: must hold objects")
    return value


def of_user(messages: list[Body], texts: list[str]) -> tuple[str, ...]:
    """Return the texts of the user's messages.

    A message without a role is the user's.
    """
    return tuple(
        text
        for message, text in zip(messages, texts, strict=True)
        if message.get("role", "user") == "user"
    )


def text_of(content: object) -> str:
    """Return the text of a message: a string, or parts that hold some."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(
            part["text"]
            for part in content
            if isinstance(part, Mapping) and isinstance(part.get("text"), str)
        )
    return ""


def mapping(value: object) -> Body:
    """Return the value if it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def in_pieces(text: str, form: Callable[[str], bytes]) -> Iterator[Event]:
    """Yield a text's tokens, each in the form that events of a stream have.

    The form is made once: made for every token, it took most of the time.
    """
    before, _, after = form(_MARK).partition(to_json(_MARK))
    for piece in pieces(text):
        yield Event(before + to_json(piece) + after, 1)


def server_sent(data: object, event: str = "") -> bytes:
    """Put a value into the form of a server-sent event."""
    name = f"event: {event}\n".encode() if event else b""
    return b"%sdata: %s\n\n" % (name, to_json(data))
