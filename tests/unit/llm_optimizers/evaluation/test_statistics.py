"""Intervals and tests, against what theory says of them."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_optimizers.evaluation.statistics import (
    Verdict,
    compare,
    holm,
    interval,
    mean,
    paired_p_value,
    percentile,
    verdict,
)

scores = st.lists(st.floats(0, 1), min_size=1, max_size=40)


@given(scores)
def test_an_interval_is_around_the_mean_and_within_0_to_1(
    values: list[float],
) -> None:
    low, high = interval(values)
    assert 0 <= low <= mean(values) + 1e-9
    assert mean(values) - 1e-9 <= high <= 1
    assert interval(values) == (low, high)


def test_an_interval_of_hits() -> None:
    # Of Newcombe (1998), table I: 81 of 263.
    low, high = interval([1.0] * 81 + [0.0] * 182)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    assert interval([1.0] * 10)[0] < 0.75
    assert interval([]) == (0.0, 1.0)


def test_equal_sides_do_not_differ() -> None:
    found = compare([0.5, 1, 0], [0.5, 1, 0])
    assert (found.difference, found.p_value) == (0, 1)
    assert (found.low, found.high) == (0, 0)
    assert compare([], []).p_value == 1
    with pytest.raises(ValueError, match="zip"):
        compare([1], [1, 0])


def test_the_exact_test_of_hits() -> None:
    # 8 gained, 1 lost: 2 * (1 + 9) / 2**9.
    first = [0.0] * 8 + [1.0] + [1.0] * 20
    second = [1.0] * 8 + [0.0] + [1.0] * 20
    assert math.isclose(paired_p_value(first, second), 20 / 512)
    assert verdict(first, second) is Verdict.IMPROVED
    assert verdict(second, first) is Verdict.WORSE
    many = paired_p_value([0.0] * 9000 + [1.0] * 9000, [1.0, 0.0] * 9000)
    assert many == pytest.approx(1.0, abs=0.05)


def test_the_permutation_test() -> None:
    # All five differences have one sign: 2 of 32 patterns.
    first = [0.1, 0.2, 0.3, 0.4, 0.5]
    second = [0.2, 0.4, 0.6, 0.5, 0.9]
    assert paired_p_value(first, second) == 2 / 32
    chance = random.Random(1)
    first = [chance.random() / 2 for _ in range(60)]
    second = [each + chance.random() / 10 for each in first]
    assert paired_p_value(first, second) < 0.001
    first = [chance.random() / 2 for _ in range(3000)]
    second = [each + chance.random() / 10 for each in first]
    assert paired_p_value(first, second) < 0.001
    assert compare(first, second).low > 0.04


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("count", [12, 60])
def test_no_gain_is_seldom_called_one(count: int, *, binary: bool) -> None:
    chance = random.Random(count)

    def side() -> list[float]:
        values = [chance.random() for _ in range(count)]
        return [float(each < 0.7) for each in values] if binary else values

    runs = 100
    claims = sum(
        verdict(side(), side(), seed) is Verdict.IMPROVED
        for seed in range(runs)
    )
    assert claims <= 5


def test_a_large_gain_is_seen() -> None:
    chance = random.Random(3)
    first = [float(chance.random() < 0.5) for _ in range(100)]
    second = [float(chance.random() < 0.8) for _ in range(100)]
    assert verdict(first, second) is Verdict.IMPROVED


def test_holm_adjusts_several_tests() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_percentiles_are_values() -> None:
    values = [4.0, 1.0, 3.0, 2.0]
    assert percentile(values, 0.5) == 2.0
    assert percentile(values, 0.95) == 4.0
    assert percentile(values, 0) == 1.0


@pytest.mark.parametrize("count", range(1, 200))
def test_the_mean_is_within_its_interval(count: int) -> None:
    for share in (0.0, 1.0):
        low, high = interval([share] * count)
        assert low <= share <= high
