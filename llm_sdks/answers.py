"""What a model answers, in our own terms; formats read and write it.

An `Answer` is whole. A stream is the same as events, in this order:
`Begun`, then the events of the parts, one part after the other (but for calls
of tools that a provider writes at the same time), `UsageSeen` and
`LogprobsSeen` anywhere, and `Ended` as the last.
Everything is frozen.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from llm_sdks.conversation import ToolCall
from llm_sdks.usage import Usage

# Why an answer ended. `content_filter`: the provider held it back;
# `refusal`: the model said no.
Finish = Literal["stop", "length", "tool_calls", "content_filter", "refusal"]


@dataclass(frozen=True, slots=True)
class TextOut:
    """A piece of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class ThinkingOut:
    """What the model thought; `signature` is its provider's proof of it."""

    text: str
    signature: str = ""


@dataclass(frozen=True, slots=True)
class RefusalOut:
    """What the model said in place of an answer."""

    text: str


AnswerPart = TextOut | ThinkingOut | RefusalOut | ToolCall


@dataclass(frozen=True, slots=True)
class TokenChance:
    """A token and the natural logarithm of its probability.

    `data` are the token's bytes, where the provider tells them.
    """

    token: str
    logprob: float
    data: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class TokenLogprob(TokenChance):
    """A token of the answer; `top` are the likeliest at its place."""

    top: tuple[TokenChance, ...] = ()


Logprobs = tuple[TokenLogprob, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer.

    `model` is what the provider calls the model that answered,
    `stop_sequence` the one that ended the answer, where it is told.
    """

    parts: tuple[AnswerPart, ...] = ()
    usage: Usage = field(default_factory=Usage)
    finish: Finish = "stop"
    model: str | None = None
    request_id: str | None = None
    logprobs: Logprobs | None = None
    stop_sequence: str | None = None

    @property
    def text(self) -> str:
        """The pieces of text, joined."""
        return _joined(self.parts, TextOut)

    @property
    def thinking(self) -> str:
        """The pieces of what was thought, joined."""
        return _joined(self.parts, ThinkingOut)

    @property
    def refusal(self) -> str:
        """What the model said in place of an answer."""
        return _joined(self.parts, RefusalOut)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls of tools that the model asks for."""
        return tuple(each for each in self.parts if isinstance(each, ToolCall))


def _joined(
    parts: Iterable[AnswerPart],
    kind: type[TextOut | ThinkingOut | RefusalOut],
) -> str:
    return "".join(
        part.text
        for part in parts
        if not isinstance(part, ToolCall) and isinstance(part, kind)
    )


@dataclass(frozen=True, slots=True)
class Begun:
    """The provider has begun to answer."""

    model: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More of the text."""

    text: str


@dataclass(frozen=True, slots=True)
class ThinkingDelta:
    """More of what the model thinks; or the proof that ends it."""

    text: str
    signature: str = ""


@dataclass(frozen=True, slots=True)
class RefusalDelta:
    """More of what the model says in place of an answer."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallBegun:
    """A call of a tool; `index` counts the answer's calls from 0."""

    index: int
    id: str
    name: str
    signature: str = ""


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """More of the JSON of a call's arguments."""

    index: int
    arguments: str


@dataclass(frozen=True, slots=True)
class LogprobsSeen:
    """The probabilities of the tokens that came last."""

    tokens: Logprobs


@dataclass(frozen=True, slots=True)
class UsageSeen:
    """Everything counted so far; a later one replaces it."""

    usage: Usage


@dataclass(frozen=True, slots=True)
class Ended:
    """The answer is whole; no event follows."""

    finish: Finish
    stop_sequence: str | None = None


Content = (
    TextDelta | ThinkingDelta | RefusalDelta | ToolCallBegun | ToolCallDelta
)
Event = Begun | Content | LogprobsSeen | UsageSeen | Ended


class AnswerBuilder:
    """Puts an answer together from its events."""

    def __init__(self) -> None:
        self._parts: list[_Part] = []
        self._calls: dict[int, _Part] = {}
        self._begun = Begun()
        self._usage = Usage()
        self._logprobs: list[TokenLogprob] = []
        self._ended: Ended | None = None

    def add(self, event: Event) -> None:
        """Take one more event."""
        match event:
            case Begun():
                self._begun = event
            case UsageSeen():
                self._usage = event.usage
            case LogprobsSeen():
                self._logprobs += event.tokens
            case Ended():
                self._ended = event
            case _:
                self._add_content(event)

    def _add_content(self, event: Content) -> None:
        match event:
            case ToolCallBegun():
                part = _Part(ToolCall, [], event.signature, event)
                self._calls[event.index] = part
                self._parts.append(part)
            case ToolCallDelta():
                self._calls[event.index].texts.append(event.arguments)
            case ThinkingDelta():
                self._continue(ThinkingOut, event.text, event.signature)
            case TextDelta():
                self._continue(TextOut, event.text)
            case RefusalDelta():
                self._continue(RefusalOut, event.text)

    def _continue(
        self,
        kind: type[TextOut | ThinkingOut | RefusalOut],
        text: str,
        signature: str = "",
    ) -> None:
        last = self._parts[-1] if self._parts else None
        # A signature ends what it signs.
        if last is None or last.kind is not kind or last.signature:
            last = _Part(kind, [])
            self._parts.append(last)
        last.texts.append(text)
        last.signature = signature

    def answer(self) -> Answer:
        """Return what has come so far."""
        ended = self._ended or Ended("stop")
        return Answer(
            tuple(part.whole() for part in self._parts),
            self._usage,
            ended.finish,
            self._begun.model,
            self._begun.request_id,
            tuple(self._logprobs) or None,
            ended.stop_sequence,
        )


@dataclass(slots=True)
class _Part:
    kind: type[AnswerPart]
    texts: list[str]
    signature: str = ""
    call: ToolCallBegun | None = None

    def whole(self) -> AnswerPart:
        text = "".join(self.texts)
        if self.call is not None:
            name = self.call.name
            # A call without arguments may have none at all.
            return ToolCall(self.call.id, name, text or "{}", self.signature)
        if self.kind is ThinkingOut:
            return ThinkingOut(text, self.signature)
        return RefusalOut(text) if self.kind is RefusalOut else TextOut(text)


def events_of(answer: Answer) -> Iterable[Event]:
    """Yield a whole answer as the events of a stream."""
    yield Begun(answer.model, answer.request_id)
    index = 0
    for part in answer.parts:
        match part:
            case TextOut():
                yield TextDelta(part.text)
            case ThinkingOut():
                yield ThinkingDelta(part.text, part.signature)
            case RefusalOut():
                yield RefusalDelta(part.text)
            case ToolCall():
                yield ToolCallBegun(index, part.id, part.name, part.signature)
                yield ToolCallDelta(index, part.arguments)
                index += 1
    if answer.logprobs:
        yield LogprobsSeen(answer.logprobs)
    yield UsageSeen(answer.usage)
    yield Ended(answer.finish, answer.stop_sequence)
