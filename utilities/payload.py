"""JSON that the store keeps but never looks into.

Requests and answers are stored as JSON text: what a client sent comes back
as it was, whatever its keys look like (`$where`, `a.b`, 80-digit numbers),
and a worker hands it to a provider without a round trip through BSON.
"""

import re
from collections.abc import Iterable
from typing import Any

from pydantic_core import PydanticSerializationError, from_json, to_json

MAX_DEPTH = 100
# Python refuses to read whole numbers of more digits.
_MOST_DIGITS = 4299
_LONG_NUMBER = re.compile(rf"(?<![0-9])[0-9]{{{_MOST_DIGITS + 1}}}")


class PayloadError(ValueError):
    """The value cannot be kept as JSON; says why."""


def dump(value: object, *, max_depth: int = MAX_DEPTH) -> str:
    """Turn a JSON value into compact text.

    Raises:
        PayloadError: it is nested deeper than `max_depth`, holds what JSON
            or UTF-8 does not (NaN, half a surrogate pair), or a number
            that could not be read again.
    """
    if _deeper_than(max_depth, value):
        raise PayloadError(f"nested more than {max_depth} levels deep")
    try:
        text = to_json(value, inf_nan_mode="constants").decode()
    except PydanticSerializationError as error:
        raise PayloadError(f"not valid JSON: {error}") from None
    if "NaN" in text or "Infinity" in text:
        _refuse_non_numbers(text)
    if _may_hold_long_number(text):
        _refuse_long_numbers(text)
    return text


def printable(text: str) -> str:
    """Replace what UTF-8 cannot carry, such as half a surrogate pair.

    For words that come from elsewhere: a provider's error, a plug-in's.
    """
    return text.encode(errors="replace").decode()


def load(text: str) -> Any:  # noqa: ANN401 - JSON is any of six types
    """Turn stored text back into the JSON value it was."""
    return from_json(text)


def _refuse_non_numbers(text: str) -> None:
    # The words may also stand inside a string, where they are welcome.
    try:
        from_json(text, allow_inf_nan=False)
    except ValueError:
        raise PayloadError("NaN and Infinity are not valid JSON") from None


def _may_hold_long_number(text: str) -> bool:
    # This many digits in a row stand at one of these places: nothing else is
    # looked at, in steps that let other threads run.
    step = _MOST_DIGITS + 1
    return any(
        _LONG_NUMBER.search(
            text, max(place * step - _MOST_DIGITS, 0), (place + 1) * step
        )
        for place, character in enumerate(text[::step])
        if character in "0123456789"
    )


def _refuse_long_numbers(text: str) -> None:
    # As above: inside a string, digits are welcome.
    try:
        from_json(text)
    except ValueError:
        raise PayloadError("a number has too many digits") from None


def _deeper_than(limit: int, value: object) -> bool:
    layer = [value]
    for _ in range(limit + 1):
        layer = [child for item in layer for child in _children(item)]
        if not layer:
            return False
    return True


def _children(item: object) -> Iterable[object]:
    if isinstance(item, dict):
        return item.values()
    return item if isinstance(item, list) else ()
