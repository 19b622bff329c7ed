"""What a call to any provider goes through; a plug-in adds its format."""

import asyncio
from abc import abstractmethod
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Iterator,
    Mapping,
)
from contextlib import aclosing
from typing import Any, ClassVar, Self, TypeVar

import structlog

from llm_sdks import errors
from llm_sdks.answers import Answer, Event
from llm_sdks.base_sdk import (
    BaseLLMSDK,
    Completion,
    CompletionRequest,
    EmbeddingRequest,
    Embeddings,
    LLMConfig,
    StreamItem,
    Usage,
)
from llm_sdks.errors import CannotConnectError
from llm_sdks.formats import embeddings, failures
from llm_sdks.formats.allowances import tell
from llm_sdks.formats.answer_reader import AnswerReader, Reader
from llm_sdks.formats.conversation_reader import ConversationReader
from llm_sdks.formats.embeddings import EmbeddingForm
from llm_sdks.formats.reading import Part
from llm_sdks.formats.rendering import Render, complete_only
from llm_sdks.formats.sse import EventReader, json_events
from llm_sdks.formats.typed_events import Typed
from llm_sdks.forwards import Forwards
from llm_sdks.profiles.learnt import LearntProfiles
from llm_sdks.profiles.profile import EVERYTHING, NOTHING, Profile
from llm_sdks.profiles.refusals import Negotiation
from llm_sdks.wires import blocking
from llm_sdks.wires.clients import Clients
from llm_sdks.wires.pacing import in_time
from llm_sdks.wires.wire import (
    Call,
    Json,
    Kind,
    Reply,
    Stream,
    Wire,
)

T = TypeVar("T")

log = structlog.get_logger(__name__)


class ProviderSDK(Forwards, BaseLLMSDK):
    """A provider behind its vendor's asynchronous library.

    An instance keeps one client for each endpoint and credential. An option
    that a provider refuses is left out, or said otherwise, and the call is
    made again at once; what was learnt is kept for all calls to that model.
    """

    # The module that imports the vendor's library; imported by a first call.
    client_module: ClassVar[str]
    keeps_time = True
    # What is known of all models of this format.
    profile: ClassVar[Profile] = EVERYTHING
    # What the provider calls an answer, for error messages.
    answer_name = "chat completion"
    # How embeddings are asked for, where there are any.
    embeddings: ClassVar[EmbeddingForm | None] = None
    # The headers that carry a call's idempotency key. Gateways know the
    # first even where the provider behind them promises nothing.
    key_headers: ClassVar[tuple[str, ...]] = ("Idempotency-Key",)

    def __init__(self, learnt: LearntProfiles | None = None) -> None:
        self._clients = Clients(self.client_module, self.get_name())
        self._learnt = LearntProfiles() if learnt is None else learnt

    def share(self, learnt: LearntProfiles) -> None:
        """Learn together with the other instances of this process."""
        self._learnt = learnt

    @abstractmethod
    def body(self, request: CompletionRequest, profile: Profile) -> Json:
        """Give a call's body, of what the model supports.

        Raises:
            ConfigurationError: names what it does not support.
        """

    def streaming_body(
        self, request: CompletionRequest, profile: Profile
    ) -> Json:
        """Give the body of a call whose answer is to be streamed."""
        return {**self.body(request, profile), "stream": True}

    @abstractmethod
    def whole(self, answer: Any) -> Part:  # noqa: ANN401 - a provider's JSON
        """Read a whole answer; may raise any of `WRONG_SHAPE`."""

    @abstractmethod
    def part(self, event: Any) -> Part:  # noqa: ANN401 - a provider's JSON
        """Read one event of a stream; may raise any of `WRONG_SHAPE`."""

    @abstractmethod
    def typed(self) -> Typed:
        """Give what reads the events of one answer."""

    @abstractmethod
    def usage(self, counts: Mapping[str, Any]) -> Usage:
        """Bring the provider's own counts into our definition."""

    def headers(self, body: Json) -> Mapping[str, str]:  # noqa: ARG002 - for those who need it
        """Give further headers that a body needs."""
        return {}

    async def acomplete(self, request: CompletionRequest) -> Completion:
        """Return the whole answer."""
        return await self._ask(request, self.body, self._reader)

    def astream(
        self, request: CompletionRequest
    ) -> AsyncGenerator[StreamItem]:
        """Yield the answer as it comes."""
        return self._read(request, self.streaming_body, self._reader)

    async def converse(self, request: CompletionRequest) -> Answer:
        """Return the whole answer, typed."""
        render = complete_only(self.body)
        return await self._ask(request, render, self._typed_reader)

    def converse_stream(
        self, request: CompletionRequest
    ) -> AsyncGenerator[Event]:
        """Yield the answer as it comes, typed."""
        render = complete_only(self.streaming_body)
        return self._read(request, render, self._typed_reader)

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        """Return a vector for each text, where the provider has them."""
        form = self.embeddings
        if form is None:
            return await super().embed(request)

        async def send(body: Json) -> Reply:
            wire = await self._wire(request)
            return await wire.ask(self._call(request, body, "embeddings"))

        try:
            async with asyncio.timeout(request.timeout):
                return await embeddings.ask(form, request, send)
        except TimeoutError:
            raise failures.timed_out() from None

    async def _read(
        self,
        request: CompletionRequest,
        render: Render,
        reader_of: Callable[
            [CompletionRequest, Mapping[str, str]], Reader[Any, T]
        ],
    ) -> AsyncGenerator[T]:
        until = asyncio.get_running_loop().time() + request.timeout
        stream = await self._open(request, until, render)
        reader, events = reader_of(request, stream.headers), EventReader()
        with reader.keeping():
            async with (
                aclosing(in_time(stream.chunks, until, request)) as received,
                aclosing(_until_whole(received, reader)) as chunks,
                aclosing(json_events(chunks, events)) as values,
            ):
                async for value in values:
                    for item in reader.take(value):
                        yield item
            for item in reader.end(is_done=events.is_done):
                yield item

    def complete(self, request: CompletionRequest) -> Completion:
        """Return the whole answer; blocks."""

        async def call() -> Completion:
            async with aclosing(self._twin()) as twin:
                return await twin.acomplete(request)

        return asyncio.run(call())

    def stream(self, request: CompletionRequest) -> Iterator[StreamItem]:
        """Yield the answer as it comes; blocks."""

        async def items() -> AsyncGenerator[StreamItem]:
            async with (
                aclosing(self._twin()) as twin,
                aclosing(twin.astream(request)) as parts,
            ):
                async for item in parts:
                    yield item

        return blocking.iterate(items)

    async def aclose(self) -> None:
        """Close every client."""
        await self._clients.close()
        passing, self._passing = self._passing, None
        if passing is not None:
            await passing.close()

    def _twin(self) -> Self:
        # Clients belong to one event loop; what was learnt belongs to all.
        return type(self)(self._learnt)

    async def _ask(
        self,
        request: CompletionRequest,
        render: Render,
        reader_of: Callable[
            [CompletionRequest, Mapping[str, str]], Reader[T, Any]
        ],
    ) -> T:
        async def send(body: Json) -> T:
            reply = await wire.ask(self._call(request, body))
            reader = reader_of(request, reply.headers)
            return reader.whole(reply.content, reply.status)

        try:
            async with asyncio.timeout(request.timeout):
                wire = await self._wire(request)
                return await self._negotiated(request, render, send)
        except TimeoutError:
            raise failures.timed_out() from None

    async def _open(
        self, request: CompletionRequest, until: float, render: Render
    ) -> Stream:
        async def send(body: Json) -> Stream:
            return await wire.open(self._call(request, body))

        try:
            async with asyncio.timeout_at(until):
                wire = await self._wire(request)
                return await self._negotiated(request, render, send)
        except TimeoutError:
            raise failures.timed_out() from None

    async def _negotiated(
        self,
        request: CompletionRequest,
        render: Render,
        send: Callable[[Json], Awaitable[T]],
    ) -> T:
        """Send a request, again without what the provider refuses of it."""
        config = request.config
        profile = self._learnt.whole(config, self.profile)
        body = render(request, profile)
        negotiation: Negotiation | None = None
        while True:
            try:
                answer = await send(body)
            except errors.PartialAnswerError:
                # The provider took every option.
                self._learn(config, negotiation)
                raise
            except errors.BadRequestError as error:
                negotiation = negotiation or self._negotiation(config, profile)
                before = body
                if not negotiation.refused(error, body):
                    raise
                body = render(request, negotiation.profile)
                if body == before and not negotiation.repeats:
                    raise
            else:
                self._learn(config, negotiation)
                return answer

    def _negotiation(self, config: LLMConfig, profile: Profile) -> Negotiation:
        return Negotiation(
            profile,
            lambda pending: self._learnt.with_pending(
                config, self.profile, pending
            ),
        )

    def _learn(
        self, config: LLMConfig, negotiation: Negotiation | None
    ) -> None:
        if negotiation is None or negotiation.pending == NOTHING:
            return
        if self._learnt.learn(config, negotiation.pending):
            log.info(
                "options_refused",
                modelId=config.model_id,
                model=config.name,
                learnt=negotiation.pending.known(),
            )

    def _call(
        self,
        request: CompletionRequest | EmbeddingRequest,
        body: Json,
        kind: Kind = "answer",
    ) -> Call:
        headers = dict(self.headers(body))
        key = request.idempotency_key or ""
        if key.isascii() and key.isprintable() and key:
            headers |= dict.fromkeys(self.key_headers, key)
        if request.config.agent:
            headers["User-Agent"] = request.config.agent
        return Call(
            request.config.provider_model,
            body,
            headers,
            request.timeout,
            min(request.connect_timeout, request.timeout),
            min(request.read_timeout, request.timeout),
            kind,
        )

    def _reader(
        self, request: CompletionRequest, headers: Mapping[str, str]
    ) -> AnswerReader:
        tell(headers)
        key = request.config.api_key.get_secret_value()
        return AnswerReader(self, key, headers)

    def _typed_reader(
        self, request: CompletionRequest, headers: Mapping[str, str]
    ) -> ConversationReader:
        tell(headers)
        key = request.config.api_key.get_secret_value()
        return ConversationReader(self, self.typed(), key, headers)

    async def aprepare(self, request: CompletionRequest) -> None:
        """Import the provider's library, and connect to it."""
        await self._wire(request)

    async def _wire(
        self, request: CompletionRequest | EmbeddingRequest
    ) -> Wire:
        return await self._clients.of(request.config, request.connect_timeout)


async def _until_whole(
    chunks: AsyncGenerator[bytes], reader: Reader[Any, Any]
) -> AsyncGenerator[bytes]:
    """Yield what comes; a connection may break once the answer has ended."""
    try:
        async for chunk in chunks:
            yield chunk
    except CannotConnectError:
        if not reader.has_ended:
            raise
