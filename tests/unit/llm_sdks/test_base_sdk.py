import asyncio
import contextlib
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from llm_sdks.base_sdk import (
    BaseLLMSDK,
    Completion,
    CompletionRequest,
    LLMConfig,
    StreamItem,
    Usage,
)
from tests.support.paths import ROOT
from tests.support.samples import becomes
from tests.support.waiting import eventually

REQUEST = CompletionRequest(LLMConfig("m"), "system", "user", 0.5, 10.0)

# A process whose plug-in never comes back.
HANGING = """
import asyncio, sys, threading
from llm_sdks.base_sdk import *

class Hanging(BaseLLMSDK):
    @classmethod
    def get_name(cls): return "hanging"
    def validate_config(self, config): pass
    def complete(self, request): threading.Event().wait()
    def stream(self, request):
        yield "first"
        threading.Event().wait()

async def main():
    sdk, request = Hanging(), CompletionRequest(LLMConfig("m"), "", "", 0, 1)
    async def read():
        return [item async for item in sdk.astream(request)]
    call = read() if sys.argv[1] == "stream" else sdk.acomplete(request)
    try:
        await asyncio.wait_for(call, 0.2)
    except TimeoutError:
        print("gave up", flush=True)

asyncio.run(main())
"""


class Plain(BaseLLMSDK):
    """A plug-in as a third party writes it: four plain methods."""

    def __init__(
        self,
        complete: Callable[[CompletionRequest], Completion] | None = None,
        stream: Callable[[CompletionRequest], Iterator[StreamItem]]
        | None = None,
    ) -> None:
        self._complete = complete
        self._stream = stream

    @classmethod
    def get_name(cls) -> str:
        return "plain"

    def validate_config(self, config: LLMConfig) -> None:
        """Take any settings."""

    def complete(self, request: CompletionRequest) -> Completion:
        assert self._complete is not None
        return self._complete(request)

    def stream(self, request: CompletionRequest) -> Iterator[StreamItem]:
        assert self._stream is not None
        return self._stream(request)


def raising(error: BaseException) -> Callable[[CompletionRequest], Completion]:
    def complete(_request: CompletionRequest) -> Completion:
        raise error

    return complete


async def collected(sdk: Plain) -> list[StreamItem]:
    return [item async for item in sdk.astream(REQUEST)]


@pytest.fixture
async def complaints() -> AsyncIterator[list[str]]:
    """What goes wrong in the loop or in a thread behind one's back."""
    found: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: found.append(str(context)))
    before = threading.excepthook
    threading.excepthook = lambda args: found.append(str(args))
    yield found
    threading.excepthook = before


async def test_a_call_gets_the_request_and_gives_the_answer() -> None:
    asked: list[CompletionRequest] = []

    def complete(request: CompletionRequest) -> Completion:
        asked.append(request)
        return Completion("yes", Usage(1, 2), "stop")

    answer = await Plain(complete).acomplete(REQUEST)
    assert answer == Completion("yes", Usage(1, 2), "stop")
    assert asked == [REQUEST]


async def test_calls_run_in_threads_of_their_own_at_once() -> None:
    together = threading.Barrier(20, timeout=20)
    threads: set[threading.Thread] = set()

    def complete(_request: CompletionRequest) -> Completion:
        # None of them gets past this before all are here.
        together.wait()
        threads.add(threading.current_thread())
        return Completion("yes")

    sdk = Plain(complete)
    calls = [sdk.acomplete(REQUEST) for _ in range(20)]
    answers = await asyncio.gather(*calls)
    assert answers == [Completion("yes")] * 20
    assert len(threads) == 20
    assert threading.main_thread() not in threads
    assert all(thread.daemon for thread in threads)


async def test_the_loop_runs_on_while_a_plug_in_blocks() -> None:
    released = threading.Event()

    def complete(_request: CompletionRequest) -> Completion:
        assert released.wait(20)
        return Completion("yes")

    call = asyncio.create_task(Plain(complete).acomplete(REQUEST))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not call.done()
    released.set()
    assert await call == Completion("yes")


@pytest.mark.parametrize(
    "error", [ValueError("x"), KeyError("x"), TimeoutError(), OSError(5, "x")]
)
async def test_what_a_call_raises_is_passed_on(error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        await Plain(raising(error)).acomplete(REQUEST)
    assert raised.value is error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (StopIteration("x"), "StopIteration: x"),
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt: "),
        (GeneratorExit(), "GeneratorExit: "),
        (asyncio.CancelledError(), "CancelledError: "),
    ],
)
async def test_what_a_future_cannot_hold_becomes_an_error_that_it_can(
    error: BaseException, message: str
) -> None:
    with pytest.raises(RuntimeError) as raised:
        await Plain(raising(error)).acomplete(REQUEST)
    assert str(raised.value) == message


async def test_a_stream_gives_its_items_in_order() -> None:
    items: list[StreamItem] = [*map(str, range(50)), "", Usage(1, 2)]
    assert await collected(Plain(stream=lambda _: iter(items))) == items


async def test_an_empty_stream_ends_at_once() -> None:
    assert await collected(Plain(stream=lambda _: iter(()))) == []


async def test_a_stream_is_read_no_faster_than_it_is_wanted() -> None:
    made: list[int] = []

    def stream(_request: CompletionRequest) -> Iterator[StreamItem]:
        for number in range(10):
            made.append(number)
            yield str(number)

    items = Plain(stream=stream).astream(REQUEST)
    assert made == []
    assert await anext(items) == "0"
    assert await anext(items) == "1"
    assert made == [0, 1]


async def test_what_a_stream_raises_comes_after_what_it_gave() -> None:
    error = ValueError("x")

    def stream(_request: CompletionRequest) -> Iterator[StreamItem]:
        yield "first"
        raise error

    items = Plain(stream=stream).astream(REQUEST)
    assert await anext(items) == "first"
    with pytest.raises(ValueError, match="x") as raised:
        await anext(items)
    assert raised.value is error


@pytest.mark.parametrize("error", [StopIteration("x"), ValueError("x")])
async def test_a_stream_that_cannot_start_raises(error: Exception) -> None:
    def stream(_request: CompletionRequest) -> Iterator[StreamItem]:
        raise error

    with pytest.raises((RuntimeError, ValueError), match="x"):
        await collected(Plain(stream=stream))


async def test_a_reader_that_stops_ends_the_plug_ins_stream() -> None:
    ended = threading.Event()

    def stream(_request: CompletionRequest) -> Iterator[StreamItem]:
        try:
            while True:
                yield "more"
        finally:
            ended.set()

    items = Plain(stream=stream).astream(REQUEST)
    assert await anext(items) == "more"
    assert isinstance(items, AsyncIterator)
    await items.aclose()  # type: ignore[attr-defined]  # a generator
    del items
    await becomes(ended.is_set)


async def test_a_cancelled_call_does_no_harm_when_it_ends(
    complaints: list[str],
) -> None:
    released, ended = threading.Event(), threading.Event()

    def complete(_request: CompletionRequest) -> Completion:
        assert released.wait(20)
        ended.set()
        return Completion("too late")

    call = asyncio.create_task(Plain(complete).acomplete(REQUEST))
    await asyncio.sleep(0)
    call.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await call
    assert call.cancelled()
    released.set()
    await becomes(ended.is_set)
    await becomes(lambda: not plug_in_threads())
    assert complaints == []


def plug_in_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "llm-call"]


def test_a_call_that_ends_after_its_loop_does_no_harm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    released = threading.Event()
    complaints: list[str] = []
    monkeypatch.setattr(
        threading, "excepthook", lambda args: complaints.append(str(args))
    )

    def complete(_request: CompletionRequest) -> Completion:
        assert released.wait(20)
        return Completion("too late")

    async def give_up() -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(Plain(complete).acomplete(REQUEST), 0.01)

    asyncio.run(give_up())
    assert plug_in_threads()
    released.set()
    eventually(lambda: not plug_in_threads(), what="the thread's end")
    assert complaints == []


@pytest.mark.parametrize("how", ["complete", "stream"])
def test_a_plug_in_that_hangs_does_not_keep_the_process(how: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANGING, how],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "gave up\n"), done.stderr


async def test_closing_a_plain_plug_in_needs_nothing() -> None:
    await Plain().aclose()


@pytest.mark.parametrize(
    "method", ["get_name", "validate_config", "complete", "stream"]
)
def test_a_plug_in_must_have_all_four_methods(method: str) -> None:
    methods = {
        name: getattr(Plain, name)
        for name in ("get_name", "validate_config", "complete", "stream")
        if name != method
    }
    incomplete = type("Incomplete", (BaseLLMSDK,), methods)
    with pytest.raises(TypeError, match=method):
        incomplete()


def test_a_plug_in_needs_a_key_unless_it_says_otherwise() -> None:
    assert Plain.needs_key is True


@given(*[st.floats(0, 2)] * 3)
def test_a_temperature_is_brought_into_the_models_range(
    one: float, other: float, temperature: float
) -> None:
    low, high = sorted((one, other))
    config = LLMConfig("m", min_temperature=low, max_temperature=high)
    clamped = config.clamp(temperature)
    assert low <= clamped <= high
    if low <= temperature <= high:
        assert clamped == temperature
    else:
        assert clamped == (low if temperature < low else high)


def test_the_providers_name_of_a_model_is_its_deployment() -> None:
    assert LLMConfig("ours", deployment="theirs").provider_model == "theirs"
    assert LLMConfig("ours").provider_model == "ours"


def test_a_key_does_not_show_in_the_settings() -> None:
    config = LLMConfig("m", api_key=SecretStr("sk-hush"))
    request = CompletionRequest(config, "", "", 0, 1)
    assert "hush" not in f"{config!r} {request!r} {config} {request}"
    assert config.api_key.get_secret_value() == "sk-hush"
