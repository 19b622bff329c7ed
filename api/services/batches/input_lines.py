"""The lines of a batch's input: read, and checked one by one.

A line that is wrong never stops the check: every one is named by its
number. Numbers count from 1; empty lines are counted and have no request.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic_core import from_json

from api.core.errors import TooLargeError
from api.core.request_body import check_values
from api.models.job_fields import REQUEST_BYTES_LIMIT
from utilities import payload

MOST_LINES: Final = 50_000
# Of each kind of mistake, so many are told with words of their own.
_MOST_TOLD = 1000
_LONGEST_ID = 512
_LONGEST_NAME = 256
_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class RawLine:
    """A line as it is in the file; None: it is too long to be read."""

    number: int
    content: bytes | None


@dataclass(frozen=True, slots=True)
class Request:
    """A line that asks something; `body` is its request, as JSON."""

    number: int
    custom_id: str
    model: str
    body: str


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong with a line, or with the file as a whole."""

    line: int | None
    code: str
    message: str
    param: str | None = None

    def told(self) -> dict[str, object]:
        """Give it as OpenAI's interface shows it."""
        return {
            "code": self.code,
            "line": self.line,
            "message": self.message,
            "param": self.param,
        }


async def raw_lines(
    pieces: AsyncIterator[bytes], longest: int = REQUEST_BYTES_LIMIT
) -> AsyncIterator[Sequence[RawLine]]:
    """Split a file's content into lines, those of a piece at a time."""
    splitter = _Splitter(longest)
    async for piece in pieces:
        if found := list(splitter.feed(piece)):
            yield found
    if found := list(splitter.close()):
        yield found


@dataclass
class _Splitter:
    """Finds the lines; none that is too long is kept in memory."""

    longest: int
    number: int = 0
    _rest: bytearray = field(default_factory=bytearray)
    _is_too_long: bool = False

    def feed(self, piece: bytes) -> Iterator[RawLine]:
        """Give the lines that end in a piece."""
        *ended, rest = piece.split(b"\n")
        for each in ended:
            self._keep(each)
            yield from self._line()
        self._keep(rest)

    def close(self) -> Iterator[RawLine]:
        """Give the last line, if no newline has ended it."""
        if self._rest or self._is_too_long:
            yield from self._line()

    def _keep(self, part: bytes) -> None:
        if len(self._rest) + len(part) > self.longest:
            self._is_too_long = True
            self._rest.clear()
        elif not self._is_too_long:
            self._rest += part

    def _line(self) -> Iterator[RawLine]:
        self.number += 1
        content = bytes(self._rest).removeprefix(_MARK).strip()
        is_too_long = self._is_too_long
        self._rest.clear()
        self._is_too_long = False
        if content or is_too_long:
            yield RawLine(self.number, None if is_too_long else content)


@dataclass
class Mistakes:
    """What is wrong with a file, in bounded memory.

    The first ones of each kind are told one by one, the numbers of the
    others together.
    """

    _told: list[Mistake] = field(default_factory=list)
    _counts: dict[str, int] = field(default_factory=dict)
    _others: dict[str, list[int]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self._told)

    def add(self, mistake: Mistake) -> None:
        """Take one."""
        count = self._counts.get(mistake.code, 0) + 1
        self._counts[mistake.code] = count
        if count <= _MOST_TOLD or mistake.line is None:
            self._told.append(mistake)
        else:
            self._others.setdefault(mistake.code, []).append(mistake.line)

    def told(self) -> list[dict[str, object]]:
        """Give all of them, ordered by line."""
        ordered = sorted(self._told, key=lambda each: each.line or 0)
        rest = [
            Mistake(
                min(numbers),
                code,
                f"The same is wrong with the lines {ranges(numbers)}",
            )
            for code, numbers in self._others.items()
        ]
        return [each.told() for each in (*ordered, *rest)]


@dataclass
class LineChecker:
    """Checks the lines of one file.

    `endpoint` is the path that all lines must name, with its version.
    `most` is how many there may be.
    """

    endpoint: str
    most: int = MOST_LINES
    requests: int = 0
    models: dict[str, list[int]] = field(default_factory=dict)
    mistakes: Mistakes = field(default_factory=Mistakes)
    # Of the ids so far, digests: they are all of one length.
    _ids: set[bytes] = field(default_factory=set)

    def check(self, lines: Sequence[RawLine]) -> None:
        """Look at the next lines."""
        for line in lines:
            self.requests += 1
            if self.requests > self.most:
                continue
            found = read_request(line, self.endpoint)
            if isinstance(found, Mistake):
                self.mistakes.add(found)
                continue
            self.models.setdefault(found.model, []).append(line.number)
            digest = hashlib.blake2b(found.custom_id.encode(), digest_size=16)
            if digest.digest() in self._ids:
                self.mistakes.add(_duplicate(found))
            self._ids.add(digest.digest())

    def close(self, is_model: Callable[[str], bool]) -> None:
        """Look at the file as a whole, and at the models that it names."""
        if self.requests > self.most:
            self.mistakes.add(
                Mistake(
                    None,
                    "too_many_requests",
                    f"The file has {self.requests} requests; the limit is "
                    f"{self.most}",
                )
            )
        if not self.requests:
            self.mistakes.add(
                Mistake(None, "empty_file", "The input file is empty")
            )
        for name, numbers in self.models.items():
            if is_model(name):
                continue
            for number in numbers:
                self.mistakes.add(_no_model(name, number))


def ranges(numbers: Sequence[int]) -> str:
    """Write numbers briefly: `1-3, 7`."""
    parts: list[list[int]] = []
    for number in sorted(set(numbers)):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(
        str(first) if first == last else f"{first}-{last}"
        for first, last in parts
    )


def read_request(line: RawLine, endpoint: str) -> Request | Mistake:
    """Read a line; tell the first thing that is wrong with it."""
    found = _object_of(line)
    if isinstance(found, Mistake):
        return found
    mistake = _head_mistake(line.number, found, endpoint)
    if mistake is not None:
        return mistake
    body = found["body"]
    mistake = _body_mistake(line.number, body)
    if mistake is not None:
        return mistake
    try:
        text = payload.dump(body)
    except payload.PayloadError as error:
        return Mistake(
            line.number, "invalid_request", f"The body is {error}", "body"
        )
    return Request(line.number, found["custom_id"], body["model"], text)


def _object_of(line: RawLine) -> dict[str, Any] | Mistake:
    number, content = line.number, line.content
    if content is None:
        return Mistake(
            number,
            "line_too_long",
            f"This line is longer than {REQUEST_BYTES_LIMIT} bytes",
        )
    try:
        check_values(content)
        found = from_json(content, allow_inf_nan=False)
    except TooLargeError as error:
        return Mistake(number, "invalid_request", str(error))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        return Mistake(
            number,
            "invalid_json_line",
            "This line is not parseable as valid JSON.",
        )
    return found


def _head_mistake(
    number: int, found: dict[str, Any], endpoint: str
) -> Mistake | None:
    """Tell what is wrong around a line's body."""
    for name in ("custom_id", "method", "url", "body"):
        if found.get(name) is None:
            return _missing(number, name)
    if not is_custom_id(found["custom_id"]):
        return Mistake(
            number,
            "invalid_custom_id",
            f"custom_id must be a text of 1 to {_LONGEST_ID} characters",
            "custom_id",
        )
    if found["method"] != "POST":
        return Mistake(
            number, "invalid_method", "method must be POST", "method"
        )
    if found["url"] != endpoint:
        return Mistake(
            number,
            "mismatched_endpoint",
            f"url must be the batch's endpoint, {endpoint}",
            "url",
        )
    return None


def _body_mistake(number: int, body: object) -> Mistake | None:
    if not isinstance(body, dict):
        return Mistake(
            number, "invalid_request", "body must be an object", "body"
        )
    model = body.get("model")
    if model is None:
        return _missing(number, "body.model")
    if not is_model_name(model):
        return _no_model(str(model)[:_LONGEST_NAME], number)
    if body.get("stream"):
        return Mistake(
            number,
            "invalid_request",
            "A request of a batch cannot be streamed",
            "body.stream",
        )
    return None


def is_custom_id(value: object) -> bool:
    """Tell whether a value can be a request's id."""
    return _is_text(value, _LONGEST_ID)


def is_model_name(value: object) -> bool:
    """Tell whether a value can be the name of a model."""
    return _is_text(value, _LONGEST_NAME)


def _is_text(value: object, longest: int) -> bool:
    # For some stores, a text ends at a null character.
    is_text = isinstance(value, str) and "\x00" not in value
    return is_text and 0 < len(str(value)) <= longest


def _missing(number: int, name: str) -> Mistake:
    return Mistake(
        number,
        "missing_required_parameter",
        f"Missing required parameter: '{name}'.",
        name,
    )


def _duplicate(request: Request) -> Mistake:
    return Mistake(
        request.number,
        "duplicate_custom_id",
        f"The custom_id {request.custom_id[:100]!r} is used by an earlier "
        "line",
        "custom_id",
    )


def _no_model(name: str, number: int) -> Mistake:
    return Mistake(
        number,
        "model_not_found",
        f"The model {name!r} does not exist",
        "body.model",
    )
