"""From bytes to JSON and text, for answers that were paid for.

What strict readers refuse is read here as far as it can be: a byte order
mark, bytes that are not UTF-8, control characters inside of strings, halves
of surrogate pairs.
"""

import json
from json import JSONDecoder
from typing import Any

from pydantic_core import from_json

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_TOLERANT = JSONDecoder(strict=False)
# Taken out of what is kept for people to look at.
_CONTROLS = {code: None for code in (*range(32), 127) if code not in (9, 10)}
# The replacement character of Unicode.
_UNKNOWN = "\ufffd"


def read_json(content: bytes | str) -> Any:  # noqa: ANN401 - JSON is any of six types
    """Read a JSON value.

    Strings in it may have halves of surrogate pairs; see `TextJoiner`.

    Raises:
        ValueError: It is not JSON.
    """
    try:
        return from_json(content)
    except ValueError:
        pass  # the slower reader takes more
    try:
        return _TOLERANT.decode(decode(content).lstrip("\ufeff"))
    except RecursionError:
        raise ValueError("nested too deep") from None


def is_json(content: bytes | str) -> bool:
    """Tell whether the content is one whole JSON value."""
    try:
        read_json(content)
    except ValueError:
        return False
    return True


def decode(content: bytes | str) -> str:
    """Return the content as text, whatever its bytes are."""
    if isinstance(content, str):
        return content
    return content.decode("utf-8", "replace")


def start_of(content: bytes | str, longest: int) -> str:
    """Return the beginning of the content as text that can be stored."""
    text = decode(content[:longest]).removeprefix("\ufeff")
    return storable(text).translate(_CONTROLS)


def storable(text: str) -> str:
    """Join halves of surrogate pairs; replace those that are alone."""
    try:
        text.encode()
    except UnicodeEncodeError:
        units = text.encode("utf-16-le", "surrogatepass")
        return units.decode("utf-16-le", "replace")
    return text


class TextJoiner:
    """Text in pieces; a surrogate pair may be split between two of them."""

    def __init__(self) -> None:
        self._half = ""

    def add(self, piece: str) -> str:
        """Return the text that is complete after one more piece."""
        text = self._half + piece
        if text.isascii():
            return text
        self._half = ""
        if "\ud800" <= text[-1] <= "\udbff":
            self._half, text = text[-1], text[:-1]
        return storable(text)

    def end(self) -> str:
        """Return what stands for a half that stayed alone."""
        rest, self._half = self._half, ""
        return _UNKNOWN if rest else ""


def compact(value: object) -> str:
    """Write a JSON value as text; an empty one if it is too large."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except (ValueError, RecursionError):
        return ""
