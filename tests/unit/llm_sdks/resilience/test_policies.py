import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_sdks.resilience.policies import RetryPolicy


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_waits_grow_up_to_the_longest_with_some_jitter(
    failures: int, chance: float
) -> None:
    policy = RetryPolicy()
    wait = policy.wait_seconds(failures, lambda: chance)
    full = 2 ** (failures - 1) if failures < 7 else 60
    assert full / 2 <= wait <= full
    assert policy.wait_seconds(failures + 1, lambda: chance) >= wait


@pytest.mark.parametrize(("chance", "wait"), [(0.0, 2.0), (1.0, 4.0)])
def test_the_jitter_covers_half_of_the_wait(
    chance: float, wait: float
) -> None:
    assert RetryPolicy().wait_seconds(3, lambda: chance) == wait


def test_without_jitter_chance_has_no_part() -> None:
    policy = RetryPolicy(jitter=False, min_wait=0.5, exponential_base=3)
    assert policy.wait_seconds(3, lambda: 0.0) == 4.5
