"""From a model's words to JSON. The one place that repairs it."""

import json
import re
from typing import Any

import json_repair
from pydantic_core import from_json

from utilities import payload

# What stands behind the opening fence is its language and, rarely, more.
_FENCE = re.compile(r"```([^\n`]*)\n(.*?)```", re.DOTALL)
_LANGUAGES = frozenset({"", "json"})
_decoder = json.JSONDecoder()


class NoJsonError(Exception):
    """There is no JSON in the answer, not even nearly."""


def to_json_text(answer: str) -> str:
    """Find the JSON value in an answer; return it as compact text.

    Tried in turn: the whole answer, a fenced block, the first object (or,
    failing that, array) with words around it, and the same repaired.

    Raises:
        NoJsonError: none of it worked.
    """
    try:
        # Half of a surrogate pair is nothing that could be stored or parsed.
        answer.encode()
        return payload.dump(_find(answer.strip()))
    except (payload.PayloadError, UnicodeEncodeError) as error:
        raise NoJsonError(str(error)) from None


def _find(answer: str) -> Any:  # noqa: ANN401 - JSON is any of six types
    fenced = (
        text
        for info, text in _FENCE.findall(answer)
        if _language(info) in _LANGUAGES
    )
    for candidate in (answer, *fenced):
        try:
            return from_json(candidate, allow_inf_nan=False)
        except ValueError:
            continue
    for opening in "{[":
        start = answer.find(opening)
        if start >= 0:
            return _first_value(answer[start:])
    raise NoJsonError("The answer contains no JSON")


def _language(info: str) -> str:
    return next(iter(info.lower().split()), "")


def _first_value(text: str) -> Any:  # noqa: ANN401 - JSON is any of six types
    try:
        return _decoder.raw_decode(text)[0]
    except (ValueError, RecursionError):
        repaired = _repaired(text)
    if text.startswith("{") and isinstance(repaired, list) and repaired:
        # Several objects in a row: the first is the answer, the others are
        # what the model went on to make up.
        repaired = repaired[0]
    if isinstance(repaired, dict | list) and repaired:
        return repaired
    raise NoJsonError("The answer contains no JSON that could be repaired")


def _repaired(text: str) -> Any:  # noqa: ANN401 - JSON is any of six types
    try:
        return json_repair.loads(text, skip_json_loads=True)
    except (ValueError, RecursionError) as error:
        raise NoJsonError(f"The answer cannot be repaired: {error}") from None
