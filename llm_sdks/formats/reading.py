"""Reading what providers send: typed, and forgiving where money was paid."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from llm_sdks import errors
from llm_sdks.base_sdk import Completion, Usage

# What reading JSON of the wrong shape raises.
WRONG_SHAPE = (ValueError, LookupError, TypeError, AttributeError)


def text_of(value: object) -> str:
    """Return a text; none at all is an empty one.

    Raises:
        TypeError: it is something else.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError("text was expected")
    return value


def word_of(value: object) -> str | None:
    """Return a text, or None for whatever else came."""
    return value if isinstance(value, str) else None


def section(value: object, name: str = "") -> Mapping[str, Any]:
    """Return a JSON object, or its part `name`; an empty one if it is none."""
    if name and isinstance(value, Mapping):
        value = value.get(name)
    return value if isinstance(value, Mapping) else {}


def count(counts: Mapping[str, Any], name: str) -> int:
    """Return a number of tokens; whatever is none counts as zero.

    A paid answer is not thrown away for a provider's odd bookkeeping.
    """
    value = counts.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return max(value, 0)
    return 0


@dataclass(frozen=True, slots=True)
class Part:
    """What one event of a stream, or a whole answer, says.

    `counts` are the provider's own fields for the tokens; `refusal` is
    what the model says instead of an answer, `ended` tells that no text
    follows even if no reason was given. Some providers put the request's
    id here, most into a header.
    """

    text: str = ""
    counts: Mapping[str, Any] = field(default_factory=dict)
    finish_reason: str | None = None
    refusal: str = ""
    filtered: bool = False
    ended: bool = False
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Endings:
    """A provider's finish reasons that mean: this is not the whole answer."""

    cut: frozenset[str]
    filtered: frozenset[str]


class Answer:
    """The parts so far."""

    def __init__(self, endings: Endings, request_id: str | None) -> None:
        self._endings = endings
        self._texts: list[str] = []
        self._refusal = ""
        self._filtered = False
        self._ended = False
        self.counts: dict[str, Any] = {}
        self.finish_reason: str | None = None
        self.request_id = request_id

    def add(self, part: Part) -> None:
        """Take one more part; what it counts replaces what was counted."""
        if part.text:
            self._texts.append(part.text)
        self._refusal += part.refusal
        self._filtered = self._filtered or part.filtered
        self._ended = self._ended or part.ended
        self.counts.update(part.counts)
        self.finish_reason = part.finish_reason or self.finish_reason
        self.request_id = self.request_id or part.request_id

    @property
    def has_ended(self) -> bool:
        """Whether the provider said that this is all."""
        return bool(self.finish_reason) or self._filtered or self._ended

    def finish(self, usage: Usage) -> Completion:
        """Return the whole answer.

        Raises:
            PartialAnswerError: it was cut, held back or refused.
        """
        text = "".join(self._texts)
        reason = self.finish_reason
        if self._refusal or self._filtered or reason in self._endings.filtered:
            self._held_back(text, usage)
        if reason in self._endings.cut:
            raise errors.TruncatedError(
                f"The answer reached the limit of tokens ({reason})",
                partial_text=text,
                usage=usage,
                request_id=self.request_id,
            )
        return Completion(text, usage, reason, self.request_id)

    def _held_back(self, text: str, usage: Usage) -> NoReturn:
        if self._refusal:
            message = "The model refused to answer"
        else:
            message = "The provider's filter held the answer back"
        if self.finish_reason:
            message += f" ({self.finish_reason})"
        raise errors.ContentFilteredError(
            message,
            partial_text=text or self._refusal,
            usage=usage,
            request_id=self.request_id,
        )
