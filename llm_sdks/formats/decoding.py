"""From bytes to JSON and text, for answers that were paid for.

What strict readers refuse is read here as far as it can be: a byte order
mark, bytes that are not UTF-8, control characters inside of strings, halves
of surrogate pairs.
"""

import json
import re
from collections.abc import Mapping
from json import JSONDecoder
from typing import Any

from pydantic_core import from_json

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Python refuses to read longer whole numbers.
_LONGEST_INTEGER = 4300
_CHARSET = re.compile(r"charset\s*=\s*\"?([\w.:-]{1,40})", re.IGNORECASE)
_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
# Taken out of what is kept for people to look at.
_CONTROLS = {code: None for code in (*range(32), 127) if code not in (9, 10)}
# The replacement character of Unicode.
_UNKNOWN = "\ufffd"


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else float(digits)


_TOLERANT = JSONDecoder(strict=False, parse_int=_integer)


def read_json(
    content: bytes | str, headers: Mapping[str, str] | None = None
) -> Any:  # noqa: ANN401 - JSON is any of six types
    """Read a JSON value.

    `headers` may name the charset; it counts only for what is not UTF-8.
    Strings in it may have halves of surrogate pairs; see `TextJoiner`.

    Raises:
        ValueError: It is not JSON.
    """
    try:
        return from_json(content)
    except ValueError:
        pass  # the slower reader takes more
    try:
        return _TOLERANT.decode(decode(content, headers).lstrip("\ufeff"))
    except RecursionError:
        raise ValueError("nested too deep") from None


def is_json(content: bytes | str) -> bool:
    """Tell whether the content is one whole JSON value."""
    try:
        read_json(content)
    except ValueError:
        return False
    return True


def decode(
    content: bytes | str, headers: Mapping[str, str] | None = None
) -> str:
    """Return the content as text, whatever its bytes are."""
    if isinstance(content, str):
        return content
    if (wide := _wide_charset(content)) is not None:
        return content.decode(wide, "replace")
    try:
        return content.decode()
    except UnicodeDecodeError:
        pass
    try:
        return content.decode(_named_charset(headers), "replace")
    except (LookupError, ValueError):
        return content.decode("utf-8", "replace")


def _wide_charset(content: bytes) -> str | None:
    """Tell UTF-16 by its mark, or by the zeros in its first two letters."""
    if content.startswith(_UTF_16_MARKS):
        return "utf-16"
    zeros = [not byte for byte in content[:4]]
    if zeros == [False, True, False, True]:
        return "utf-16-le"
    return "utf-16-be" if zeros == [True, False, True, False] else None


def _named_charset(headers: Mapping[str, str] | None) -> str:
    kind = (headers or {}).get("content-type") or ""
    named = _CHARSET.search(kind[:200])
    return named[1] if named else "utf-8"


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
