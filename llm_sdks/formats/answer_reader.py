"""Reads one answer of a provider, whole or as it comes.

An answer that was paid for is read in whatever form it came: a whole one
as events, a stream as one JSON value.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, TypeVar

from llm_sdks.base_sdk import Completion, StreamItem, Usage
from llm_sdks.errors import LLMError, UnreadableAnswerError
from llm_sdks.formats import failures
from llm_sdks.formats.decoding import compact, read_json
from llm_sdks.formats.reading import WRONG_SHAPE, Answer, Part, section
from llm_sdks.formats.sse import EventReader, NotAnEventError

Whole_co = TypeVar("Whole_co", covariant=True)
Item_co = TypeVar("Item_co", covariant=True)


class Format(Protocol):
    """What differs from provider to provider."""

    # What the provider calls an answer, for error messages.
    answer_name: str

    def whole(self, answer: Any) -> Part:  # noqa: ANN401 - a provider's JSON
        """Read a whole answer; may raise any of `WRONG_SHAPE`."""

    def part(self, event: Any) -> Part:  # noqa: ANN401 - a provider's JSON
        """Read one event of a stream; may raise any of `WRONG_SHAPE`."""

    def usage(self, counts: Mapping[str, Any]) -> Usage:
        """Bring the provider's own counts into our definition."""


class Reader(Protocol[Whole_co, Item_co]):
    """One answer while it is read: to a whole, or to items."""

    @property
    def has_ended(self) -> bool:
        """Whether the provider said that this is all."""

    @property
    def keeping(self) -> Callable[[], AbstractContextManager[None]]:
        """Gives an error what came before it: text and counts."""

    def whole(self, content: bytes | str, status: int) -> Whole_co:
        """Read a whole answer, in whatever form it came."""

    def take(self, event: object) -> Iterator[Item_co]:
        """Read one event of a stream."""

    def end(self, *, is_done: bool) -> Iterator[Item_co]:
        """Give what only the end completes."""


class AnswerReader:
    """One answer of a provider while it is read."""

    def __init__(
        self,
        form: Format,
        key: str,
        headers: Mapping[str, str],
    ) -> None:
        self._form = form
        self._headers = headers
        self._key = key
        self._answer = Answer(failures.request_id(headers, self._key))
        # The last event that had only words.
        self._complaint: object = None
        # The usage that was yielded last, if no text came after it.
        self._told: Usage | None = None

    @property
    def usage(self) -> Usage:
        """What is counted so far."""
        return self._form.usage(self._answer.counts)

    @property
    def has_ended(self) -> bool:
        """Whether the provider said that this is all."""
        return self._answer.has_ended

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Give an error what came before it: text and counts."""
        try:
            yield
        except NotAnEventError as error:
            problem = failures.unreadable(
                "stream", self._key, content=error.content
            )
            raise self._kept(problem) from None
        except LLMError as error:
            self._kept(error)
            raise

    def _kept(self, error: LLMError) -> LLMError:
        if error.usage == Usage():
            error.usage = self.usage
        error.partial_text = self._answer.text or error.partial_text
        error.request_id = error.request_id or self._answer.request_id
        return error

    def whole(self, content: bytes | str, status: int) -> Completion:
        """Read a whole answer, in whatever form it came.

        Raises:
            LLMError: It is not whole, or not an answer.
        """
        try:
            value = read_json(content, self._headers)
        except ValueError:
            return self._from_events(content, status)
        # Google's streams are lists, if not asked for as events.
        if isinstance(value, list) and not failures.is_failure(value):
            with self.keeping():
                return self._assembled(value, content, status, is_done=True)
        return self._whole(value, content, status)

    def _whole(
        self, value: object, content: bytes | str, status: int
    ) -> Completion:
        if failures.is_failure(value) or failures.is_complaint(value):
            raise self._failure(value)
        try:
            part = self._form.whole(value)
        except WRONG_SHAPE:
            raise self._unreadable(content, status, value) from None
        self._answer.add(part)
        return self._finish()

    def _from_events(self, content: bytes | str, status: int) -> Completion:
        """Read a stream that came although a whole answer was asked for."""
        reader = EventReader()
        data = content.encode() if isinstance(content, str) else content
        try:
            values = [*reader.feed(data), *reader.close()]
        except NotAnEventError:
            raise self._unreadable(content, status) from None
        with self.keeping():
            return self._assembled(
                values, content, status, is_done=reader.is_done
            )

    def _assembled(
        self,
        values: Sequence[object],
        content: bytes | str,
        status: int,
        *,
        is_done: bool,
    ) -> Completion:
        for value in values:
            self._answer.add(self._part(value, self._form.answer_name))
        if not self._answer.has_begun and self._complaint is None:
            raise self._unreadable(content, status)
        if not self._is_whole(is_done=is_done):
            raise self._broken()
        return self._finish()

    def take(self, event: object) -> Iterator[StreamItem]:
        """Read one event of a stream."""
        part = self._part(event, "stream")
        if text := self._answer.add(part):
            self._told = None
            yield text
        if part.counts and (usage := self.usage) != self._told:
            self._told = usage
            yield usage

    def end(self, *, is_done: bool) -> Iterator[StreamItem]:
        """Give what only the end completes.

        Raises:
            LLMError: The answer is not whole, or not an answer.
        """
        if not self._is_whole(is_done=is_done):
            raise self._broken()
        if text := self._answer.end_text():
            self._told = None
            yield text
        if self._answer.is_counted and self._told is None:
            yield self.usage
        self._finish()

    def _unreadable(
        self, content: bytes | str, status: int, value: object = None
    ) -> UnreadableAnswerError:
        counts = section(value, "usage") or section(value, "usageMetadata")
        return failures.unreadable(
            self._form.answer_name,
            self._key,
            content=content,
            status=status,
            usage=self._form.usage(counts),
        )

    def _is_whole(self, *, is_done: bool) -> bool:
        answer = self._answer
        return answer.has_ended or (is_done and answer.has_begun)

    def _broken(self) -> LLMError:
        if self._complaint is not None:
            return self._failure(self._complaint)
        return failures.ended_early()

    def _part(self, event: object, what: str) -> Part:
        if failures.is_failure(event):
            raise self._failure(event)
        if failures.is_complaint(event):
            self._complaint = event
            return Part()
        try:
            return self._form.part(event)
        except WRONG_SHAPE:
            raise failures.unreadable(
                what, self._key, content=compact(event)
            ) from None

    def _failure(self, content: object) -> LLMError:
        error = failures.in_body(content, self._headers, self._key)
        error.usage = self._form.usage(section(content, "usage"))
        return error

    def _finish(self) -> Completion:
        self._answer.end_text()
        if self._answer.problem:
            with self.keeping():
                raise self._failure({"error": self._answer.problem})
        return self._concluded()

    def _concluded(self) -> Completion:
        return self._answer.finish(self.usage)
