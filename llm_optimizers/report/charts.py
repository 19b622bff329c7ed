"""Charts as positions in percent of their area; pure.

Percentages, so that a chart fits any width while its texts keep their
size.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from llm_optimizers.report.values import Tried, Used

_MOST_TICKS = 5
_NICE = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis: its place, and the value there."""

    at: float
    value: float


@dataclass(frozen=True, slots=True)
class Dot:
    """A value on a chart; `y` grows downwards. `key` is whose it is."""

    x: float
    y: float
    key: int
    is_best: bool = False


@dataclass(frozen=True, slots=True)
class Segment:
    """A straight line."""

    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True, slots=True)
class Chart:
    """Dots, a line in steps, and the marks of both axes."""

    dots: Sequence[Dot]
    line: Sequence[Segment]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]


@dataclass(frozen=True, slots=True)
class Axis:
    """Values from `low` to `high`, marked at every `step`."""

    low: float
    high: float
    step: float

    @classmethod
    def over(
        cls, values: Iterable[float], *, whole: tuple[float, float]
    ) -> "Axis":
        """Span the values; `whole` is the least and the most there are."""
        known = list(values)
        low, high = min(known), max(known)
        if high - low < 1e-9:  # noqa: PLR2004 - the same but for rounding
            reach = abs(high) / 2 or 0.5
            low, high = low - reach, high + reach
        step = _nice((high - low) / (_MOST_TICKS - 1))
        low = max(math.floor(low / step) * step, whole[0])
        high = min(math.ceil(high / step) * step, whole[1])
        return cls(low, high, step)

    def place(self, value: float) -> float:
        """Give a value's place in percent."""
        return round(100 * (value - self.low) / (self.high - self.low), 3)

    def ticks(self) -> list[Tick]:
        """Give the marks."""
        first = math.ceil(self.low / self.step - 1e-9)
        last = math.floor(self.high / self.step + 1e-9)
        values = [number * self.step for number in range(first, last + 1)]
        return [Tick(self.place(value), value) for value in values]


def _nice(step: float) -> float:
    """Give the next round number: 1, 2, 2.5 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(n * power for n in _NICE if n * power >= step - 1e-12)


def spent(used: Used, *, in_money: bool) -> float:
    """Give what the horizontal axis counts: money, or answers."""
    return (used.cost or 0.0) if in_money else float(used.answers)


def is_priced(history: Sequence[Tried]) -> bool:
    """Tell whether all that was spent has a price, and was not nothing."""
    costs = [each.used.cost for each in history]
    return all(each is not None for each in costs) and any(costs)


def over_cost(
    history: Sequence[Tried], accepted: frozenset[int]
) -> Chart | None:
    """Draw scores over what was spent; the line is the best so far."""
    if not history:
        return None
    in_money = is_priced(history)
    x = Axis.over(
        (0.0, *(spent(e.used, in_money=in_money) for e in history)),
        whole=(0.0, math.inf),
    )
    y = Axis.over((e.score for e in history), whole=(0.0, 1.0))
    dots = [
        Dot(
            x.place(spent(each.used, in_money=in_money)),
            100 - y.place(each.score),
            each.number,
            each.number in accepted,
        )
        for each in history
    ]
    return Chart(dots, _steps(dots), x.ticks(), y.ticks())


def over_iterations(scores: Sequence[tuple[int, float]]) -> Chart | None:
    """Draw the scores of iterations, in their order."""
    if len(scores) < 2:  # noqa: PLR2004 - one dot is no course
        return None
    numbers = [float(number) for number, _ in scores]
    x = Axis.over(numbers, whole=(min(numbers), math.inf))
    y = Axis.over((each for _, each in scores), whole=(-math.inf, math.inf))
    dots = [
        Dot(x.place(number), 100 - y.place(score), number)
        for number, score in scores
    ]
    line = [
        Segment(one.x, one.y, other.x, other.y)
        for one, other in pairwise(dots)
    ]
    whole = [each for each in x.ticks() if each.value == int(each.value)]
    return Chart(dots, line, whole, y.ticks())


def _steps(dots: Sequence[Dot]) -> list[Segment]:
    """Follow the best of the accepted up to each place."""
    lines: list[Segment] = []
    x = y = None
    for dot in dots:
        if not dot.is_best:
            continue
        if x is not None and y is not None:
            lines.append(Segment(x, y, dot.x, y))
            if dot.y < y:
                lines.append(Segment(dot.x, y, dot.x, dot.y))
        x, y = dot.x, dot.y if y is None else min(y, dot.y)
    if x is not None and y is not None and dots[-1].x > x:
        lines.append(Segment(x, y, dots[-1].x, y))
    return lines


def quality_and_cost(
    points: Sequence[tuple[int, float, float, bool]],
) -> Chart | None:
    """Draw scores over costs; each point has key, cost, score, on front."""
    if len(points) < 2:  # noqa: PLR2004 - nothing to compare
        return None
    x = Axis.over((0.0, *(e[1] for e in points)), whole=(0.0, math.inf))
    y = Axis.over((e[2] for e in points), whole=(0.0, 1.0))
    dots = [
        Dot(x.place(cost), 100 - y.place(score), key, front)
        for key, cost, score, front in points
    ]
    return Chart(dots, [], x.ticks(), y.ticks())
