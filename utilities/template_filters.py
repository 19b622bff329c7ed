"""What templates can do to a value: filters, and how values become text.

Everything works on JSON values, and on copies. What a render does is
counted in characters: see `Work`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from jinja2 import Undefined
from pydantic_core import to_json

# How many characters one render may make, and pass through filters.
MOST_CHARACTERS = 12_000_000
_MOST_WORK = 4 * MOST_CHARACTERS
_MOST_INDENT = 8
# One match is about one token of today's models: some letters of a word, a
# few digits, two characters of other scripts, or one sign.
_TOKEN = re.compile(
    r" ?[A-Za-z]{1,6}| ?[0-9]{1,3}| ?[^\W\d_a-zA-Z]{1,2}|\s+|.", re.DOTALL
)


class TemplateError(ValueError):
    """A template cannot be used, or not with these values; says why."""


_work: ContextVar[list[int] | None] = ContextVar("template_work", default=None)


@contextmanager
def counted_work() -> Iterator[None]:
    """Bound what the filters of one render do."""
    token = _work.set([_MOST_WORK])
    try:
        yield
    finally:
        _work.reset(token)


def _count(characters: int) -> None:
    left = _work.get()
    if left is None:
        return
    left[0] -= characters
    if left[0] < 0:
        raise TemplateError(
            "the template does too much: its values pass through filters "
            "that read more than "
            f"{_MOST_WORK:,} characters"
        )


def text_of(value: object) -> str:
    """Give a value as it stands in a text.

    A text is itself, nothing is an empty text, all else is JSON.
    """
    if isinstance(value, Undefined):
        return str(value)  # raises, and says which
    if value is None:
        return ""
    text = value if isinstance(value, str) else to_json(value).decode()
    _count(len(text))
    return text


def _json(value: object, indent: int = 0) -> str:
    if isinstance(value, Undefined):
        return str(value)  # as above
    spaces = max(0, min(_whole(indent, "json"), _MOST_INDENT))
    text = to_json(value, indent=spaces or None).decode()
    _count(len(text))
    return text


def _truncate_tokens(value: object, most: int, end: str = "") -> str:
    """Cut a text after about `most` tokens, and say so with `end`."""
    text = text_of(value)
    most = _whole(most, "truncate_tokens")
    matches = _TOKEN.finditer(text)
    cut = 0
    for _ in range(most):
        if (match := next(matches, None)) is None:
            return text
        cut = match.end()
    return text if cut == len(text) else text[:cut] + str(end)


def count_tokens(text: str) -> int:
    """Estimate how many tokens today's models make of a text.

    Within a fifth of what they say for prose in English, and above it for
    other scripts.
    """
    return sum(1 for _ in _TOKEN.finditer(text))


def _truncate_characters(value: object, most: int, end: str = "") -> str:
    text = text_of(value)
    most = _whole(most, "truncate_characters")
    return text if len(text) <= most else text[:most] + str(end)


def _whole(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TemplateError(f"{name} needs a whole number")
    return min(value, MOST_CHARACTERS)


def _join(value: object, separator: str = ", ") -> str:
    if not isinstance(value, list):
        raise TemplateError("join needs a list")
    text = str(separator).join(map(text_of, value))
    _count(len(text))
    return text


def _length(value: object) -> int:
    if isinstance(value, str | list | dict):
        return len(value)
    raise TemplateError("length needs a text, a list or an object")


def _default(value: object, other: object = "") -> object:
    return other if value is None or isinstance(value, Undefined) else value


FILTERS: Mapping[str, Callable[..., Any]] = {
    "default": _default,
    "join": _join,
    "json": _json,
    "length": _length,
    "lower": lambda value: text_of(value).lower(),
    "trim": lambda value: text_of(value).strip(),
    "truncate_characters": _truncate_characters,
    "truncate_tokens": _truncate_tokens,
    "upper": lambda value: text_of(value).upper(),
}
