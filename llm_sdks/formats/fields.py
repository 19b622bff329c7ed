"""Reads the JSON that a client sends, and knows where in it it is.

What a field holds is checked when it is taken; what no one has taken is
refused at the end. Every error names the field's path, such as
`messages[2].content[0].type`. A null counts as no field at all.
"""

import base64
import binascii
import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NoReturn, get_args

from llm_sdks.conversation import ImagePart
from llm_sdks.errors import BadRequestError
from utilities.json_schema import is_schema

# No list of messages, tools or parts is longer.
MOST_ITEMS = 100_000
_LONGEST_SHOWN = 80
# The largest whole number that every reader of JSON keeps.
_LARGEST = 2**53


def refuse(path: str, problem: str) -> NoReturn:
    """Refuse a field.

    Raises:
        BadRequestError: names the field; `param` is its path.
    """
    error = BadRequestError(f"{path}: {problem}" if path else problem)
    error.param = path or None
    raise error


class UntranslatableError(BadRequestError):
    """A field, or the value `what` of it, has no equivalent here."""

    what = ""


def unsupported(path: str, what: object = "") -> NoReturn:
    """Refuse what cannot be translated.

    Raises:
        UntranslatableError: names the field; `param` is its path.
    """
    shown = repr(str(what)[:_LONGEST_SHOWN]) if what != "" else ""
    error = UntranslatableError(
        f"{path}: {shown}{' ' if shown else ''}is not supported by this "
        "model: its provider has another format, into which this cannot be "
        "translated"
    )
    error.param, error.what = path or None, shown
    raise error


class Fields:
    """One JSON object."""

    def __init__(self, value: object, path: str = "") -> None:
        if not isinstance(value, Mapping):
            refuse(path, "must be an object")
        self.path = path
        self._left = {
            name: inner for name, inner in value.items() if inner is not None
        }

    def at(self, name: str) -> str:
        """Return a field's path."""
        return f"{self.path}.{name}" if self.path else name

    def take(self, name: str) -> Any:  # noqa: ANN401 - JSON is any of six types
        """Return a field's value, unchecked; None if there is none."""
        return self._left.pop(name, None)

    def drop(self, *names: str) -> None:
        """Take fields that do not change the answer."""
        for name in names:
            self._left.pop(name, None)

    def end(self) -> None:
        """Refuse what is left."""
        for name in self._left:
            unsupported(self.at(str(name)[:_LONGEST_SHOWN]))

    def text(self, name: str) -> str | None:
        """Return a text."""
        value = self.take(name)
        if value is None or isinstance(value, str):
            return value
        refuse(self.at(name), "must be a string")

    def need_text(self, name: str) -> str:
        """Return a text that must be there."""
        value = self.text(name)
        if value is None:
            refuse(self.at(name), "is required")
        return value

    def word(self, name: str, words: Any) -> Any:  # noqa: ANN401 - a Literal, and one of its words
        """Return one of a literal type's words."""
        value = self.text(name)
        if value is None or value in get_args(words):
            return value
        refuse(self.at(name), f"must be one of {', '.join(get_args(words))}")

    def flag(self, name: str) -> bool | None:
        """Return a truth value."""
        value = self.take(name)
        if value is None or isinstance(value, bool):
            return value
        refuse(self.at(name), "must be true or false")

    def number(self, name: str, low: float, high: float) -> float | None:
        """Return a number of a range."""
        value = self.take(name)
        if value is None:
            return None
        is_number = isinstance(value, int | float) and not isinstance(
            value, bool
        )
        if not (is_number and math.isfinite(value) and low <= value <= high):
            refuse(self.at(name), f"must be a number from {low:g} to {high:g}")
        return float(value)

    def whole_number(
        self, name: str, low: int = 0, high: int = _LARGEST
    ) -> int | None:
        """Return a whole number of a range."""
        value = self.take(name)
        if value is None:
            return None
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if not (is_whole and low <= value <= high):
            refuse(
                self.at(name), f"must be a whole number from {low} to {high}"
            )
        return int(value)

    def inner(self, name: str) -> "Fields | None":
        """Return an object."""
        value = self.take(name)
        return None if value is None else Fields(value, self.at(name))

    def need_inner(self, name: str) -> "Fields":
        """Return an object that must be there."""
        return Fields(self.take(name), self.at(name))

    def schema(self, name: str) -> Mapping[str, Any] | None:
        """Return a JSON Schema."""
        value = self.take(name)
        if value is None:
            return None
        if not isinstance(value, Mapping) or not is_schema(value):
            refuse(self.at(name), "must be a JSON Schema")
        return value

    def need_schema(self, name: str) -> Mapping[str, Any]:
        """Return a JSON Schema that must be there."""
        schema = self.schema(name)
        if schema is None:
            refuse(self.at(name), "is required")
        return schema

    def items(self, name: str) -> Iterator[tuple[str, Any]]:
        """Yield an array's items, each with its path."""
        value = self.take(name)
        if value is None:
            return iter(())
        return items_of(value, self.at(name))

    def objects(self, name: str) -> Iterator["Fields"]:
        """Yield an array's items, which are objects."""
        return (Fields(item, path) for path, item in self.items(name))

    def texts(self, name: str) -> tuple[str, ...]:
        """Return an array of texts; a text alone counts as one."""
        value = self.take(name)
        if value is None:
            return ()
        values = [value] if isinstance(value, str) else value
        items = items_of(values, self.at(name))
        return tuple(_text(item, path) for path, item in items)


def items_of(value: object, path: str) -> Iterator[tuple[str, Any]]:
    """Yield an array's items, each with its path."""
    if not isinstance(value, list):
        refuse(path, "must be an array")
    if len(value) > MOST_ITEMS:
        refuse(path, f"has more than {MOST_ITEMS} items")
    return ((f"{path}[{index}]", item) for index, item in enumerate(value))


def take_usual(
    fields: Fields, usual: Mapping[str, tuple[object, ...]]
) -> None:
    """Take fields that ask for what happens anyway; refuse others."""
    for name, values in usual.items():
        value = fields.take(name)
        if value is not None and value not in values:
            unsupported(fields.at(name), value)


def _text(value: object, path: str) -> str:
    if not isinstance(value, str):
        refuse(path, "must be a string")
    return value


def image_of(
    url: str,
    path: str,
    detail: Literal["auto", "low", "high", "original"] | None = None,
    *,
    cache: bool = False,
) -> ImagePart:
    """Make a picture of its URL, which may be a `data:` URL.

    Raises:
        BadRequestError: it is none, or its data is no Base64.
    """
    if not url.startswith("data:"):
        if not url.startswith(("https://", "http://")):
            refuse(path, "must be an http(s) or data: URL")
        return ImagePart(url, detail=detail, cache=cache)
    head, comma, data = url.removeprefix("data:").partition(",")
    kind = head.removesuffix(";base64")
    if not comma or kind == head or not kind:
        refuse(path, "must be data:{media type};base64,{data}")
    return ImagePart(
        data=bytes_of(data, path), media_type=kind, detail=detail, cache=cache
    )


def bytes_of(data: str, path: str) -> bytes:
    """Read Base64.

    Raises:
        BadRequestError: it is none.
    """
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        refuse(path, "is no Base64")
