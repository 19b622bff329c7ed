"""The requests of Anthropic's message batches, read while they come in.

Such a batch is one JSON object of up to 256 MB. Its `requests` are cut out
one by one, so that no more than one of them is in memory, and become the
lines of a file, as OpenAI's batches have them.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic_core import from_json, to_json

from api.core.errors import ParameterError, TooLargeError
from api.core.request_body import check_values
from api.models.job_fields import REQUEST_BYTES_LIMIT
from api.services.batches.input_lines import is_model_name
from utilities import payload

MOST_REQUESTS: Final = 100_000
MESSAGES: Final = "/v1/messages"
_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}", re.ASCII)
# What ends a stretch of no interest, within a string and outside.
_IN_STRING = re.compile(rb'["\\]')
_OUTSIDE = re.compile(rb'["{}\[\]]')
_SPACE = b" \t\r\n,"
_NAME = b'"requests"'
# Names before the list of requests.
_LONGEST_NAME = 200
# What is no request is nothing that we read: a body that is full of it, or
# of marks alone, would keep the scanner busy for minutes.
_MOST_BESIDE = 64 * 1024
# How deep the scanner is in the object itself, and in its list.
_IN_BODY, _IN_LIST = 1, 2
_NOT_JSON = "The request body is not valid JSON"


@dataclass
class RequestScanner:
    """Cuts the items of `requests` out of a body that comes in pieces."""

    has_ended: bool = False
    _depth: int = 0
    _is_string: bool = False
    _is_escaped: bool = False
    _is_in_list: bool = False
    _has_list: bool = False
    _has_opened: bool = False
    # How much has come that is no request.
    _beside: int = 0
    # The item that is being read; between the items, what is around them.
    _kept: bytearray = field(default_factory=bytearray)

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Give the items that end in a piece.

        Raises:
            ParameterError: it is no JSON, or an item is no object.
            TooLargeError: an item is too large.
        """
        position = 0
        while position < len(piece):
            if self.has_ended:
                if piece[position:].strip():
                    raise ParameterError(_NOT_JSON)
                return
            end = self._next(piece, position)
            self._keep(piece[position:end])
            position = end
            if (item := self._item()) is not None:
                yield item

    def close(self) -> None:
        """Check that the body has come whole.

        Raises:
            ParameterError: it has not, or there are no requests.
        """
        if not self.has_ended:
            raise ParameterError(_NOT_JSON)
        if not self._has_list:
            raise ParameterError("Field required", "requests")

    def _next(self, piece: bytes, start: int) -> int:
        """Go on to after the next mark; return where that is."""
        if self._is_escaped:
            self._is_escaped = False
            return start + 1
        pattern = _IN_STRING if self._is_string else _OUTSIDE
        found = pattern.search(piece, start)
        if found is None:
            return len(piece)
        mark = found[0]
        if mark == b"\\":
            self._is_escaped = True
        elif mark == b'"':
            self._is_string = not self._is_string
        else:
            self._step(mark, bytes(piece[start : found.start()]))
        return found.end()

    def _step(self, mark: bytes, before: bytes) -> None:
        """Go into a list or an object, or out of it."""
        if mark in b"]}":
            self._depth -= 1
            if self._depth == _IN_BODY and self._is_in_list:
                _check_rest(self._around(before))
                self._is_in_list = False
            self.has_ended = self._depth == 0
            return
        self._depth += 1
        is_list = mark == b"["
        if self._depth == _IN_BODY:
            if is_list or self._around(before).strip():
                raise ParameterError(_NOT_JSON)
        elif self._depth == _IN_LIST and is_list:
            self._open_list(before)

    def _open_list(self, before: bytes) -> None:
        """Begin with the items, if a list is that of the requests."""
        if not _is_requests(self._around(before)):
            return
        if self._has_list:
            raise ParameterError("is there twice", "requests")
        self._is_in_list = self._has_list = self._has_opened = True

    def _around(self, before: bytes) -> bytes:
        """Give what stands before a mark; within an item, it may be long."""
        return bytes(self._kept) + before

    def _keep(self, part: bytes) -> None:
        if self._has_opened:
            # What follows is the first item.
            self._has_opened = False
            self._kept.clear()
            return
        self._kept += part
        if not self._is_in_list:
            self._beside += len(part)
            if self._beside > _MOST_BESIDE:
                raise TooLargeError(
                    "A batch has at most "
                    f"{_MOST_BESIDE} bytes beside its requests"
                )
            del self._kept[:-_LONGEST_NAME]
        elif len(self._kept) > REQUEST_BYTES_LIMIT:
            raise TooLargeError(
                f"A request of a batch has at most {REQUEST_BYTES_LIMIT} bytes"
            )

    def _item(self) -> bytes | None:
        """Return an item that has just ended."""
        is_between = self._is_in_list and self._depth == _IN_LIST
        if not is_between or self._is_string:
            return None
        text = bytes(self._kept).lstrip(_SPACE)
        if not text:
            return None
        if not text.startswith(b"{"):
            raise ParameterError("Input should be an object", "requests")
        self._kept.clear()
        return text


def _check_rest(text: bytes) -> None:
    """Refuse what is no object after the last item."""
    if text.strip(_SPACE):
        raise ParameterError("Input should be an object", "requests")


def _is_requests(text: bytes) -> bool:
    """Tell whether the list that begins after a text is `requests`."""
    name, colon, rest = text.rpartition(b":")
    if not colon or rest.strip() or not name.rstrip().endswith(_NAME):
        return False
    # Within a longer name, the quotation mark would be escaped.
    return not name.rstrip().removesuffix(_NAME).endswith(b"\\")


@dataclass
class RequestReader:
    """Checks requests one by one, and writes them as lines of a file."""

    count: int = 0
    _ids: set[str] = field(default_factory=set)

    def line(self, item: bytes) -> bytes:
        """Give a request as a line.

        Raises:
            ParameterError: names the part that is wrong.
            TooLargeError: there are too many requests.
        """
        where = f"requests.{self.count}"
        self.count += 1
        if self.count > MOST_REQUESTS:
            raise TooLargeError(
                f"A batch has at most {MOST_REQUESTS} requests"
            )
        request = _read(item, where)
        custom_id = request.get("custom_id")
        if not isinstance(custom_id, str) or not _ID.fullmatch(custom_id):
            raise ParameterError(
                f"must match ^{_ID.pattern}$", f"{where}.custom_id"
            )
        if custom_id in self._ids:
            raise ParameterError(
                f"The custom_id {custom_id!r} is not unique in the batch",
                f"{where}.custom_id",
            )
        self._ids.add(custom_id)
        body = _body(request.get("params"), f"{where}.params")
        return b'{"custom_id":%s,"method":"POST","url":"%s","body":%s}\n' % (
            to_json(custom_id),
            MESSAGES.encode(),
            body.encode(),
        )


def _read(item: bytes, where: str) -> dict[str, Any]:
    try:
        check_values(item)
        found = from_json(item, allow_inf_nan=False)
    except ValueError:
        raise ParameterError(_NOT_JSON, where) from None
    if not isinstance(found, dict):
        raise ParameterError("Input should be an object", where)
    return found


def _body(params: object, where: str) -> str:
    if not isinstance(params, Mapping):
        raise ParameterError("Field required", where)
    model = params.get("model")
    if not is_model_name(model):
        raise ParameterError("Field required", f"{where}.model")
    if params.get("stream"):
        raise ParameterError(
            "A request of a batch cannot be streamed", f"{where}.stream"
        )
    try:
        return payload.dump(params)
    except payload.PayloadError as error:
        raise ParameterError(str(error), where) from None
