"""Carries a request to a provider whose format is another one."""

import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pydantic_core import to_json

from api.core.dialects import Problem
from api.core.errors import ParameterError
from api.services.calls.failures import closable, failures_of
from api.services.calls.model_call import CallProgress
from api.services.calls.transfers import TextEmbedding
from api.services.gateway.asked import Asked
from api.services.gateway.forwarding import FILTERED_ENDINGS, withheld
from api.services.gateway.live_answer import AnswerSink, Head
from llm_sdks.answers import (
    Answer,
    Begun,
    Ended,
    Event,
    TextDelta,
    UsageSeen,
)
from llm_sdks.base_sdk import BaseLLMSDK, Completion, CompletionRequest, Usage
from llm_sdks.errors import BadRequestError
from llm_sdks.formats import (
    anthropic_api,
    api,
    openai_chat_api,
    openai_embeddings_api,
    openai_responses_api,
)
from llm_sdks.forwarding import Interface

T = TypeVar("T")
_JSON = "application/json"
_EVENTS = "text/event-stream; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Format:
    """How an interface's requests are read and its answers written."""

    read: Callable[[Mapping[str, Any]], api.ConversationAsked]
    write: Callable[[Answer, api.Head], api.Json]
    # Takes whether the usage is asked for, where it has to be.
    writer: Callable[[api.Head, bool], api.StreamWriter]


FORMATS: Mapping[Interface, Format] = {
    Interface.CHAT: Format(
        openai_chat_api.read,
        openai_chat_api.write,
        lambda head, usage: openai_chat_api.StreamWriter(head, usage=usage),
    ),
    Interface.MESSAGES: Format(
        anthropic_api.read,
        anthropic_api.write,
        lambda head, _usage: anthropic_api.StreamWriter(head),
    ),
    Interface.RESPONSES: Format(
        openai_responses_api.read,
        openai_responses_api.write,
        lambda head, _usage: openai_responses_api.StreamWriter(head),
    ),
}


@dataclass(slots=True)
class Translating:
    """One request in our own terms, and its answer in the client's."""

    asked: Asked
    live: AnswerSink
    conversation: api.ConversationAsked
    created: int
    # As `Forwarding` has it.
    leaves_filtered: bool = False
    # Nobody else tells the client of an error.
    has_told: bool = False
    _writer: api.StreamWriter | None = None

    async def __call__(
        self,
        sdk: BaseLLMSDK,
        request: CompletionRequest,
        progress: CallProgress,
    ) -> Completion:
        """Make the call; see `ModelCaller.run`."""
        asked = replace(request, conversation=self.conversation.conversation)
        async with failures_of(sdk, request, progress):
            if self.asked.is_stream:
                await self._stream(sdk, asked, progress)
            else:
                await self._whole(sdk, asked, progress)
        return Completion(progress.text, progress.usage or Usage())

    async def _whole(
        self,
        sdk: BaseLLMSDK,
        request: CompletionRequest,
        progress: CallProgress,
    ) -> None:
        answer = await sdk.converse(request)
        progress.usage = answer.usage
        progress.texts.append(answer.text)
        if self.leaves_filtered and answer.finish in FILTERED_ENDINGS:
            raise withheld(answer.text, answer.usage)
        content = to_json(self._format.write(answer, self._head))
        headers = headers_of(self.asked, _JSON, answer.request_id)
        await self.live.whole(Head(200, headers, len(content)), content)

    async def _stream(
        self,
        sdk: BaseLLMSDK,
        request: CompletionRequest,
        progress: CallProgress,
    ) -> None:
        started = time.perf_counter()
        writer = self._writer = self._format.writer(
            self._head, self.conversation.stream_usage
        )
        async with aclosing(closable(sdk.converse_stream(request))) as events:
            async for event in events:
                if isinstance(event, Begun):
                    headers = headers_of(self.asked, _EVENTS, event.request_id)
                    self.live.begin(Head(200, headers))
                _note(progress, event, started)
                await self.live.put(writer.write(event))

    def error_event(self, problem: Problem) -> bytes:
        """Give the error that ends the stream, which has begun."""
        shown = self.asked.request_id
        if self._writer is None:
            return self.asked.dialect.event(problem, shown)
        return self._writer.fail(problem.told(shown))

    @property
    def _format(self) -> Format:
        return FORMATS[self.asked.interface]

    @property
    def _head(self) -> api.Head:
        return api.Head(self.live.record_id, self.asked.model, self.created)


@dataclass(slots=True)
class Embedding:
    """A request for vectors, in our own terms."""

    asked: Asked
    live: AnswerSink
    texts: openai_embeddings_api.EmbeddingsAsked
    has_told: bool = False

    async def __call__(
        self,
        sdk: BaseLLMSDK,
        request: CompletionRequest,
        progress: CallProgress,
    ) -> Completion:
        """Make the call; see `ModelCaller.run`."""
        transfer = TextEmbedding(self.texts.texts, self.texts.dimensions)
        done = await transfer(sdk, request, progress)
        answer = transfer.answer
        written = openai_embeddings_api.write(
            answer, self.asked.model, self.texts.encoding
        )
        content = to_json(written)
        headers = headers_of(self.asked, _JSON, answer.request_id)
        await self.live.whole(Head(200, headers, len(content)), content)
        return done

    def error_event(self, problem: Problem) -> bytes:
        """Give an error; there are no streams of vectors."""
        return self.asked.dialect.event(problem, self.asked.request_id)


def headers_of(
    asked: Asked, kind: str, request_id: str | None
) -> dict[str, str]:
    """Give an answer's headers, with the id that the vendor's would have."""
    name = asked.dialect.request_id_header
    return {"content-type": kind, name: request_id or asked.request_id}


def texts_of(asked: Asked) -> openai_embeddings_api.EmbeddingsAsked:
    """Read a request for vectors.

    Raises:
        ParameterError: names the field that is wrong or that cannot be
            translated.
    """
    return _read(openai_embeddings_api.read, asked)


def conversation_of(asked: Asked) -> api.ConversationAsked:
    """Read a request in our own terms.

    Raises:
        ParameterError: names the field that is wrong or that cannot be
            translated.
    """
    return _read(FORMATS[asked.interface].read, asked)


def _read(read: Callable[[Mapping[str, Any]], T], asked: Asked) -> T:
    try:
        return read(asked.body)
    except BadRequestError as error:
        raise ParameterError(str(error), error.param) from None


def _note(progress: CallProgress, event: Event, started: float) -> None:
    if isinstance(event, UsageSeen):
        progress.usage = event.usage
        return
    if isinstance(event, TextDelta):
        progress.texts.append(event.text)
    if not isinstance(event, Begun | Ended):
        progress.note_first(time.perf_counter() - started)
