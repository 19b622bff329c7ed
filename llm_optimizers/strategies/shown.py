"""What of an input or answer is shown to who writes prompts."""

import itertools
from collections.abc import Mapping
from typing import Any

from utilities import payload

# Characters of a text and of all, fields or elements, and levels.
LONGEST_TEXT, _LONGEST = 2_000, 8_000
_MOST_PARTS, _DEEPEST = 50, 20


def shown(value: Any) -> Any:  # noqa: ANN401 - JSON is any of six types
    """Cut what is long: an ask must stay within a model's context.

    What is still too long is shown as the beginning of its JSON.
    """
    short = cut(value)
    text = payload.dump(short)
    return short if len(text) <= _LONGEST else text[:_LONGEST]


def cut(value: Any, depth: int = _DEEPEST) -> Any:  # noqa: ANN401 - JSON is any of six types
    """Cut long texts, many parts, and deep levels."""
    if isinstance(value, str):
        return value[:LONGEST_TEXT]
    if not isinstance(value, Mapping | list | tuple):
        return value
    if not depth:
        return "..."
    if isinstance(value, Mapping):
        some = itertools.islice(value.items(), _MOST_PARTS)
        return {name: cut(each, depth - 1) for name, each in some}
    return [cut(each, depth - 1) for each in value[:_MOST_PARTS]]
