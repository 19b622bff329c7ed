"""What a call to any provider goes through; a plug-in adds its format."""

import asyncio
import importlib
from abc import abstractmethod
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Iterator,
    Mapping,
)
from contextlib import aclosing
from typing import Any, ClassVar, Self, TypeVar, cast

from llm_sdks.base_sdk import (
    BaseLLMSDK,
    Completion,
    CompletionRequest,
    StreamItem,
    Usage,
    in_daemon_thread,
)
from llm_sdks.errors import CannotConnectError, ConfigurationError
from llm_sdks.formats import failures
from llm_sdks.formats.answer_reader import AnswerReader
from llm_sdks.formats.reading import Part
from llm_sdks.formats.sse import EventReader, json_events
from llm_sdks.wires import blocking
from llm_sdks.wires.wire import (
    Call,
    ClientModule,
    Json,
    Reply,
    Stream,
    Wire,
)

T = TypeVar("T")


class ProviderSDK(BaseLLMSDK):
    """A provider behind its vendor's asynchronous library.

    An instance keeps one client an endpoint and credential, and learns
    which models take no temperature.
    """

    # The module that imports the vendor's library; imported by a first call.
    client_module: ClassVar[str]
    # What the provider calls an answer, for error messages.
    answer_name = "chat completion"
    # The headers that carry a call's idempotency key. Gateways know the
    # first even where the provider behind them promises nothing.
    key_headers: ClassVar[tuple[str, ...]] = ("Idempotency-Key",)

    def __init__(
        self, without_temperature: set[tuple[str, str]] | None = None
    ) -> None:
        self._wires: dict[tuple[str, str, str], Wire] = {}
        self._loading = asyncio.Lock()
        self._without_temperature = (
            set() if without_temperature is None else without_temperature
        )

    @abstractmethod
    def body(
        self, request: CompletionRequest, temperature: float | None
    ) -> Json:
        """Give a call's body; a temperature of None is left out."""

    def streaming_body(
        self, request: CompletionRequest, temperature: float | None
    ) -> Json:
        """Give the body of a call whose answer is to be streamed."""
        return {**self.body(request, temperature), "stream": True}

    @abstractmethod
    def whole(self, answer: Any) -> Part:  # noqa: ANN401 - a provider's JSON
        """Read a whole answer; may raise any of `WRONG_SHAPE`."""

    @abstractmethod
    def part(self, event: Any) -> Part:  # noqa: ANN401 - a provider's JSON
        """Read one event of a stream; may raise any of `WRONG_SHAPE`."""

    @abstractmethod
    def usage(self, counts: Mapping[str, Any]) -> Usage:
        """Bring the provider's own counts into our definition."""

    def headers(self, body: Json) -> Mapping[str, str]:  # noqa: ARG002 - for those who need it
        """Give further headers that a body needs."""
        return {}

    async def acomplete(self, request: CompletionRequest) -> Completion:
        """Return the whole answer."""
        try:
            async with asyncio.timeout(request.timeout):
                reply = await self._ask(request)
        except TimeoutError:
            raise failures.timed_out() from None
        reader = self._reader(request, reply.headers)
        return reader.whole(reply.content, reply.status)

    async def astream(
        self, request: CompletionRequest
    ) -> AsyncGenerator[StreamItem]:
        """Yield the answer as it comes."""
        until = asyncio.get_running_loop().time() + request.timeout
        stream = await self._open(request, until)
        reader, events = self._reader(request, stream.headers), EventReader()
        with reader.keeping():
            async with (
                aclosing(_in_time(stream.chunks, until, request)) as received,
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
        wires = list(self._wires.values())
        self._wires.clear()
        for wire in wires:
            await wire.close()

    def _twin(self) -> Self:
        # Clients belong to one event loop; what was learnt belongs to all.
        return type(self)(self._without_temperature)

    async def _ask(self, request: CompletionRequest) -> Reply:
        wire = await self._wire(request)

        async def send(temperature: float | None) -> Reply:
            body = self.body(request, temperature)
            return await wire.ask(self._call(request, body))

        return await self._unless_refused(request, send)

    async def _open(self, request: CompletionRequest, until: float) -> Stream:
        async def send(temperature: float | None) -> Stream:
            body = self.streaming_body(request, temperature)
            return await wire.open(self._call(request, body))

        try:
            async with asyncio.timeout_at(until):
                wire = await self._wire(request)
                return await self._unless_refused(request, send)
        except TimeoutError:
            raise failures.timed_out() from None

    async def _unless_refused(
        self,
        request: CompletionRequest,
        send: Callable[[float | None], Awaitable[T]],
    ) -> T:
        """Send a temperature until a model says that it takes none."""
        model = request.config.endpoint, request.config.provider_model
        if model in self._without_temperature:
            return await send(None)
        try:
            return await send(request.config.clamp(request.temperature))
        except failures.TemperatureRefusedError:
            self._without_temperature.add(model)
        return await send(None)

    def _call(self, request: CompletionRequest, body: Json) -> Call:
        headers = dict(self.headers(body))
        key = request.idempotency_key or ""
        if key.isascii() and key.isprintable() and key:
            headers |= dict.fromkeys(self.key_headers, key)
        return Call(
            request.config.provider_model,
            body,
            headers,
            request.timeout,
            min(request.connect_timeout, request.timeout),
            min(request.read_timeout, request.timeout),
        )

    def _reader(
        self, request: CompletionRequest, headers: Mapping[str, str]
    ) -> AnswerReader:
        key = request.config.api_key.get_secret_value()
        return AnswerReader(self, key, headers)

    async def _wire(self, request: CompletionRequest) -> Wire:
        config = request.config
        identity = (
            config.endpoint,
            config.api_key.get_secret_value(),
            config.api_version,
        )
        if identity not in self._wires:
            async with self._loading:
                module = await self._load()
                if identity not in self._wires:
                    self._wires[identity] = module.connect(
                        config, request.connect_timeout
                    )
        return self._wires[identity]

    async def _load(self) -> ClientModule:
        # In a thread: an import of seconds must not block the event loop.
        try:
            module = await in_daemon_thread(
                lambda: importlib.import_module(self.client_module)
            )
        except ImportError as error:
            raise ConfigurationError(
                f"The library of {self.get_name()} cannot be used: {error}"
            ) from error
        return cast("ClientModule", module)


async def _until_whole(
    chunks: AsyncGenerator[bytes], reader: AnswerReader
) -> AsyncGenerator[bytes]:
    """Yield what comes; a connection may break once the answer has ended."""
    try:
        async for chunk in chunks:
            yield chunk
    except CannotConnectError:
        if not reader.has_ended:
            raise


async def _in_time(
    chunks: AsyncGenerator[bytes], until: float, request: CompletionRequest
) -> AsyncGenerator[bytes]:
    """Yield what comes, as long as it comes in time."""
    loop = asyncio.get_running_loop()
    async with aclosing(chunks):
        while True:
            due = min(until, loop.time() + request.read_timeout)
            try:
                async with asyncio.timeout_at(due):
                    chunk = await anext(chunks, None)
            except TimeoutError:
                raise failures.timed_out() from None
            if chunk is None:
                return
            yield chunk
