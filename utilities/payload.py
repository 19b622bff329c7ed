"""JSON that the store keeps but never looks into.

Requests and answers are stored as JSON text: what a client sent comes back
as it was, whatever its keys look like (`$where`, `a.b`, 80-digit numbers),
and a worker hands it to a provider without a round trip through BSON.
"""

from collections.abc import Iterable
from typing import Any

from pydantic_core import PydanticSerializationError, from_json, to_json

MAX_DEPTH = 100


class PayloadError(ValueError):
    """The value cannot be kept as JSON; says why."""


def dump(value: object) -> str:
    """Turn a JSON value into compact text.

    Raises:
        PayloadError: it is nested deeper than `MAX_DEPTH`, or holds what
            JSON or UTF-8 does not (NaN, half a surrogate pair).
    """
    if _deeper_than(MAX_DEPTH, value):
        raise PayloadError(f"nested more than {MAX_DEPTH} levels deep")
    try:
        text = to_json(value, inf_nan_mode="constants").decode()
    except PydanticSerializationError as error:
        raise PayloadError(f"not valid JSON: {error}") from None
    if "NaN" in text or "Infinity" in text:
        _refuse_non_numbers(text)
    return text


def load(text: str) -> Any:  # noqa: ANN401 - JSON is any of six types
    """Turn stored text back into the JSON value it was."""
    return from_json(text)


def _refuse_non_numbers(text: str) -> None:
    # The words may also stand inside a string, where they are welcome.
    try:
        from_json(text, allow_inf_nan=False)
    except ValueError:
        raise PayloadError("NaN and Infinity are not valid JSON") from None


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
