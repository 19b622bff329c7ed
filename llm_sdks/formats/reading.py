"""Reading what providers send: typed, and forgiving where money was paid."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llm_sdks import errors
from llm_sdks.base_sdk import Completion, Usage
from llm_sdks.formats.decoding import TextJoiner, compact, storable
from llm_sdks.formats.endings import Ending, ending_of
from llm_sdks.usage import COUNT_LIMIT

# What reading JSON of the wrong shape raises.
WRONG_SHAPE = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RecursionError,
)
_TEXT_PARTS = frozenset({"text", "output_text", "refusal"})
_NOTHING: dict[str, Any] = {}
# Longer numbers are no counts; and reading them takes long.
_LONGEST_NUMBER = 30


def text_of(value: object, kinds: frozenset[str] = _TEXT_PARTS) -> str:
    """Return a content's text; none at all is an empty one.

    A content is a text or a list of parts. Parts of other `kinds`, such as
    what the model thought, are not text.

    Raises:
        TypeError: It is something else.
    """
    if isinstance(value, str):
        return value
    match value:
        case None:
            return ""
        case Mapping():
            return _text_of_part(value, kinds)
        case Sequence():
            return "".join(
                part if isinstance(part, str) else _text_of_part(part, kinds)
                for part in value
            )
    raise TypeError("text was expected")


def _text_of_part(part: object, kinds: frozenset[str]) -> str:
    if not isinstance(part, Mapping):
        return ""
    if part.get("type", "text") not in kinds:
        return ""
    text = part.get("text", part.get("refusal"))
    if isinstance(text, Mapping):
        text = text.get("value")
    return text if isinstance(text, str) else ""


def word_of(value: object) -> str | None:
    """Return a text, or None for whatever else came."""
    return storable(value) if isinstance(value, str) else None


def section(value: object, name: str = "") -> Mapping[str, Any]:
    """Return a JSON object, or its part `name`; an empty one if it is none."""
    # JSON's objects are dicts; asking for a Mapping takes many times longer.
    if name and isinstance(value, dict):
        value = value.get(name)
    return value if isinstance(value, dict) else _NOTHING


def items_of(value: object) -> Sequence[Any]:
    """Return a JSON array; an empty one if it is none."""
    return value if isinstance(value, list) else ()


def number_of(value: object) -> int:
    """Return a number of tokens; whatever is none counts as zero.

    A paid answer is not thrown away for a provider's odd bookkeeping.
    Floats and numbers written as text are counts, too. What no call can
    have (negative, not finite, from 2**53 on) is none.
    """
    if type(value) is int:
        return value if 0 <= value < COUNT_LIMIT else 0
    if isinstance(value, str) and len(value) <= _LONGEST_NUMBER:
        try:
            value = float(value)
        except ValueError:
            return 0
    if isinstance(value, float) and math.isfinite(value):
        return int(value) if 0 <= value < COUNT_LIMIT else 0
    return 0


def count(counts: Mapping[str, Any], *names: str) -> int:
    """Return the first of these counts that is one; zero if none is."""
    for name in names:
        value = counts.get(name)
        if value is not None and (number := number_of(value)):
            return number
    return 0


def merge_counts(known: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Add later counts; what they leave open (null, zero) stays."""
    if not known:
        known.update(more)
        return
    for name, value in more.items():
        if isinstance(value, dict):
            details = {key: n for key, n in value.items() if number_of(n)}
            known[name] = {**section(known, name), **details}
        elif number_of(value):
            known[name] = value


@dataclass(frozen=True, slots=True)
class Part:
    """What one event of a stream, or a whole answer, says.

    `counts` are the provider's own fields for the tokens; `refusal` is
    what the model says instead of an answer, `ended` tells that no text
    follows even if no reason was given. `tools` are calls of tools: names
    and arguments; a part without a name continues the call before.
    `thoughts` are what the model thought, kept apart from the text.
    `problem` is an error's JSON. Some providers put the request's id here,
    most into a header.
    """

    text: str = ""
    counts: Mapping[str, Any] = field(default_factory=dict)
    finish_reason: str | None = None
    refusal: str = ""
    filtered: bool = False
    ended: bool = False
    request_id: str | None = None
    tools: Sequence[tuple[str, str]] = ()
    problem: object = None
    thoughts: str = ""


class Answer:
    """The parts so far."""

    def __init__(self, request_id: str | None) -> None:
        self._joiner = TextJoiner()
        self._texts: list[str] = []
        self._refusal = ""
        self._filtered = False
        self._ended = False
        self._tools: list[tuple[str, list[str]]] = []
        self._thoughts: list[str] = []
        self.counts: dict[str, Any] = {}
        # Whether the provider counted at all.
        self.is_counted = False
        self.finish_reason: str | None = None
        self.problem: object = None
        self.request_id = request_id

    def add(self, part: Part) -> str:
        """Take one more part; return the text that it completes."""
        text = ""
        if part.text:
            text = self._joiner.add(part.text)
            self._texts.append(text)
            self._ended = False
        self._refusal += part.refusal
        self._filtered = self._filtered or part.filtered
        self._ended = self._ended or part.ended
        if part.counts:
            self.is_counted = True
            merge_counts(self.counts, part.counts)
        if part.tools:
            self._add_tools(part.tools)
        if part.thoughts:
            self._thoughts.append(part.thoughts)
        self.finish_reason = part.finish_reason or self.finish_reason
        self.problem = self.problem or part.problem
        self.request_id = self.request_id or part.request_id
        return text

    def end_text(self) -> str:
        """Return the text that only the end completes."""
        rest = self._joiner.end()
        if rest:
            self._texts.append(rest)
        return rest

    @property
    def has_ended(self) -> bool:
        """Whether the provider said that this is all."""
        return bool(
            self.finish_reason or self._filtered or self._ended or self.problem
        )

    @property
    def has_begun(self) -> bool:
        """Whether anything of an answer came."""
        return bool(
            self._texts or self._tools or self.is_counted or self.has_ended
        )

    @property
    def text(self) -> str:
        """What came: text, arguments of tools; else a refusal, thoughts."""
        text = "".join(self._texts)
        if self._tools:
            calls = ["".join(pieces) for _, pieces in self._tools]
            text = "\n".join(filter(None, [text, *calls]))
        return storable(text or self._refusal or "".join(self._thoughts))

    def finish(self, usage: Usage) -> Completion:
        """Return the whole answer.

        Raises:
            LLMError: It is not whole, or not an answer.
        """
        ending = self.ending
        if ending is Ending.WHOLE:
            text = "".join(self._texts)
            return Completion(text, usage, self.finish_reason, self.request_id)
        kind, message = _PROBLEMS[ending]
        if ending is Ending.FILTERED and self._refusal:
            message = "The model refused to answer"
        if ending is Ending.TOOL and self._tools:
            names = ", ".join(name for name, _ in self._tools if name)[:200]
            message += f": {names}" if names else ""
        if self.finish_reason:
            message += f" ({self.finish_reason})"
        raise kind(
            message,
            partial_text=self.text,
            usage=usage,
            request_id=self.request_id,
        )

    @property
    def ending(self) -> Ending:
        """What the answer's end says of it."""
        if self._refusal or self._filtered:
            return Ending.FILTERED
        reason = self.finish_reason
        ending = Ending.WHOLE if reason is None else ending_of(reason)
        if ending is Ending.WHOLE and not self._has_text:
            if self._tools:
                return Ending.TOOL
            if self._thoughts:
                return Ending.THOUGHTS
        return ending

    @property
    def _has_text(self) -> bool:
        return any(map(str.strip, self._texts))

    def _add_tools(self, tools: Sequence[tuple[str, str]]) -> None:
        for name, arguments in tools:
            if name or not self._tools:
                self._tools.append((name, []))
            self._tools[-1][1].append(arguments)


def tool(name: object, arguments: object) -> tuple[str, str]:
    """Give a part's `tools` entry; arguments may be text or JSON."""
    if arguments is None:
        arguments = ""
    if not isinstance(arguments, str):
        arguments = compact(arguments)
    return word_of(name) or "", arguments


_PROBLEMS: dict[Ending, tuple[type[errors.LLMError], str]] = {
    Ending.CUT: (
        errors.TruncatedError,
        "The answer reached the limit of tokens",
    ),
    Ending.FILTERED: (
        errors.ContentFilteredError,
        "The provider's filter held the answer back",
    ),
    Ending.OVERLOADED: (
        errors.OverloadedError,
        "The provider ran out of capacity in the middle of the answer",
    ),
    Ending.FAILED: (
        errors.ProviderError,
        "The provider failed in the middle of the answer",
    ),
    Ending.TOOL: (
        errors.ToolCalledError,
        "The model called a tool instead of answering",
    ),
    Ending.MALFORMED: (
        errors.FailedGenerationError,
        "The model's output is malformed",
    ),
    Ending.THOUGHTS: (
        errors.FailedGenerationError,
        "The answer has only the model's thoughts",
    ),
    Ending.UNKNOWN: (
        errors.UnknownEndingError,
        "The answer ended for an unknown reason",
    ),
}
