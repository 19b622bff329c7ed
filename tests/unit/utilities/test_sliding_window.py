from hypothesis import given
from hypothesis import strategies as st

from utilities.sliding_window import WINDOW_SECONDS, SlidingWindow


def test_events_count_for_a_minute_and_then_less_and_less() -> None:
    window = SlidingWindow()
    window.add(600.0, 10)
    assert window.count(659.9) == 10
    assert window.count(660.0) == 10
    assert window.count(690.0) == 5
    assert window.count(720.0) == 0
    assert window.count(10_000.0) == 0


def test_there_is_room_up_to_the_limit_and_not_beyond() -> None:
    window = SlidingWindow()
    for number in range(5):
        assert window.has_room(600.0, 5), number
        window.add(600.0)
    assert not window.has_room(600.0, 5)


@given(
    times=st.lists(st.floats(0, 300), max_size=200),
    limit=st.integers(1, 20),
    later=st.floats(0, 200),
)
def test_the_told_time_is_when_there_is_room_again(
    times: list[float], limit: int, later: float
) -> None:
    window, now = SlidingWindow(), 600.0
    for now in sorted(600.0 + each for each in times):
        if window.has_room(now, limit):
            window.add(now)
    now += later
    seconds = window.seconds_until_room(now, limit)
    assert 0 <= seconds <= 2 * WINDOW_SECONDS
    assert (seconds == 0) == window.has_room(now, limit)
    if seconds > 1:
        assert not window.has_room(now + seconds - 0.5, limit)
    assert window.has_room(now + seconds + 0.001, limit)


@given(st.lists(st.floats(0, 300), max_size=300), st.integers(1, 10))
def test_no_fixed_minute_has_more_than_the_limit(
    times: list[float], limit: int
) -> None:
    window, taken = SlidingWindow(), dict.fromkeys(range(6), 0)
    for now in sorted(times):
        if window.has_room(now, limit):
            window.add(now)
            taken[int(now // WINDOW_SECONDS)] += 1
    assert max(taken.values()) <= limit
