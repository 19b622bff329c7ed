"""From a model's words to JSON. The one place that repairs it.

The whole answer is taken if it is JSON. Otherwise the values in it are
ranked: of a block marked as JSON before one among words, something before
nothing (`{}`), and of several equal ones the last, as models think and
quote before they answer. An answer that begins with a value is that
value, whatever the model went on to write, unless it corrects itself.
"""

import re
from collections import deque
from collections.abc import Iterable, Iterator
from html import unescape
from typing import Any

from pydantic_core import from_json

from llm_workers.execution import json_scan, thinking
from llm_workers.execution.json_scan import Value
from utilities import payload

# How many values of an answer are read: the first, and the last ones.
MOST_VALUES = 8

_STRONG, _FOREIGN, _WEAK, _SCALAR, _UNFIT = range(5)
_FENCED = -1

# Between a first value and the rest: words that take it back.
_CORRECTION = re.compile(
    r"\b(?:wait|correct(?:ion|ed|ing)?|actually|instead|revised?|improved|"
    r"updated|final (?:answer|result|output|json|version)|should be|"
    r"my mistake|on second thought|</?answer>|"
    r"the (?:answer|result|output) (?:is|would be))\b",
    re.IGNORECASE,
)
# A line that only a program has.
_CODE = re.compile(
    r"^[ \t]*(?:def \w+\s?\(|class \w+\s?[:({]|"
    r"import [\w.]+(?: as \w+|, [\w.]+)*;?[ \t]*$|import [{*]|"
    r"from [\w.]+ import |#include\b|#define\b|package [\w.]+;?$|"
    r"(?:export |async |static )*function\b[^\n]{0,40}\(|"
    r"(?:const|let|var|auto|val) [\w{\[, :<>]{1,60}=|"
    r"(?:public|private|protected|static) [\w<>\[\] ]{1,60}[({=;]|"
    r"fn \w+\s?[(<]|func [\w(]|(?:int|void|char|float|double) \w+\(|"
    r"(?:print|printf|println|echo|console\.log)\b ?[(\"]|"
    r"(?:async )?for [\w, ]{1,60} in [^\n]{1,200}:[ \t]*$|"
    r"(?:if|for|while|switch) ?\([^\n]{0,200}\) ?\{|"
    r"(?:try|else):[ \t]*$|\} ?else ?\{[ \t]*$|return [^\n]{0,200};[ \t]*$|"
    r"return [\w.]{0,60}[({\[]|>>> |assert [\w.]+[ (]|\$ ?curl |curl -|"
    r"resource \"[^\n]{1,200}\{[ \t]*$|"
    r"\[{1,2}[\w.-]{1,60}\]{1,2}[ \t]*\r?\n[ \t]*[\w.-]{1,60} ?=)",
    re.MULTILINE,
)
# Languages that write their words in capitals.
_CAPITAL_CODE = re.compile(
    r"^[ \t]*(?:SELECT [^\n]{1,300}\bFROM\b|INSERT INTO |UPDATE \w+ SET |"
    r"DELETE FROM |CREATE (?:TABLE|INDEX|VIEW) |FROM [\w./:-]+[ \t]*$|"
    r"(?:CMD|ENTRYPOINT) \[)",
    re.MULTILINE,
)
# Before a named argument of a call, or an attribute in JSX.
_OPENED = re.compile(r"\w\(|<\w")
# An element around a value; its end tag follows.
_ELEMENT = re.compile(r"<[A-Za-z][\w:.-]{0,60}(?:\s[^<>\n]{0,100})?>\s*$")

_MARKED_BLOCK = re.compile(r"```\w.*?(?:```|\Z)", re.DOTALL)
# Before a value that is part of a statement.
_STATEMENT = re.compile(
    r"(?:\b(?:return|yield|await|raise|assert)|"
    r"^[ \t]*(?:const|let|var|auto|val|final|static|public|private|my|local)"
    r"\b[^\n]*=)\s*$"
)
_CALL = re.compile(r"[A-Za-z_]\w+!?\(\s*$")
# As above, where the value itself is not quite JSON.
_OPERATOR = re.compile(r"(?:[=-]>|[=!<>:+*%|&?]=|\bin)\s*$")
_ASSIGNMENT = re.compile(r"[\w)\]]\s*=\s*$")
# Words after which a short list of numbers, or nothing, is an answer.
_INTRODUCED = re.compile(
    r"(?:(?:^|[^\w])(?:is|are|be|answers?|results?|outputs?|lists?|json|"
    r"array|values?|object)\s*:?|(?<!s):)\s*$",
    re.IGNORECASE,
)
# A value that directly follows one of these is an index, a type or a part
# of a name.
_JOINED = re.compile(r"[\w)\]'\"”$\\!@.]$")
# Around an answer; zero-width spaces included.
_INVISIBLE = "\ufeff\u200b\u2060 \t\r\n"
# How a string begins that holds JSON, perhaps in a block.
_ENCODED = re.compile(r"\s*(?:```(?:json)?\s*)?[{\[]", re.IGNORECASE)
_ESCAPED_JSON = re.compile(r'[{\[](?:\s|\\n|\\t)*+\\"')
_QUOTE = re.compile("[\"'“‘]")  # noqa: RUF001 - they are meant
_LINE = 200
_LINES_BLOCK = re.compile(
    r"```(?:jsonl|ndjson|jsonlines)[ \t]*\n(.*?)\n?```", re.DOTALL
)
_LINE_END = re.compile(r"\}[ \t]*(,)[ \t]*\n")


class NoJsonError(Exception):
    """There is no JSON in the answer, not even nearly."""


def to_json_text(answer: str, echoes: Iterable[str] = ()) -> str:
    """Find the JSON value in an answer; return it as compact text.

    Raises:
        NoJsonError: there is none that could be kept.
    """
    return next(json_texts(answer, echoes))


def json_texts(answer: str, echoes: Iterable[str] = ()) -> Iterator[str]:
    """Yield the JSON values in an answer, best first, as compact text.

    `echoes` are JSON texts that the model was given: one that comes back
    is the answer only if there is no other.

    Raises:
        NoJsonError: there is none that could be kept.
    """
    try:
        # Half of a surrogate pair is nothing that could be stored or parsed.
        answer.encode()
        best, *others = _values(answer, set(echoes))
        yield payload.dump(best)
    except (payload.PayloadError, UnicodeEncodeError) as error:
        raise NoJsonError(str(error)) from None
    for value in others:
        if (text := _storable(value)) is not None:
            yield text


def _storable(value: object) -> str | None:
    try:
        return payload.dump(value)
    except payload.PayloadError:
        return None


def _values(answer: str, echoes: set[str]) -> list[Any]:
    text = answer.strip(_INVISIBLE)
    if (whole := _whole(text)) is not None:
        return whole
    if thinking.mentions(text):
        text = thinking.outside(text, json_scan.whole_spans(text))
        text = text.strip(_INVISIBLE)
        if (whole := _whole(text)) is not None:
            return whole
    ranked = _ranked(text) or _ranked_unescaped(text)
    if not ranked:
        raise NoJsonError("The answer contains no JSON")
    return _without_echoes(ranked, echoes)


def _whole(text: str) -> list[Any] | None:
    """Read a text that is JSON and nothing else; None if it is not."""
    try:
        value = from_json(text, allow_inf_nan=False)
    except ValueError:
        return None
    if isinstance(value, str) and _ENCODED.match(value):
        # JSON as a string in JSON: what it holds is meant.
        return [*_ranked(value.strip(_INVISIBLE))[:1], value]
    return [value]


def _ranked_unescaped(text: str) -> list[Any]:
    """Look once more in a text whose quotes were escaped for somewhere."""
    if _ESCAPED_JSON.search(text):
        try:
            return _ranked(from_json(f'"{text}"'))
        except ValueError:
            plain = text.replace("\\n", "\n").replace('\\"', '"')
            return _ranked(plain)
    if "&quot;" in text:
        return _ranked(unescape(text))
    return []


def _without_echoes(values: list[Any], echoes: set[str]) -> list[Any]:
    if not echoes or len(values) == 1:
        return values
    # Stable: what is no echo keeps its order.
    return sorted(values, key=lambda value: _storable(value) in echoes)


def _ranked(text: str) -> list[Any]:
    """Give the values that may be the answer, best first."""
    context = _Context(text)
    first: Value | None = None
    kept: dict[int, deque[Value]] = {}
    for value in json_scan.values(text):
        rank = context.rank(value)
        if rank == _UNFIT:
            continue
        first = first or value
        kept.setdefault(rank, deque(maxlen=MOST_VALUES)).append(value)
    ranked = [value for rank in sorted(kept) for value in reversed(kept[rank])]
    if first and context.begins_with(first, ranked):
        ranked = [first, *(each for each in ranked if each is not first)]
    best = [each.value for each in ranked[:MOST_VALUES]]
    return _with_list(best, text)


def _with_list(best: list[Any], text: str) -> list[Any]:
    """Add the list of all values, if the answer is one value a line.

    It goes first where the answer says that it is a list: with commas, or
    as a block of JSON Lines.
    """
    if len(best) < 2:  # noqa: PLR2004 - one value is no list
        return best
    lines = _LINES_BLOCK.fullmatch(text)
    inner = lines[1] if lines else text
    listed = _listed(inner)
    if listed is None:
        return best
    is_said = bool(lines) or "," in _LINE_END.findall(inner)
    return [listed, *best] if is_said else [*best, listed]


def _listed(text: str) -> list[Any] | None:
    values: list[Any] = []
    for line in text.splitlines():
        if not (line := line.strip().removesuffix(",")):
            continue
        try:
            value = from_json(line, allow_inf_nan=False)
        except ValueError:
            return None
        if not isinstance(value, dict):
            return None
        values.append(value)
    return values


class _Context:
    """What stands around the values of one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        # Where the first and the last line of code are.
        self._code: tuple[int, int] | None = None

    def rank(self, value: Value) -> int:
        """Tell how likely a value is the answer; lower is better."""
        if not isinstance(value.value, dict | list):
            return _SCALAR if value.fence in {"json", "plain"} else _UNFIT
        if value.fence == "json":
            return _FENCED
        if value.fence not in {None, "plain"}:
            is_object = isinstance(value.value, dict) and bool(value.value)
            return _FOREIGN if is_object else _UNFIT
        if self._is_code(value):
            return _UNFIT
        return _FENCED if value.fence else self._rank_inline(value)

    def _rank_inline(self, value: Value) -> int:
        if self._is_strong(value):
            return _STRONG
        return _WEAK if self._is_introduced(value) else _UNFIT

    def begins_with(self, first: Value, ranked: list[Value]) -> bool:
        """Tell whether the answer is its first value."""
        before = self._text[: first.start].strip().lower()
        is_best = self.rank(first) == self.rank(ranked[0])
        if before not in {"", "```", "```json"} or not is_best:
            return False
        others = [each.start for each in ranked if each is not first]
        if not others:
            return True
        between = self._text[first.end : max(others)]
        return not _CORRECTION.search(between)

    def _is_code(self, value: Value) -> bool:
        before = self._before(value)
        is_named = before.endswith(("=", "={")) and _OPENED.search(before)
        if is_named or _STATEMENT.search(before):
            return True
        if value.repaired and _OPERATOR.search(before):
            return True
        if _CALL.search(before) and self._follows(value, (")", ",")):
            return True
        is_assigned = bool(_ASSIGNMENT.search(before))
        if is_assigned and (
            value.repaired
            or self._follows(value, (";",))
            or self._has_code(value)
        ):
            return True
        if not self._has_code(value):
            return False
        return bool(before.strip()) or value.repaired or not value.value

    def _is_strong(self, value: Value) -> bool:
        before = self._before(value)
        joined = _JOINED.search(before)
        if isinstance(value.value, dict):
            has_quotes = not value.repaired or _QUOTE.search(
                self._text, value.start, value.end
            )
            is_alone = has_quotes or not before.strip()
            return (
                bool(value.value)
                and not (joined and value.repaired)
                and bool(is_alone)
            )
        if joined or not value.value:
            return False
        if self._follows(value, ("[", "(")):
            return False
        return not all(isinstance(item, int | float) for item in value.value)

    def _is_introduced(self, value: Value) -> bool:
        before = self._before(value)
        after = self._text[value.end : value.end + _LINE]
        if _JOINED.search(before) or after.startswith(("(", "[", ":")):
            return False
        if _ELEMENT.search(before) and after.lstrip().startswith("</"):
            return True
        if not before.strip():
            return not after.partition("\n")[0].strip(" \t.,;")
        return bool(_INTRODUCED.search(before))

    def _follows(self, value: Value, what: tuple[str, ...]) -> bool:
        return self._text.startswith(what, value.end)

    def _before(self, value: Value) -> str:
        start = max(value.start - _LINE, 0)
        return self._text[start : value.start].rpartition("\n")[2]

    def _has_code(self, value: Value) -> bool:
        """Tell whether there is code around a value; within it is data."""
        if self._code is None:
            plain = _MARKED_BLOCK.sub(_blank, self._text)
            starts = [
                line.start()
                for pattern in (_CODE, _CAPITAL_CODE)
                for line in pattern.finditer(plain)
            ]
            self._code = min(starts, default=-1), max(starts, default=-1)
        first, last = self._code
        return 0 <= first < value.start or last >= value.end


def _blank(block: re.Match[str]) -> str:
    return " " * len(block[0])
