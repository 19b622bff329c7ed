from llm_workers.execution.prefetch import Prefetch


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def _after(clock: _Clock, prefetch: Prefetch, jobs_a_second: int) -> int:
    """Work for a while, claiming ten times a second, in 0.1 s each."""
    for _ in range(50):
        started = clock.now
        clock.now += 0.1
        for _ in range(jobs_a_second // 10):
            prefetch.ended()
        prefetch.claimed(started)
    return prefetch.count


def test_nothing_is_claimed_ahead_before_anything_has_ended() -> None:
    assert Prefetch(_Clock()).count == 0


def test_short_calls_are_claimed_ahead_by_twice_what_ends_during_a_claim() -> (
    None
):
    clock = _Clock()
    ahead = _after(clock, Prefetch(clock), jobs_a_second=1000)
    assert 200 <= ahead <= 250


def test_long_calls_are_not_claimed_ahead() -> None:
    clock = _Clock()
    prefetch = Prefetch(clock)
    assert _after(clock, prefetch, jobs_a_second=0) == 0
    prefetch.ended()
    clock.now += 0.5
    prefetch.claimed(clock.now - 0.01)
    assert prefetch.count == 0


def test_it_follows_the_load() -> None:
    clock = _Clock()
    prefetch = Prefetch(clock)
    _after(clock, prefetch, jobs_a_second=1000)
    assert _after(clock, prefetch, jobs_a_second=0) == 0
