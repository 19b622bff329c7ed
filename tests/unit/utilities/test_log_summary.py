import asyncio

from utilities.log_summary import LogSummary


class Timer:
    """Seconds, which pass when the test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_first_is_told_at_once_and_the_others_with_the_next() -> None:
    timer, told = Timer(), list[int]()
    summary = LogSummary(timer=timer)
    for _ in range(1000):
        summary.tell("a", told.append)
    assert told == [1]
    timer.now += 1
    summary.tell("a", told.append)
    assert told == [1, 1000]


def test_each_key_has_its_own_lines() -> None:
    told = list[int]()
    summary = LogSummary(timer=Timer())
    for key in range(5000):
        summary.tell(key, told.append)
    assert told == [1] * 5000


async def test_in_an_event_loop_the_rest_is_told_in_time() -> None:
    told = list[int]()
    summary = LogSummary(interval=0.01)
    for _ in range(5):
        summary.tell("a", told.append)
    async with asyncio.timeout(10):
        while len(told) < 2:  # noqa: ASYNC110 - nothing else tells it
            await asyncio.sleep(0.001)
    assert told == [1, 4]
