"""Places that are kept for interactive calls, and what that is good for."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from llm_sdks.resilience.bulkhead import Bulkhead
from llm_sdks.resilience.concurrency_limit import ConcurrencyLimit
from llm_sdks.resilience.fair_queue import Turn
from llm_sdks.resilience.gate_parts import Place
from llm_sdks.resilience.headroom import Headroom

BULK, URGENT = Turn("bulk"), Turn("person", is_urgent=True)


def test_the_peak_of_the_last_minutes_is_kept_free() -> None:
    headroom = Headroom(window=60)
    assert headroom.kept(10, 0, 0.0) == 0
    headroom.note(3, 0.0)
    headroom.note(1, 1.0)
    assert headroom.kept(10, 0, 2.0) == 3
    # Those that run have their places.
    assert headroom.kept(10, 2, 2.0) == 1
    assert headroom.kept(10, 5, 2.0) == 0
    # At most half; of one place, none.
    assert headroom.kept(4, 0, 2.0) == 2
    assert headroom.kept(1, 0, 2.0) == 0


def test_a_peak_is_forgotten_after_two_windows_at_most() -> None:
    headroom = Headroom(window=60)
    headroom.note(3, 0.0)
    assert headroom.peak(61.0) == 3
    assert headroom.peak(122.0) == 0
    headroom.note(2, 200.0)
    assert headroom.peak(330.0) == 0


def test_bulk_calls_leave_the_place_of_the_next_interactive_call() -> None:
    async def run() -> None:
        limit = Bulkhead(ConcurrencyLimit(4), lambda _: 1.0)
        for _ in range(4):
            assert limit.take(BULK, 0.0)
        waits = Place(URGENT)
        assert not limit.take(URGENT, 0.0)
        limit.wait(waits, 0.0)
        more = Place(BULK)
        limit.wait(more, 0.0)
        limit.leave(BULK, 1.0)
        await asyncio.sleep(0)
        assert waits.free.is_set()
        limit.leave(URGENT, 2.0)
        # The bulk call that waits does not get it.
        assert limit.running == 3
        assert limit.take(URGENT, 3.0)
        limit.leave(URGENT, 4.0)
        # After a time without interactive calls it does.
        limit.admit(200.0)
        assert limit.running == 4

    asyncio.run(run())


steps = st.lists(
    st.tuples(
        st.sampled_from(("take", "leave", "give up")),
        st.sampled_from((BULK, URGENT)),
        st.integers(0, 40),
    ),
    max_size=60,
)


@given(st.integers(1, 6), steps)
def test_never_more_than_the_limit_and_nobody_is_forgotten(
    most: int, todo: list[tuple[str, Turn, int]]
) -> None:
    async def run() -> None:
        limit, now = Bulkhead(ConcurrencyLimit(most), lambda _: 1.0), 0.0
        running: list[Turn] = []
        waiting: list[Place] = []
        for action, turn, passed in todo:
            now += passed
            if action == "take":
                if limit.take(turn, now):
                    running.append(turn)
                else:
                    waiting.append(place := Place(turn))
                    limit.wait(place, now)
            elif action == "leave" and turn in running:
                running.remove(turn)
                limit.leave(turn, now)
            elif action == "give up" and waiting:
                limit.give_up(waiting.pop(), now)
            await asyncio.sleep(0)
            running += [p.turn for p in waiting if p.free.is_set()]
            waiting = [p for p in waiting if not p.free.is_set()]
            assert limit.running == len(running) <= most
            assert limit.waiting == len(waiting)
        # All of them get their places in the end.
        while running:
            now += 200
            limit.leave(running.pop(), now)
            await asyncio.sleep(0)
            running += [p.turn for p in waiting if p.free.is_set()]
            waiting = [p for p in waiting if not p.free.is_set()]
        assert not waiting

    asyncio.run(run())
