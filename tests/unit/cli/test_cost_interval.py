"""The interval of a pilot covers what the rest really costs."""

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.cost_interval import Interval, mean_of_rest
from tests.support.examples import examples

WORKLOADS, PILOT = 200, 50


def workload(draw: random.Random) -> list[int]:
    """Make the answers' tokens of a file: skewed, and cut at a limit."""
    rows = draw.choice([100, 300, 1000, 5000])
    limit, usual = draw.choice([1024, 4096, 16000]), draw.choice([20, 80, 300])
    spread, tail = draw.uniform(0.5, 1.6), draw.uniform(1.2, 2.5)
    shape = draw.uniform(0.3, 2)
    share, factor = draw.uniform(0.02, 0.15), draw.uniform(5, 20)
    kinds: list[Callable[[], float]] = [
        lambda: usual * draw.lognormvariate(0, spread),
        lambda: usual * draw.paretovariate(tail),
        lambda: usual * draw.gammavariate(shape, 1) + 1,
        lambda: (
            usual
            * draw.lognormvariate(0, 0.4)
            * (factor if draw.random() < share else 1)
        ),
    ]
    kind = draw.choice(kinds)
    return [min(limit, max(1, round(kind()))) for _ in range(rows)]


def covered(estimate: Callable[[list[float], int], Interval]) -> float:
    """Return how often the rest's mean lies in the interval of a pilot."""
    draw = random.Random(20)
    hits = 0
    for _ in range(WORKLOADS):
        costs = workload(draw)
        pilot = set(draw.sample(range(len(costs)), PILOT))
        sample = [float(costs[each]) for each in pilot]
        rest = [c for at, c in enumerate(costs) if at not in pilot]
        found = estimate(sample, len(rest))
        hits += found.low <= sum(rest) / len(rest) <= found.high
    return hits / WORKLOADS


@pytest.mark.long
def test_it_covers_the_rest_of_workloads_with_heavy_tails() -> None:
    assert 0.85 <= covered(mean_of_rest) <= 0.95


@pytest.mark.long
def test_a_usual_interval_would_not() -> None:
    """The test above can fail: on skewed costs, Student's interval does."""

    def students(sample: list[float], _: int) -> Interval:
        mean = sum(sample) / len(sample)
        squares = sum((each - mean) ** 2 for each in sample)
        half = 1.677 * (squares / (len(sample) - 1) / len(sample)) ** 0.5
        return Interval(mean, mean - half, mean + half)

    assert covered(students) < 0.85


@settings(max_examples=examples(60))
@given(
    st.lists(st.floats(0, 1e6), min_size=2, max_size=60),
    st.integers(1, 10**6),
)
def test_the_estimate_lies_within(sample: list[float], rest: int) -> None:
    found = mean_of_rest(sample, rest)
    assert 0 <= found.low <= found.estimate * (1 + 1e-9)
    assert found.high >= found.estimate * (1 - 1e-9)
    assert found == mean_of_rest(sample, rest)


def test_equal_costs_leave_no_doubt() -> None:
    assert mean_of_rest([0.25] * 50, 10) == Interval(0.25, 0.25, 0.25)
    assert mean_of_rest([0.0] * 50, 10) == Interval(0, 0, 0)


def test_a_short_rest_varies_more() -> None:
    sample = [float(each) for each in range(1, 51)]
    few, many = mean_of_rest(sample, 5), mean_of_rest(sample, 50_000)
    assert few.high - few.low > 2 * (many.high - many.low)


def test_one_row_is_no_sample() -> None:
    with pytest.raises(ValueError, match="two"):
        mean_of_rest([1.0], 5)
