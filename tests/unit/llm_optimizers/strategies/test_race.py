"""Races pay for no more items than decide them."""

import itertools
import random

import pytest

from llm_optimizers.strategies.pool import Pool
from llm_optimizers.strategies.protocol import Evaluate, Outcome, Results
from llm_optimizers.strategies.race import race
from llm_optimizers.strategies.search import Search, Task

ITEMS = [f"v{n}" for n in range(40)]


def search_with(scores: dict[str, float]) -> Search:
    task = Task(("first",), (), ITEMS)
    chance = random.Random(1)
    search = Search(task, "m", Pool(ITEMS), chance, itertools.count())
    first = search.seed(("first",))
    search.pool.admit(first.number)
    for item, score in scores.items():
        search.pool.note(first.number, item, Outcome(score))
    return search


def raced(
    scores: dict[str, float], challenger: dict[str, float]
) -> tuple[bool, int, Search]:
    """Race; tell whether it won, how many items it was tried on."""
    search = search_with(scores)
    child = search.propose(("second",), [0], "test")
    assert child is not None
    waves, paid = race(search, [child.number], 0), 0
    results: Results | None = None
    try:
        while True:
            wave = next(waves) if results is None else waves.send(results)
            (request,) = wave
            assert isinstance(request, Evaluate)
            paid += len(request.items)
            results = Results(
                {
                    (child.number, item): Outcome(challenger[item])
                    for item in request.items
                }
            )
    except StopIteration as end:
        return bool(end.value), paid, search


def scores(right: range) -> dict[str, float]:
    return {item: float(number in right) for number, item in enumerate(ITEMS)}


def test_without_a_gain_on_the_failures_nothing_more_is_paid() -> None:
    won, paid, _ = raced(scores(range(30)), scores(range(30)))
    assert not won
    assert paid == 10 + 6


def test_gains_without_a_loss_in_the_sample_are_enough() -> None:
    won, paid, search = raced(scores(range(30)), scores(range(35)))
    assert won
    assert paid == 10 + 6
    assert search.pool.score(1) == pytest.approx(35 / 40)
    assert not search.pool.confirmed(1)
    assert search.pool.best() == 1


def test_losses_beside_gains_have_the_rest_decide() -> None:
    # Five gains; twenty of thirty are lost.
    won, paid, search = raced(scores(range(30)), scores(range(20, 35)))
    assert not won
    assert search.pool.best() == 0
    assert paid in (10 + 6, 40)
    # Ten gains, and two of thirty are lost: better, whatever is sampled.
    won, _, search = raced(scores(range(30)), scores(range(2, 40)))
    assert won
    assert search.pool.score(1) >= 38 / 40


def test_long_lineages_that_meet_again_are_no_work() -> None:
    search = search_with({"v0": 0.5})
    pool, last = search.pool, 0
    for depth in range(600):
        children = [
            search.propose((f"{depth}.{n}",), [last], "test") for n in range(4)
        ]
        numbers = [each.number for each in children if each is not None]
        merged = search.propose((f"{depth}",), numbers, "merger")
        assert merged is not None
        last = merged.number
    assert pool.score_on(last, "v0") == 0.5
    assert len(pool.lineage(last)) == 600 * 5 + 1
    pool.note(1, "v0", Outcome(0.75))
    assert pool.score_on(last, "v0") == 0.75
    assert pool.failing(last, ["v0", "v1"]) == ["v1", "v0"]


def test_graded_scores_are_compared_pair_by_pair() -> None:
    half = dict.fromkeys(ITEMS, 0.5)
    more = {item: 0.5 + 0.01 * (n % 2) for n, item in enumerate(ITEMS)}
    won, paid, _ = raced(half, more)
    assert won
    assert paid == 40
