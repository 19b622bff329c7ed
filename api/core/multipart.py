"""A form that is read while it comes in: fields, and the bytes of files.

No part is ever in memory whole but the short fields between the files.
"""

from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import (
    MultipartParser,
    parse_options_header,
)

from api.core.errors import ParameterError, TooLargeError

if TYPE_CHECKING:
    # The package defines it for checkers only.
    from python_multipart.multipart import MultipartCallbacks

_MOST_FIELDS = 100
_LONGEST_FIELD = 64 * 1024
_NOT_A_FORM = "The request must be a form: multipart/form-data"


@dataclass(frozen=True, slots=True)
class FormField:
    """A field and its whole text."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class FileBegun:
    """A file begins; its bytes follow until another part does."""

    name: str
    filename: str


Part = FormField | FileBegun | bytes


async def read_form(
    content_type: str, chunks: AsyncIterable[bytes]
) -> AsyncIterator[Part]:
    """Yield the parts of a form as they come.

    Raises:
        ParameterError: it is no form, or a broken one.
        TooLargeError: it has too many fields, or one is too long.
    """
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise ParameterError(_NOT_A_FORM)
    reader = _Reader()
    try:
        parser = MultipartParser(boundary, reader.callbacks())
        async for chunk in chunks:
            parser.write(chunk)
            for part in reader.take():
                yield part
        parser.finalize()
    except FormParserError:
        raise ParameterError(f"{_NOT_A_FORM}; this one is broken") from None
    if not reader.has_ended:
        raise ParameterError(f"{_NOT_A_FORM}; this one breaks off")


@dataclass
class _Reader:
    """Takes what the parser finds."""

    has_ended: bool = False
    _found: list[Part] = field(default_factory=list)
    _fields: int = 0
    _header: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)
    _headers: dict[bytes, bytes] = field(default_factory=dict)
    _name: str = ""
    _is_file: bool = False
    _text: bytearray = field(default_factory=bytearray)

    def callbacks(self) -> "MultipartCallbacks":
        """Give what the parser calls."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._take_header,
            "on_header_value": self._take_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._take_data,
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def take(self) -> list[Part]:
        """Return what has been found since the last time."""
        found, self._found = self._found, []
        return found

    def _begin(self) -> None:
        self._headers.clear()
        self._text.clear()
        self._fields += 1
        if self._fields > _MOST_FIELDS:
            raise TooLargeError(f"A form has at most {_MOST_FIELDS} parts")

    def _take_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _take_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[bytes(self._header).lower()] = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _end_headers(self) -> None:
        said = self._headers.get(b"content-disposition", b"")
        _, options = parse_options_header(said)
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        filename = options.get(b"filename")
        self._is_file = filename is not None
        if filename is not None:
            shown = filename.decode("utf-8", "replace")
            self._found.append(FileBegun(self._name, shown))

    def _take_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._found.append(data[start:end])
            return
        self._text += data[start:end]
        if len(self._text) > _LONGEST_FIELD:
            raise TooLargeError(
                f"A field of a form has at most {_LONGEST_FIELD} bytes"
            )

    def _end(self) -> None:
        if not self._is_file:
            value = self._text.decode("utf-8", "replace")
            self._found.append(FormField(self._name, value))

    def _finish(self) -> None:
        self.has_ended = True
