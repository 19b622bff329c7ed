"""Reads one answer of a provider as typed events.

Whether it is whole, and what is wrong with it, is told as for every other
answer; calls of tools, refusals and an end for want of tokens are answers
here.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from llm_sdks.answers import (
    Answer,
    AnswerBuilder,
    Begun,
    Ended,
    Event,
    Finish,
    RefusalDelta,
    TextDelta,
    ToolCallBegun,
    UsageSeen,
)
from llm_sdks.base_sdk import Completion, Usage
from llm_sdks.formats.answer_reader import AnswerReader, Format
from llm_sdks.formats.decoding import TextJoiner
from llm_sdks.formats.endings import Ending
from llm_sdks.formats.reading import Part
from llm_sdks.formats.typed_events import Said, Typed

_FINISHES: Mapping[Ending, Finish] = {
    Ending.WHOLE: "stop",
    Ending.THOUGHTS: "stop",
    Ending.CUT: "length",
    Ending.TOOL: "tool_calls",
    Ending.FILTERED: "content_filter",
}
_REFUSALS = ("refusal", "refused")


class _Reader(AnswerReader):
    """Takes every answer that has an end."""

    @property
    def request_id(self) -> str | None:
        return self._answer.request_id

    @property
    def is_counted(self) -> bool:
        return self._answer.is_counted

    @property
    def finish(self) -> Finish:
        reason = (self._answer.finish_reason or "").lower()
        if reason in _REFUSALS:
            return "refusal"
        return _FINISHES[self._answer.ending]

    def _concluded(self) -> Completion:
        if self._answer.ending in _FINISHES:
            return Completion("", self.usage)
        return super()._concluded()


class ConversationReader:
    """One answer of a provider while it is read."""

    def __init__(
        self, form: Format, typed: Typed, key: str, headers: Mapping[str, str]
    ) -> None:
        self._reader = _Reader(_Heard(form, self._hear), key, headers)
        self._typed = typed
        self._text = TextJoiner()
        self._has_begun = self._calls = self._refuses = False
        self._events: list[Said] = []
        # Give an error what came before it: text and counts.
        self.keeping = self._reader.keeping

    @property
    def has_ended(self) -> bool:
        """Whether the provider said that this is all."""
        return self._reader.has_ended

    def whole(self, content: bytes | str, status: int) -> Answer:
        """Read a whole answer, in whatever form it came.

        Raises:
            LLMError: It is not whole, or not an answer.
        """
        self._reader.whole(content, status)
        builder = AnswerBuilder()
        for event in (*self._heard(), *self._rest()):
            builder.add(event)
        return builder.answer()

    def take(self, event: object) -> Iterator[Event]:
        """Read one event of a stream."""
        items = list(self._reader.take(event))
        yield from self._heard()
        for item in items:
            if isinstance(item, Usage):
                yield from self._begin()
                yield UsageSeen(item)

    def end(self, *, is_done: bool) -> Iterator[Event]:
        """Give what only the end completes.

        Raises:
            LLMError: The answer is not whole, or not an answer.
        """
        for _ in self._reader.end(is_done=is_done):
            pass
        yield from self._rest()

    def _hear(self, event: Any) -> None:  # noqa: ANN401 - a provider's JSON
        self._events += self._typed.read(event)

    def _heard(self) -> Iterator[Event]:
        events, self._events = self._events, []
        for event in events:
            yield from self._begin(event)
            match event:
                case Begun():
                    continue
                case TextDelta():
                    if text := self._text.add(event.text):
                        yield TextDelta(text)
                case _:
                    self._calls |= isinstance(event, ToolCallBegun)
                    self._refuses |= isinstance(event, RefusalDelta)
                    yield event

    def _begin(self, event: Said | None = None) -> Iterator[Begun]:
        if not self._has_begun:
            self._has_begun = True
            model = event.model if isinstance(event, Begun) else None
            yield Begun(model, self._reader.request_id)

    def _rest(self) -> Iterator[Event]:
        yield from self._begin()
        if text := self._text.end():
            yield TextDelta(text)
        if self._reader.is_counted:
            yield UsageSeen(self._reader.usage)
        yield Ended(self._finish(), self._typed.stop_sequence)

    def _finish(self) -> Finish:
        if self._refuses:
            return "refusal"
        finish = self._reader.finish
        # Google, and OpenAI where one tool had to be called, say "stop".
        return "tool_calls" if self._calls and finish == "stop" else finish


class _Heard:
    """A format that hands on what it is given to read."""

    def __init__(self, form: Format, hear: Callable[[Any], None]) -> None:
        self._form = form
        self._hear = hear
        self.answer_name = form.answer_name
        self.usage = form.usage

    def whole(self, answer: Any) -> Part:  # noqa: ANN401 - a provider's JSON
        part = self._form.whole(answer)
        self._hear(answer)
        return part

    def part(self, event: Any) -> Part:  # noqa: ANN401 - a provider's JSON
        part = self._form.part(event)
        self._hear(event)
        return part
