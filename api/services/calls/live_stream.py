"""One running stream: a provider's text on its way to a client.

The provider's call runs in a task of its own. So a client that hangs up
ends it cleanly, and the record is written however the stream ends.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from api.models.metrics import Metrics
from api.models.model_models import ModelWithKey
from api.services.calls.model_call import (
    CallProgress,
    FailedCallError,
    ModelAnswer,
    ModelCall,
    SlowReaderError,
)
from api.services.calls.model_caller import SLOW_READER, ModelCaller
from api.services.calls.routing.routed import RoutedCall
from api.services.calls.stream_buffer import StreamBuffer
from config import MissingModelKeyError

HUNG_UP = "CLIENT_HUNG_UP"
STOPPED = "SERVICE_STOPPED"

_NOTHING = Metrics()
_ALWAYS_KNOWN = frozenset({"duration", "currency"})


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """How much may wait for a reader, and for how long (seconds)."""

    max_characters: int = 64 * 1024
    stall_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class StreamError:
    """Why a stream ended early."""

    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """How a stream ended, and how long it took (seconds)."""

    progress: CallProgress
    error: StreamError | None
    total_duration: float

    def metrics(
        self, model: ModelWithKey, before: Metrics = _NOTHING
    ) -> dict[str, object]:
        """Give the record's metrics; what is not known is None.

        `before` is what calls to other models have cost.
        """
        progress = self.progress
        used = before + progress.metrics(model)
        counted: dict[str, object] = {**used.to_document()}
        if progress.is_uncounted:
            counted |= dict.fromkeys(counted.keys() - _ALWAYS_KNOWN)
        overhead = self.total_duration - progress.seconds
        return {
            **counted,
            "llmDuration": round(progress.seconds, 6),
            "totalDuration": round(self.total_duration, 6),
            "overheadDuration": round(overhead, 6),
            "timeToFirstToken": progress.time_to_first_token,
        }


Record = Callable[[StreamEnd], Awaitable[None]]


class LiveStream:
    """Pieces of text, as they come; has an `end` when they have ended."""

    def __init__(
        self,
        stream_id: str,
        client_id: str,
        caller: ModelCaller,
        call: ModelCall,
        record: Record,
        limits: StreamLimits,
        received: float,
        routed: RoutedCall | None = None,
    ) -> None:
        """Start the call; `received` is when the request came.

        With `routed`, it goes to one of several models.
        """
        self.stream_id = stream_id
        self.client_id = client_id
        self._caller = caller
        self._call = call
        self._routed = routed
        self._record = record
        self._received = received
        self._is_recording = False
        self._buffer = StreamBuffer(
            limits.max_characters, limits.stall_seconds, ""
        )
        self._progress = CallProgress(canceled_as=HUNG_UP)
        self._stop_reason = StreamError(HUNG_UP, "The client hung up")
        self.end = StreamEnd(self._progress, None, 0.0)
        self.task = asyncio.create_task(self._run())

    def stop(self, kind: str, message: str) -> None:
        """End the provider's call; the record says why."""
        self._progress.canceled_as = kind
        self._stop_reason = StreamError(kind, message)
        self.end_call()

    def end_call(self) -> None:
        """End the provider's call; the record is written nevertheless."""
        if not self._is_recording:
            self.task.cancel()

    async def first_piece(self) -> str | None:
        """Wait for the first piece; None if there is none."""
        return await self._buffer.take()

    async def pieces(self, first: str | None) -> AsyncIterator[str]:
        """Yield the first piece and those after it.

        Leaving early, as a server does when its client hangs up, ends the
        provider's call.
        """
        try:
            piece = first
            while piece is not None:
                yield piece
                piece = await self._buffer.take()
        finally:
            self.end_call()

    async def _run(self) -> None:
        error = await self._call_to_the_end()
        # From here on, a second cancellation must not lose the record.
        self._is_recording = True
        total = time.perf_counter() - self._received
        self.end = StreamEnd(self._progress, error, total)
        try:
            await self._record(self.end)
        finally:
            self._buffer.close()

    @property
    def model_name(self) -> str:
        """The model that was called last."""
        routed = self._routed
        return (self._call if routed is None else routed).model.name

    async def _answer(self) -> ModelAnswer:
        if self._routed is None:
            return await self._stream(self._call)
        return await self._routed.run(
            lambda target: self._stream(target.call(self._call)),
            self._progress,
        )

    async def _stream(self, call: ModelCall) -> ModelAnswer:
        return await self._caller.stream(
            call, self._buffer.put, self._progress
        )

    async def _call_to_the_end(self) -> StreamError | None:
        try:
            answer = await self._answer()
        except asyncio.CancelledError:
            return self._stop_reason
        except SlowReaderError as error:
            return StreamError(SLOW_READER, str(error))
        except FailedCallError as failed:
            return StreamError(failed.error.kind, str(failed.error))
        except MissingModelKeyError as error:
            return StreamError(error.kind, str(error))
        if answer.cut is not None:
            return StreamError(answer.cut.kind, str(answer.cut))
        return None
