"""Find the JSON values in a text, whole ones and ones with a defect.

Each character is looked at a bounded number of times, whatever the text.
What comes between the values is not this module's business.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from llm_workers.execution.relaxed_json import Broken, RelaxedReader

_JSON_LANGUAGES = frozenset(
    {"json", "json5", "jsonc", "jsonl", "ndjson", "jsonlines", "geojson"}
)
_PLAIN_LANGUAGES = frozenset(
    {"", "text", "txt", "plaintext", "plain", "output", "markdown", "md"}
)
# Their values look like JSON's, but for quotes and such.
_OBJECT_LANGUAGES = frozenset(
    {"python", "py", "python3", "javascript", "js", "typescript", "ts"}
)
_MARK = re.compile(r"```|[{\[]")
_LANGUAGE = re.compile(r"[\w+#.-]{0,40}")
_OPENING = re.compile(r"[{\[]")
_FENCE = "```"
_STRICT_TRIES = 32
# Around a broken value: brackets, strings that may hold some, and the
# blank line at which a paragraph ends.
_BRACKET = re.compile(
    r'(?P<open>[{\[])|(?P<close>[}\]])|"(?:[^"\\\n]|\\.)*+"|(?P<end>\n\s*+\n)'
)


@dataclass(frozen=True, slots=True)
class Value:
    """A JSON value in a text: where, and in what kind of place.

    `fence` is the language of the block it stands in: `json`, `plain`,
    another one for a block that is this value and nothing else, or None.
    """

    value: Any
    start: int
    end: int
    repaired: bool = False
    fence: str | None = None


class _Scan:
    """Reads the values of one text, one after another."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._reader = RelaxedReader(text)
        # The standard library's parser is fast, but counts the lines of
        # all that is before an error.
        self._strict_tries = _STRICT_TRIES

    def read(self, start: int, fence: str | None = None) -> Value | int:
        """Read the value at `start`, or say where to look on."""
        if self._strict_tries > 0:
            try:
                value, end = _DECODER.raw_decode(self._text, start)
                return Value(value, start, end, fence=fence)
            except (ValueError, RecursionError):
                self._strict_tries -= 1
        result = self._reader.read(start)
        if isinstance(result, Broken):
            return _resume(self._text, result)
        end, repaired = result
        value = _load(self._text[start:end])
        if value is not None:
            return Value(value, start, end, fence=fence)
        value = _load(repaired)
        if value is None:
            return end
        return Value(value, start, end, repaired=True, fence=fence)


def whole_spans(text: str) -> list[tuple[int, int]]:
    """Give the places of the valid objects and arrays in a text."""
    spans = []
    scan = _Scan(text)
    position = 0
    while opening := _OPENING.search(text, position):
        found = scan.read(opening.start())
        if isinstance(found, Value):
            position = found.end
            if not found.repaired:
                spans.append((found.start, found.end))
        else:
            position = found
    return spans


def values(text: str) -> Iterator[Value]:
    """Yield the values of a text in order, none within another one."""
    scan = _Scan(text)
    position, fence = 0, None
    while mark := _MARK.search(text, position):
        position = mark.end()
        if mark[0] != _FENCE:
            found = scan.read(mark.start(), fence)
            if isinstance(found, Value):
                yield found
                position = found.end
            else:
                position = found
        elif fence is not None:
            fence = None
        else:
            fence, position, alone = _open_fence(text, position)
            if alone is not None:
                yield alone


def _resume(text: str, broken: Broken) -> int:
    """Pass over the rest of a broken value: parts of it are no answer."""
    if not broken.has_content:
        return broken.position
    depth, position = broken.depth, broken.position
    while depth > 0 and (mark := _BRACKET.search(text, position)):
        position = mark.end()
        if mark["end"]:
            break
        depth += bool(mark["open"]) - bool(mark["close"])
    return position


def _open_fence(
    text: str, position: int
) -> tuple[str | None, int, Value | None]:
    """Enter a block; one of another language is passed over.

    Gives the kind of block that is now open, where to look on, and the
    value that the block is, if the search would not find it.
    """
    word = _LANGUAGE.match(text, position)
    language = word[0].lower() if word else ""
    start = position + len(language)
    close = text.find(_FENCE, start)
    end = len(text) if close < 0 else close
    if language in _JSON_LANGUAGES or language in _PLAIN_LANGUAGES:
        kind = "json" if language in _JSON_LANGUAGES else "plain"
        alone = _block(text, start, end, kind)
        is_scalar = alone and not isinstance(alone.value, dict | list)
        return kind, start, alone if is_scalar else None
    alone = _block(text, start, end, language)
    if alone is None and language in _OBJECT_LANGUAGES:
        alone = _literal(text, start, end, language)
    return None, end + len(_FENCE), alone


def _block(text: str, start: int, end: int, fence: str) -> Value | None:
    value = _load(text[start:end])
    return None if value is None else Value(value, start, end, fence=fence)


def _literal(text: str, start: int, end: int, fence: str) -> Value | None:
    """Read a block that is one value, as its language writes it."""
    content = text[start:end].strip()
    if not content.startswith(("{", "[")):
        return None
    result = RelaxedReader(content).read(0)
    if isinstance(result, Broken) or result[0] != len(content):
        return None
    value = _load(result[1])
    if value is None:
        return None
    return Value(value, start, end, repaired=True, fence=fence)


def _load(text: str) -> Any:  # noqa: ANN401 - JSON is any of six types
    """Parse JSON; None if it is none."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not valid JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)
