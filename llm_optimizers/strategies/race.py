"""Races: is a new candidate better than the one it should replace?"""

import math
from collections.abc import Generator, Sequence

from llm_optimizers.strategies.pool import Pool
from llm_optimizers.strategies.protocol import RIGHT, Results, Wave
from llm_optimizers.strategies.search import Search

# Of the items that the incumbent answers right, so many are tried first.
_FEWEST = 6
_SHARE = 0.2

Race = Generator[Wave, Results, list[int]]


def race(search: Search, challengers: Sequence[int], incumbent: int) -> Race:
    """Return the challengers that beat the incumbent on validation.

    The comparison is paired. Where the incumbent is right, a challenger can
    only lose; where it is wrong, only gain. So the items that the incumbent
    fails on come first, with a sample of the others: without a gain there,
    the rest cannot change the outcome, and is not paid for. With gains and
    no loss in the sample, the challenger is admitted, and inherits the
    incumbent's score on the rest until it is confirmed. Otherwise the rest
    decides (the idea of racing: Maron and Moore 1993).
    """
    pool = search.pool
    failing, passing = _sides(search, incumbent)
    count = max(_FEWEST, math.ceil(_SHARE * len(passing)))
    sample = passing[:count]
    yield from search.measure(
        (each, [*failing, *sample]) for each in challengers
    )
    undecided = [
        each
        for each in challengers
        if _gain(pool, each, incumbent, failing) > 0
        and _gain(pool, each, incumbent, sample) < 0
        and _may_win(pool, each, incumbent, failing, sample)
    ]
    if undecided:
        yield from search.measure((each, passing) for each in undecided)
    winners = []
    for each in challengers:
        if _gain(pool, each, incumbent, [*failing, *passing]) > 0:
            pool.admit(each)
            winners.append(each)
    return winners


def _sides(search: Search, incumbent: int) -> tuple[list[str], list[str]]:
    pool, items = search.pool, search.validation
    failing = pool.failing(incumbent, items)
    wrong = set(failing)
    passing = [each for each in items if each not in wrong]
    search.chance.shuffle(passing)
    return failing, passing


def _gain(
    pool: Pool, challenger: int, incumbent: int, items: Sequence[str]
) -> float:
    """Sum what was measured; what was not is as the incumbent's."""
    known = pool.known(challenger)
    return sum(
        known[item].score - pool.score_on(incumbent, item)
        for item in items
        if item in known
    )


def _may_win(
    pool: Pool,
    challenger: int,
    incumbent: int,
    failing: Sequence[str],
    sample: Sequence[str],
) -> bool:
    """Tell whether what is left to measure could still change the outcome."""
    return _gain(pool, challenger, incumbent, [*failing, *sample]) > 0


def right(score: float) -> bool:
    """Tell whether a score is that of a right answer."""
    return score >= RIGHT
