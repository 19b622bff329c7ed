"""One running stream: the provider's pieces on their way to a client.

The provider's call runs in a task of its own. So a client that hangs up
ends it cleanly, and the record is written whatever ends the stream.
"""

import asyncio
import contextlib
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
)
from dataclasses import dataclass, replace

from api.models.metrics import Cost, Metrics
from api.models.model_models import ModelWithKey
from api.services.calls.model_access import plugin_error
from api.services.monitoring.observer import OK, CallEnd
from llm_sdks.base_sdk import BaseLLMSDK, CompletionRequest, StreamItem, Usage
from llm_sdks.errors import (
    CallTimeoutError,
    LLMError,
    ModelUnavailableError,
    PartialAnswerError,
)
from llm_sdks.resilience.model_gate import ModelGate

HUNG_UP = "CLIENT_HUNG_UP"
STOPPED = "SERVICE_STOPPED"
# So many pieces may wait for a slow client before the provider must.
_MOST_PIECES = 64


@dataclass(frozen=True, slots=True)
class StreamError:
    """Why a stream ended early."""

    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """How a stream ended, and what it took; times in seconds."""

    text: str
    usage: Usage
    error: StreamError | None
    time_to_first_token: float | None
    llm_duration: float
    total_duration: float

    def call(self, model: ModelWithKey) -> CallEnd | None:
        """Give the call's end; None if the provider was not called."""
        outcome = OK if self.error is None else self.error.kind
        if outcome == ModelUnavailableError.kind:
            return None
        return CallEnd(
            model,
            outcome,
            self.llm_duration,
            self._counted(model.cost),
            self.time_to_first_token,
        )

    def metrics(self, cost: Cost) -> dict[str, object]:
        """Give the record's metrics."""
        return {
            **self._counted(cost).to_document(),
            "llmDuration": round(self.llm_duration, 6),
            "totalDuration": round(self.total_duration, 6),
            "overheadDuration": round(
                self.total_duration - self.llm_duration, 6
            ),
            "timeToFirstToken": self.time_to_first_token,
        }

    def _counted(self, cost: Cost) -> Metrics:
        return Metrics.of_usage(self.usage, self.llm_duration, cost)


Record = Callable[[StreamEnd], Awaitable[None]]
_END = None


class LiveStream:
    """Pieces of text, as they come; ends with an `end`."""

    def __init__(
        self,
        stream_id: str,
        sdk: BaseLLMSDK,
        gate: ModelGate,
        request: CompletionRequest,
        record: Record,
        received: float,
    ) -> None:
        self.stream_id = stream_id
        self._sdk = sdk
        self._gate = gate
        self._request = request
        self._record = record
        self._received = received
        self._is_recording = False
        # When the provider's call began.
        self._started = time.perf_counter()
        self._pieces: asyncio.Queue[str | None] = asyncio.Queue(_MOST_PIECES)
        self._texts: list[str] = []
        self._stop_reason = StreamError(HUNG_UP, "The client hung up")
        self.end = StreamEnd("", Usage(), None, None, 0.0, 0.0)
        self.task = asyncio.create_task(self._run())

    def stop(self, kind: str, message: str) -> None:
        """End the provider's call; the record says why."""
        self._stop_reason = StreamError(kind, message)
        self.end_call()

    def end_call(self) -> None:
        """End the provider's call; the record is written nevertheless."""
        if not self._is_recording:
            self.task.cancel()

    async def first_piece(self) -> str | None:
        """Wait for the first piece; None if there is none."""
        return await self._pieces.get()

    async def pieces(self, first: str | None) -> AsyncIterator[str]:
        """Yield the first piece and those after it; joins what waits.

        Leaving early, as a server does when its client hangs up, ends the
        provider's call.
        """
        try:
            piece = first
            while piece is not _END:
                yield piece
                piece = await self._pieces.get()
                while piece is not _END and not self._pieces.empty():
                    more = self._pieces.get_nowait()
                    if more is _END:
                        yield piece
                        return
                    piece += more
        finally:
            self.end_call()

    async def _run(self) -> None:
        error = None
        try:
            await self._call()
        except asyncio.CancelledError:
            error = self._stop_reason
        except LLMError as problem:
            error = StreamError(problem.kind, str(problem))
        except Exception as problem:  # noqa: BLE001 - a plug-in's; logged
            found = plugin_error(self._sdk.get_name(), problem)
            error = StreamError(found.kind, str(found))
        # From here on, being stopped once more must not lose the record.
        self._is_recording = True
        now = time.perf_counter()
        self.end = replace(
            self.end,
            text="".join(self._texts),
            error=error,
            llm_duration=now - self._started,
            total_duration=now - self._received,
        )
        await self._record(self.end)
        await self._finish()

    async def _call(self) -> None:
        async with self._gate.passing():
            self._started = time.perf_counter()
            try:
                await self._pull()
            except PartialAnswerError as error:
                self.end = replace(self.end, usage=error.usage)
                raise

    async def _pull(self) -> None:
        seconds = self._request.timeout
        try:
            async with (
                asyncio.timeout(seconds),
                contextlib.aclosing(
                    _generator(self._sdk, self._request)
                ) as items,
            ):
                async for item in items:
                    await self._take(item)
        except TimeoutError:
            raise CallTimeoutError(f"No end within {seconds:g} s") from None

    async def _take(self, item: str | Usage) -> None:
        if isinstance(item, Usage):
            self.end = replace(self.end, usage=item)
            return
        if not item:
            return
        if self.end.time_to_first_token is None:
            elapsed = round(time.perf_counter() - self._started, 6)
            self.end = replace(self.end, time_to_first_token=elapsed)
        self._texts.append(item)
        await self._pieces.put(item)

    async def _finish(self) -> None:
        if self.end.error is not None and self.end.error.kind == HUNG_UP:
            return  # nobody reads any more
        await self._pieces.put(_END)


def _generator(
    sdk: BaseLLMSDK, request: CompletionRequest
) -> AsyncGenerator[StreamItem]:
    # Closing it early ends the provider's call. A plug-in's `astream` is a
    # generator function; the base class promises only an iterator.
    items = sdk.astream(request)
    if isinstance(items, AsyncGenerator):
        return items

    async def wrapped() -> AsyncGenerator[StreamItem]:
        async for item in items:
            yield item

    return wrapped()
