"""A request's body: bounded, read once, and parsed beside the event loop.

Whoever calls this has found out before who is asking: no byte of a body is
read for somebody unknown.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.requests import Request

from api.core import unknown_fields
from api.core.errors import OverloadedError, RuleError, TooLargeError
from api.core.unknown_fields import UnknownFields

# Parsing a larger body would delay all other requests.
INLINE_BYTES = 64 * 1024
# A value takes up to 80 bytes of memory, and a million a tenth of a second
# in which no other thread runs.
MOST_VALUES = 1_000_000
_MOST_ERRORS = 50
_STRUCTURE = (b",", b":", b"{", b"[")
# Reading a long number takes time with the square of its length.
MOST_LONG_DIGITS = 2 * 1024 * 1024
# A text of digits begins with a quotation mark.
_LONG_NUMBER = re.compile(rb'(?<![0-9"])[0-9]{500,}')
_SAMPLE = 500
# A long number fills one of the parts of this size.
_HALF = 250
_SLICE = 1024 * 1024
_NO_DIGITS = bytes(set(range(256)) - set(b"0123456789"))

ModelT = TypeVar("ModelT", bound=BaseModel)


class Batch(Protocol):
    """A body with items that are checked one by one."""

    jobs: Sequence[Any]


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """How much one body may have, and all that are worked on at once."""

    max_bytes: int
    max_bytes_in_flight: int
    unknown: UnknownFields = "refuse"


@dataclass
class RequestBodies:
    """Reads the bodies of one application."""

    limits: BodyLimits
    in_flight: int = 0
    # One at a time: more would only take memory and the interpreter from
    # the requests beside them.
    _thread: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, "request-body")
    )

    @asynccontextmanager
    async def body_of(self, request: Request) -> AsyncIterator[bytearray]:
        """Read a body whole; it counts as in flight inside the block.

        It may be cleared after parsing: what was made from it takes
        the memory from then on.

        Raises:
            TooLargeError: it is larger than one body may be.
            OverloadedError: with the others it is more than all may be.
            ClientDisconnect: the client went away.
        """
        body, taken = bytearray(), 0
        announced = request.headers.get("content-length", "")
        if announced.isascii() and announced.isdecimal():
            self._check_size(int(announced[:20]))
            self._check_room(int(announced))
        try:
            async for chunk in request.stream():
                self._check_size(len(body) + len(chunk))
                self._check_room(len(chunk))
                self.in_flight += len(chunk)
                taken += len(chunk)
                body += chunk
            yield body
        finally:
            self.in_flight -= taken

    async def parse(self, model: type[ModelT], body: bytearray) -> ModelT:
        """Make a body's bytes into `model`.

        Raises:
            RequestValidationError: it does not fit.
            RuleError: an item of a batch does not.
            TooLargeError: it has more than `MOST_VALUES` values.
        """
        unknown = self.limits.unknown
        if len(body) <= INLINE_BYTES:
            return read_body(model, body, unknown)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._thread, read_body, model, body, unknown
        )

    def _check_size(self, size: int) -> None:
        limit = self.limits.max_bytes
        if size > limit:
            raise TooLargeError(f"The limit is {limit} bytes a request")

    def _check_room(self, more: int) -> None:
        if self.in_flight + more > self.limits.max_bytes_in_flight:
            raise OverloadedError(
                "The server is processing too many large requests; try again"
            )


def read_body(
    model: type[ModelT], body: bytes | bytearray, unknown: UnknownFields
) -> ModelT:
    """Make a body's bytes into `model`; see `RequestBodies.parse`."""
    check_values(body)
    try:
        value = from_json(body)
    except ValueError as error:
        raise RequestValidationError([_not_json(error)]) from None
    made = _validated(model, value, unknown)
    item_model = getattr(model, "item_model", None)
    if item_model is None:
        return made
    return _with_items(made, item_model, unknown)


def read_item(
    model: type[ModelT],
    index: int,
    raw: object,
    unknown: UnknownFields = "refuse",
) -> ModelT:
    """Make one item of a batch.

    Raises:
        RuleError: names the item by its index, and what is wrong.
    """
    try:
        return _validated(model, raw, unknown)
    except RequestValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"][1:])
        raise RuleError(
            f"batch item {index}: {where or 'item'}: {problem['msg']}; "
            "nothing was stored"
        ) from None


def _with_items(
    made: ModelT, item_model: type[BaseModel], unknown: UnknownFields
) -> ModelT:
    raw: Sequence[Any] = made.__dict__["jobs"]
    items = [
        read_item(item_model, index, item, unknown)
        for index, item in enumerate(raw)
    ]
    return made.model_copy(update={"jobs": items})


def _validated(
    model: type[ModelT], value: object, unknown: UnknownFields
) -> ModelT:
    if isinstance(value, model):
        return value
    # One path may take several kinds of bodies.
    model = getattr(model, "kind_of", lambda _: model)(value)
    problems: list[unknown_fields.Problem] = []
    if unknown == "refuse":
        problems = unknown_fields.problems_of_body(model, value)
    try:
        made = model.model_validate(value)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
        problems += [dict(each) for each in errors[:_MOST_ERRORS]]
    else:
        if not problems:
            return made
    raise RequestValidationError(
        [{**each, "loc": ("body", *each["loc"])} for each in problems]
    )


def _not_json(error: ValueError) -> dict[str, Any]:
    # The parser's words name what is wrong and where, never what was sent.
    message = f"JSON decode error: {error}"
    if "hex escape" in message:
        message += "; half a surrogate pair is not a character"
    return {"type": "json_invalid", "loc": ("body",), "msg": message}


def check_values(body: bytes | bytearray) -> None:
    """Refuse what would take the interpreter for long, or much memory."""
    if _holds_many_values(body):
        raise TooLargeError(
            f"The request has more than {MOST_VALUES} values; send it in "
            "smaller parts"
        )
    if _holds_many_digits(body):
        raise TooLargeError(
            f"The request's long numbers have more than {MOST_LONG_DIGITS} "
            "digits in all"
        )


def _holds_many_values(body: bytes | bytearray) -> bool:
    marks = sum(body.count(mark) for mark in _STRUCTURE)
    if marks <= MOST_VALUES:
        return False
    # Texts may have any number of these characters.
    for number, (start, end) in enumerate(_texts_in(body)):
        marks -= sum(body.count(mark, start, end) for mark in _STRUCTURE)
        if marks <= MOST_VALUES or number > MOST_VALUES:
            break
    return marks > MOST_VALUES


def _holds_many_digits(body: bytes | bytearray) -> bool:
    sample = body[::_SAMPLE].translate(None, _NO_DIGITS)
    if len(sample) * _SAMPLE <= MOST_LONG_DIGITS:
        return False
    # Base64 has many digits, and no long numbers.
    if not any(
        body[start : start + _HALF].isdigit()
        for start in range(0, len(body), _HALF)
    ):
        return False
    # In slices, between which other threads may run.
    digits = sum(
        match.end() - match.start()
        for start in range(0, len(body), _SLICE)
        for match in _LONG_NUMBER.finditer(body, start, start + _SLICE)
    )
    return digits > MOST_LONG_DIGITS


def _texts_in(body: bytes | bytearray) -> Iterator[tuple[int, int]]:
    """Find the texts of a JSON document: where each begins and ends."""
    start = body.find(b'"')
    while start >= 0:
        begin = after = start + 1
        while True:
            end = body.find(b'"', after)
            if end < 0:
                yield begin, len(body)
                return
            piece = body[after:end]
            escapes = len(piece) - len(piece.rstrip(b"\\"))
            if escapes % 2 == 0:
                break
            after = end + 1
        yield begin, end
        start = body.find(b'"', end + 1)
