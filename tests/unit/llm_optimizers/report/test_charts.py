import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_optimizers.report.charts import (
    Axis,
    over_cost,
    over_iterations,
    quality_and_cost,
)
from llm_optimizers.report.values import Tried, Used

VALUES = st.lists(st.floats(-1e9, 1e9).map(lambda x: round(x, 3)), min_size=1)


@given(VALUES)
def test_all_values_are_on_the_axis(values: list[float]) -> None:
    axis = Axis.over(values, whole=(-math.inf, math.inf))
    assert all(-0.01 <= axis.place(each) <= 100.01 for each in values)
    assert 2 <= len(axis.ticks()) <= 7


def test_an_axis_has_round_marks() -> None:
    axis = Axis.over([0.12, 0.87], whole=(0.0, 1.0))
    assert [round(each.value, 9) for each in axis.ticks()] == [
        0,
        0.2,
        0.4,
        0.6,
        0.8,
        1,
    ]
    assert axis.place(0.5) == 50


def tried(number: int, score: float, cost: float | None = None) -> Tried:
    return Tried(number, score, Used(10 * (number + 1), cost=cost))


def test_the_line_is_the_best_of_the_accepted() -> None:
    history = [tried(0, 0.5), tried(1, 0.9), tried(2, 0.7), tried(3, 0.6)]
    chart = over_cost(history, frozenset({0, 2, 3}))
    assert chart is not None
    heights = [(each.y1, each.y2) for each in chart.line]
    best, first = chart.dots[2].y, chart.dots[0].y
    assert heights == [(first, first), (first, best), (best, best)]
    assert [each.is_best for each in chart.dots] == [True, False, True, True]


def test_money_is_counted_where_all_of_it_is_known() -> None:
    chart = over_cost([tried(0, 0.5, 1.0), tried(1, 0.6, 2.0)], frozenset())
    assert chart is not None
    assert chart.x_ticks[-1].value == 2
    chart = over_cost([tried(0, 0.5, 1.0), tried(1, 0.6)], frozenset())
    assert chart is not None
    assert chart.x_ticks[-1].value == 20


@pytest.mark.parametrize("scores", [[], [(1, 0.5)]])
def test_too_little_is_not_drawn(scores: list[tuple[int, float]]) -> None:
    assert over_iterations(scores) is None
    assert over_cost([], frozenset()) is None
    assert quality_and_cost([(1, 0.5, 0.5, True)]) is None
