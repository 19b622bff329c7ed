"""Streams as their reader meets them, over scripted plug-ins."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import Any, cast

import pytest
from pydantic import SecretStr

from api.models.model_models import ModelWithKey
from api.services.calls.live_stream import (
    HUNG_UP,
    LiveStream,
    StreamEnd,
    StreamLimits,
)
from api.services.calls.model_access import ModelAccess
from api.services.calls.model_call import ModelCall
from api.services.calls.model_caller import SLOW_READER, ModelCaller
from api.services.monitoring.observer import CallEnd, Observer
from config import ModelKeys
from llm_sdks.base_sdk import (
    BaseLLMSDK,
    Completion,
    CompletionRequest,
    LLMConfig,
    StreamItem,
    Usage,
)
from llm_sdks.errors import LLMError, ProviderError, TruncatedError
from llm_sdks.registry import SdkRegistry
from llm_sdks.resilience.model_gate import ModelGate, ModelGates

Script = Callable[[], AsyncGenerator[StreamItem]]
QUICK = StreamLimits(max_characters=8, stall_seconds=0.02)
PATIENT = StreamLimits(max_characters=8, stall_seconds=3600)


class Seen(Observer):
    """Keeps how calls ended."""

    def __init__(self) -> None:
        self.calls: list[CallEnd] = []

    def call_ended(self, call: CallEnd) -> None:
        self.calls.append(call)


class Bench:
    """One model whose plug-in streams what a test says; `now` is its time."""

    def __init__(self, model: ModelWithKey) -> None:
        self.model = model
        self.observer = Seen()
        self.gates = ModelGates()
        self.ends: list[StreamEnd] = []
        self.now = 0.0

    def stream(
        self, script: Script, limits: StreamLimits = PATIENT
    ) -> LiveStream:
        access = ModelAccess(
            SdkRegistry([_plugin(script)]),
            ModelKeys({}),
            self.gates,
            timeout_seconds=3600,
        )
        caller = ModelCaller(
            access, observer=self.observer, timer=lambda: self.now
        )
        call = ModelCall(self.model, "", "hi", 0.0)
        return LiveStream(
            "id", "client", caller, call, self._record, limits, 0.0
        )

    async def _record(self, end: StreamEnd) -> None:
        self.ends.append(end)

    @property
    def end(self) -> StreamEnd:
        (end,) = self.ends
        return end

    @property
    def outcome(self) -> str:
        (call,) = self.observer.calls
        return call.outcome

    @property
    def gate(self) -> ModelGate:
        (gate,) = self.gates.all().values()
        return gate


def _plugin(script: Script) -> type[BaseLLMSDK]:
    class Streaming(BaseLLMSDK):
        needs_key = False

        @classmethod
        def get_name(cls) -> str:
            return "streaming"

        def validate_config(self, config: LLMConfig) -> None:
            assert config.api_key == SecretStr("")

        def complete(self, request: CompletionRequest) -> Completion:
            raise NotImplementedError

        def stream(self, request: CompletionRequest) -> Iterator[StreamItem]:
            raise NotImplementedError

        async def astream(
            self, request: CompletionRequest
        ) -> AsyncGenerator[StreamItem]:
            assert request.user == "hi"
            async with aclosing(script()) as items:
                async for item in items:
                    yield item

    return Streaming


@pytest.fixture
def bench() -> Bench:
    fields: dict[str, Any] = {
        "_id": "665f1c2ab7e4d90012345678",
        "name": "m",
        "sdk": "streaming",
        "key": "NONE",
        "maxToken": 1,
        "minTemperature": 0,
        "maxTemperature": 2,
        "cost": {"tokens": 1, "currency": "USD", "input": 1, "output": 2},
        "_metadata": {
            "createdAt": "2026-01-01T00:00:00Z",
            "updatedAt": "2026-01-01T00:00:00Z",
        },
    }
    return Bench(ModelWithKey.from_document(fields))


async def text_of(live: LiveStream) -> str:
    first = await live.first_piece()
    return "".join([piece async for piece in live.pieces(first)])


async def test_a_stream_is_counted_and_priced(bench: Bench) -> None:
    async def script() -> AsyncGenerator[StreamItem]:
        yield "Hello "
        yield "you"
        yield Usage(3, 2)

    assert await text_of(bench.stream(script)) == "Hello you"
    assert bench.end.error is None
    metrics = bench.end.metrics(bench.model)
    assert (metrics["inputTokens"], metrics["outputTokens"]) == (3, 2)
    assert metrics["totalCost"] == 7
    assert bench.outcome == "ok"


async def test_a_stream_that_breaks_costs_what_was_told(bench: Bench) -> None:
    async def script() -> AsyncGenerator[StreamItem]:
        yield Usage(25, 1)
        yield "Hel"
        raise ProviderError("broken")

    assert await text_of(bench.stream(script)) == "Hel"
    assert bench.end.error is not None
    assert bench.end.error.kind == "PROVIDER_ERROR"
    assert bench.end.metrics(bench.model)["inputCost"] == 25
    assert bench.observer.calls[0].metrics.input_tokens == 25


async def test_tokens_that_were_not_told_are_unknown(bench: Bench) -> None:
    async def script() -> AsyncGenerator[StreamItem]:
        yield "Hello"

    await text_of(bench.stream(script))
    metrics = bench.end.metrics(bench.model)
    assert metrics["inputTokens"] is None
    assert metrics["totalCost"] is None
    assert metrics["duration"] is not None


async def test_a_reader_that_stops_is_not_the_providers_fault(
    bench: Bench,
) -> None:
    closed = asyncio.Event()

    async def script() -> AsyncGenerator[StreamItem]:
        try:
            for _ in range(100):
                yield "12345678"
        finally:
            closed.set()

    live = bench.stream(script, QUICK)
    await live.task
    assert closed.is_set()
    assert bench.end.error is not None
    assert bench.end.error.kind == SLOW_READER == bench.outcome
    state = bench.gate.state()
    assert (state.failures_in_a_row, state.running) == (0, 0)
    # What had come is still there for a reader that wakes up.
    assert await text_of(live) == "12345678"


async def test_a_failure_after_long_waits_for_the_reader_is_the_readers(
    bench: Bench,
) -> None:
    async def script() -> AsyncGenerator[StreamItem]:
        yield "12345678"
        yield "12345678"
        raise ProviderError("we were reset by the provider")

    live = bench.stream(script)
    while len(live.end.progress.texts) < 2:  # noqa: ASYNC110 - no event tells
        await asyncio.sleep(0)
    bench.now += 10.0
    await text_of(live)
    assert bench.end.error is not None
    assert bench.end.error.kind == SLOW_READER


async def test_hanging_up_ends_the_call_and_counts_it(bench: Bench) -> None:
    async def script() -> AsyncGenerator[StreamItem]:
        yield Usage(25, 0)
        yield "Hello"
        await asyncio.Event().wait()

    live = bench.stream(script)
    pieces = cast("Any", live.pieces(await live.first_piece()))
    assert await anext(pieces) == "Hello"
    await pieces.aclose()
    await live.task
    assert bench.end.error is not None
    assert bench.end.error.kind == HUNG_UP == bench.outcome
    assert bench.end.metrics(bench.model)["inputTokens"] == 25


async def test_no_task_outlives_a_reader_that_left(bench: Bench) -> None:
    async def script() -> AsyncGenerator[StreamItem]:
        yield "12345678"

    live = bench.stream(script)
    # The provider has ended, the buffer is full, and nobody reads.
    await asyncio.wait_for(live.task, 5)
    assert bench.end.error is None


@pytest.mark.parametrize("kind", [HUNG_UP, "CLIENT_DISABLED"])
async def test_the_record_says_who_stopped_it(bench: Bench, kind: str) -> None:
    async def script() -> AsyncGenerator[StreamItem]:
        yield "Hello"
        await asyncio.Event().wait()

    live = bench.stream(script)
    await live.first_piece()
    live.stop(kind, "stopped")
    await live.task
    assert bench.end.error is not None
    assert bench.end.error.kind == kind == bench.outcome


async def test_a_cut_answer_keeps_its_text_and_usage(bench: Bench) -> None:
    async def script() -> AsyncGenerator[StreamItem]:
        yield "Hel"
        raise TruncatedError("cut", partial_text="Hel", usage=Usage(1, 1))

    assert await text_of(bench.stream(script)) == "Hel"
    assert bench.end.error is not None
    assert bench.end.error.kind == TruncatedError.kind
    assert bench.end.metrics(bench.model)["totalTokens"] == 2


async def test_whatever_a_plug_in_raises_ends_its_stream(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "api.services.calls.failures.plugin_error",
        lambda name, _error: LLMError(f"{name} failed"),
    )

    async def script() -> AsyncGenerator[StreamItem]:
        yield "Hel"
        raise RuntimeError("a defect")

    assert await text_of(bench.stream(script)) == "Hel"
    assert bench.end.error is not None
    assert bench.end.error.message == "streaming failed"
