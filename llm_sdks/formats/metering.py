"""What a provider's answer says of itself, while others read it.

A request that goes out as it is has an answer that goes back as it is.
Beside that, the tokens are counted and the text is noted; bytes are changed
in one case only: a chunk with the usage that the client did not ask for is
left out.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Protocol

from llm_sdks.base_sdk import Usage
from llm_sdks.errors import (
    AccountExhaustedError,
    LLMError,
    ModelNotFoundError,
    NotAuthorizedError,
    ProviderError,
    UnreadableAnswerError,
)
from llm_sdks.formats import failures
from llm_sdks.formats.decoding import read_json
from llm_sdks.formats.reading import (
    WRONG_SHAPE,
    Part,
    count,
    items_of,
    merge_counts,
    section,
    text_of,
    word_of,
)
from llm_sdks.forwarding import Interface

_END = b"[DONE]"
_BOUNDARY = re.compile(rb"\r?\n\r?\n|\r\r")
# No event is as long; a server that sends more must not fill the memory.
_LONGEST_EVENT = 64 * 1024 * 1024
# Of a larger answer (embeddings), only the end is read for its usage.
WHOLE_READ = 4 * 1024 * 1024
_SAMPLE = 4096
_USAGE = re.compile(rb'"usage"\s*:\s*(\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\})')


class Reads(Protocol):
    """How an interface's answers are read: a plug-in, mostly."""

    def whole(self, answer: Any) -> Part:  # noqa: ANN401 - a provider's JSON
        """Read a whole answer; may raise any of `WRONG_SHAPE`."""

    def part(self, event: Any) -> Part:  # noqa: ANN401 - a provider's JSON
        """Read one event of a stream; may raise any of `WRONG_SHAPE`."""

    def usage(self, counts: Mapping[str, Any]) -> Usage:
        """Bring the provider's own counts into our definition."""


class ResponsesReader:
    """Reads answers of OpenAI's `/responses`."""

    def whole(self, answer: Any) -> Part:  # noqa: ANN401 - as above
        """Read a whole response."""
        texts = [
            text_of(item.get("content"))
            for item in map(section, items_of(answer["output"]))
            if item.get("type") == "message"
        ]
        error = answer.get("error")
        return Part(
            "".join(texts),
            section(answer, "usage"),
            word_of(answer.get("status")),
            problem=error,
        )

    def part(self, event: Any) -> Part:  # noqa: ANN401 - as above
        """Read one event."""
        match section(event).get("type"):
            case "response.output_text.delta":
                return Part(text_of(event.get("delta")))
            case (
                "response.completed"
                | "response.incomplete"
                | "response.failed"
            ):
                response = section(event, "response")
                return Part(
                    counts=section(response, "usage"),
                    finish_reason=word_of(response.get("status")),
                    ended=True,
                    problem=response.get("error"),
                )
            case _:
                return Part()

    def usage(self, counts: Mapping[str, Any]) -> Usage:
        """Read the counts; input and output include their parts."""
        asked = section(counts, "input_tokens_details")
        said = section(counts, "output_tokens_details")
        return Usage(
            count(counts, "input_tokens", "prompt_tokens"),
            count(counts, "output_tokens"),
            count(asked, "cached_tokens"),
            count(said, "reasoning_tokens"),
        )


class EmbeddingsReader(ResponsesReader):
    """Reads answers of `/embeddings`: they have no text."""

    def whole(self, answer: Any) -> Part:  # noqa: ANN401 - as above
        """Read the usage only."""
        return Part(counts=section(answer, "usage"))


class CountReader(EmbeddingsReader):
    """Reads counts of tokens: nothing was used for them."""

    def whole(self, answer: Any) -> Part:  # noqa: ANN401 - as above
        """Read nothing."""
        del answer
        return Part()


class UsageReader(EmbeddingsReader):
    """Reads the usage of answers whose kind is not known otherwise."""

    def whole(self, answer: Any) -> Part:  # noqa: ANN401 - as above
        """Read the usage, if it is one of tokens."""
        counts = section(answer, "usage")
        has_tokens = not _TOKENS.isdisjoint(counts)
        return Part(counts=counts if has_tokens else {})

    def part(self, event: Any) -> Part:  # noqa: ANN401 - as above
        """Read the same of one event."""
        return self.whole(section(event, "response") or event)

    def usage(self, counts: Mapping[str, Any]) -> Usage:
        """Read the counts by either of their names."""
        output = count(counts, "output_tokens", "completion_tokens")
        return replace(super().usage(counts), output_tokens=output)


_TOKENS = frozenset({"input_tokens", "prompt_tokens"})
_READERS: Mapping[Interface, Reads] = {
    Interface.RESPONSES: ResponsesReader(),
    Interface.EMBEDDINGS: EmbeddingsReader(),
    Interface.COUNT_TOKENS: CountReader(),
}
# Errors that have a model suspended for all of its clients.
_OF_THE_ACCOUNT = (
    AccountExhaustedError,
    ModelNotFoundError,
    NotAuthorizedError,
)
# The last event of a whole stream, where one is promised.
_LAST = {"message_stop", "response.completed", "response.incomplete"}


class AnswerMeter:
    """Counts one answer, whole or streamed."""

    def __init__(
        self,
        interface: Interface | None,
        plugin: Reads,
        texts: list[str],
        key: str,
        *,
        hides_usage: bool = False,
    ) -> None:
        """Take the plug-in that reads the provider's own format.

        It, or what is given in its place, reads all if there is no
        `interface`. The text goes to `texts`. `hides_usage`: a chunk that
        has the usage alone is left out.
        """
        self._reads = plugin
        if interface is not None:
            self._reads = _READERS.get(interface, plugin)
        self._key = key
        self._hides_usage = hides_usage
        self._counts: dict[str, Any] = {}
        self._pending = b""
        self._texts = texts
        self.finish_reason: str | None = None
        # Whether the provider said that this is all.
        self.has_ended = False
        # The error that the provider sent in place of the rest.
        self.error: LLMError | None = None
        # Whether anything of an answer came: text, or a call of a tool.
        self.has_begun = False

    @property
    def usage(self) -> Usage | None:
        """What is counted so far; None if nothing is."""
        return self._reads.usage(self._counts) if self._counts else None

    def whole(self, content: bytes) -> None:
        """Read a whole answer."""
        if len(content) > WHOLE_READ:
            self.end_of_whole(content)
            return
        try:
            value = read_json(content)
            if failures.is_failure(value) and "output" not in value:
                self.error = self._failure(value)
                return
            self._take(self._reads.whole(value))
        except WRONG_SHAPE:
            # It goes back all the same; nobody knows what it cost.
            return

    def feed(self, chunk: bytes) -> bytes:
        """Take a piece of a stream; return the whole events so far.

        Raises:
            UnreadableAnswerError: an event is without end.
        """
        data = self._pending + chunk if self._pending else chunk
        if len(data) > _LONGEST_EVENT:
            raise UnreadableAnswerError("An event of the stream has no end")
        kept: list[bytes] = []
        start = 0
        for boundary in _BOUNDARY.finditer(data):
            event = data[start : boundary.end()]
            start = boundary.end()
            if self._event(event):
                kept.append(event)
        self._pending = data[start:]
        return b"".join(kept)

    def close(self) -> bytes:
        """Take the stream's end; return what was left."""
        rest, self._pending = self._pending, b""
        if rest.lstrip().startswith(b"{"):
            # A whole answer came where a stream was asked for.
            self.whole(rest)
            self.has_ended = True
            return rest
        return rest if rest and self._event(rest) else b""

    def _event(self, event: bytes) -> bool:
        """Read an event; return whether it goes on to the client."""
        for value in _values(event):
            if value == _END:
                self.has_ended = True
                continue
            try:
                self.value(value)
            except WRONG_SHAPE:
                continue
            if self._hides_usage and _is_usage_alone(value):
                return False
        return True

    def value(self, value: Any) -> None:  # noqa: ANN401 - a provider's JSON
        """Read the value of one event; may raise any of `WRONG_SHAPE`."""
        kind = section(value).get("type")
        if kind in _LAST:
            self.has_ended = True
        part = self._reads.part(value)
        if part.problem or (
            failures.is_failure(value) and kind != "response.failed"
        ):
            body = {"error": part.problem} if part.problem else value
            self.error = self._failure(body)
            return
        self._take(part)

    def _failure(self, body: object) -> LLMError:
        error = failures.in_body(body, {}, self._key)
        if isinstance(error, _OF_THE_ACCOUNT):
            # It may quote what anybody has sent, and proves nothing.
            return ProviderError(str(error))
        return error

    def _take(self, part: Part) -> None:
        if part.counts:
            merge_counts(self._counts, part.counts)
        if part.text:
            self._texts.append(part.text)
        if part.finish_reason:
            self.finish_reason = part.finish_reason
            self.has_ended = True
        if part.text or part.tools or part.thoughts or part.refusal:
            self.has_begun = True

    def end_of_whole(self, content: bytes) -> None:
        """Look for the usage at the end of a whole answer."""
        found = [*_USAGE.finditer(content[-_SAMPLE:])]
        if found:
            merge_counts(self._counts, read_json(found[-1][1]))


def _values(event: bytes) -> Iterator[Any]:
    lines = [
        line[5:].removeprefix(b" ")
        for line in event.splitlines()
        if line.startswith(b"data:")
    ]
    if not lines:
        return
    data = b"\n".join(lines)
    if data.startswith(_END):
        yield _END
        return
    try:
        yield read_json(data)
    except ValueError:
        return


def _is_usage_alone(value: Any) -> bool:  # noqa: ANN401 - a provider's JSON
    return (
        isinstance(value, dict)
        and value.get("choices") == []
        and bool(value.get("usage"))
    )
