import asyncio
import threading

import pytest

from tests.support.waiting import eventually_so
from utilities.foreign_calls import ForeignCalls, NoAnswerError


async def test_a_call_gives_what_the_function_gives() -> None:
    calls = ForeignCalls()
    thread = await calls.run(threading.current_thread)
    assert thread is not threading.current_thread()
    assert thread.daemon


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (KeyError("x"), KeyError),
        (StopIteration(), RuntimeError),
        (SystemExit(1), RuntimeError),
        (KeyboardInterrupt(), RuntimeError),
    ],
)
async def test_what_it_raises_is_an_error_of_the_call(
    raised: BaseException, kind: type[Exception]
) -> None:
    def fails() -> None:
        raise raised

    with pytest.raises(kind):
        await ForeignCalls().run(fails)


async def test_calls_that_do_not_come_back_are_left_alone() -> None:
    calls = ForeignCalls(seconds=0.01, most_left=2)
    release, made = threading.Event(), []

    def hangs() -> None:
        made.append(1)
        release.wait()

    for _ in range(2):
        with pytest.raises(NoAnswerError, match="not done within"):
            await calls.run(hangs)
    with pytest.raises(NoAnswerError, match="does not come back"):
        await calls.run(hangs)
    assert len(made) <= 2
    release.set()

    async def works() -> bool:
        try:
            return await calls.run(lambda: True)
        except NoAnswerError:
            return False

    await eventually_so(works)


def test_a_call_may_outlive_its_event_loop() -> None:
    release, ended = threading.Event(), threading.Event()

    def hangs() -> None:
        release.wait()
        ended.set()

    with pytest.raises(NoAnswerError):
        asyncio.run(ForeignCalls(seconds=0.01).run(hangs))
    release.set()
    assert ended.wait(20)
