import asyncio
import time
from collections.abc import Iterator

import pytest

from utilities.limited import (
    CallFailedError,
    LimitedCalls,
    LimitExceededError,
)


@pytest.fixture
def calls() -> Iterator[LimitedCalls]:
    limited = LimitedCalls(seconds=1.0, memory_bytes=1 << 29, processes=1)
    yield limited
    limited.close()


async def test_a_call_gives_what_the_function_gives(
    calls: LimitedCalls,
) -> None:
    assert await calls.run("operator:add", 20, 22) == 42


async def test_a_value_error_comes_back(calls: LimitedCalls) -> None:
    with pytest.raises(CallFailedError, match="invalid literal") as failed:
        await calls.run("builtins:int", "x")
    assert failed.value.kind == "ValueError"


@pytest.mark.parametrize(
    ("function", "argument"),
    [
        pytest.param("time:sleep", 60, id="time"),
        pytest.param("builtins:bytearray", 1 << 33, id="memory"),
        pytest.param("os:_exit", 3, id="crash"),
    ],
)
async def test_one_call_that_is_ended_takes_no_other_with_it(
    calls: LimitedCalls, function: str, argument: int
) -> None:
    first = await calls.run("os:getpid")
    with pytest.raises(LimitExceededError):
        await calls.run(function, argument)
    assert await calls.run("os:getpid") != first


async def test_the_loop_runs_on_meanwhile(calls: LimitedCalls) -> None:
    await calls.run("os:getpid")
    task = asyncio.create_task(calls.run("time:sleep", 0.5))
    turns = 0
    while not task.done():
        await asyncio.sleep(0.01)
        turns += 1
    assert turns > 5


async def test_a_cancelled_task_gets_its_value_all_the_same(
    calls: LimitedCalls,
) -> None:
    task = asyncio.create_task(calls.run("time:sleep", 0.3))
    for _ in range(3):
        await asyncio.sleep(0.02)
        task.cancel()
    assert await task is None


async def test_what_waits_too_long_is_given_up(
    calls: LimitedCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("utilities.limited._QUEUE_SECONDS", 0.2)
    busy = asyncio.create_task(calls.run("time:sleep", 0.9))
    await asyncio.sleep(0.05)
    started = time.monotonic()
    with pytest.raises(LimitExceededError, match="waiting"):
        await calls.run("os:getpid")
    assert time.monotonic() - started < 5
    with pytest.raises(LimitExceededError):
        await busy
