"""The course of a run, read from its waves."""

from typing import Any

from api.services.runs.run_waves import StoredWave
from llm_optimizers.report.history import history, paired
from llm_optimizers.report.values import Paired
from tests.unit.llm_optimizers.report.test_parts import candidate


def wave(
    number: int,
    stage: str,
    used: dict[int, int],
    outcomes: list[list[Any]] | None = None,
    cost: float | None = None,
) -> StoredWave:
    results = {
        "used": {str(each): [count, {}] for each, count in used.items()},
        "usage": {"jobs": 0, "tokens": number, "cost": cost},
        "outcomes": outcomes or [],
    }
    return StoredWave(number, {"stage": stage}, results)


def test_candidates_stand_where_most_of_them_was_known() -> None:
    waves = [
        wave(0, "search", {0: 30}, cost=0.5),
        wave(1, "search", {0: 8, 1: 3}, cost=0.75),
        wave(2, "search", {1: 20}, cost=1.0),
        wave(3, "confirm", {1: 30}, cost=2.0),
        wave(4, "test", {0: 30, 1: 30}, cost=3.0),
        StoredWave(5, {"stage": "search"}, None),
    ]
    found = history(waves, [candidate(0), candidate(1), candidate(2)], "EUR")
    assert [
        (each.number, each.used.answers, each.used.cost) for each in found
    ] == [(0, 30, 0.5), (1, 61, 1.0)]
    assert found[0].used.currency == "EUR"


def test_test_items_are_paired() -> None:
    outcomes = [
        [number, f"item {item}", score, None, None]
        for number, scores in ((0, (0, 0, 1, 1, 0.5)), (1, (1, 1, 0, 1)))
        for item, score in enumerate(scores)
    ]
    waves = [
        wave(0, "search", {0: 1}, [[1, "item 4", 1, None, None]]),
        wave(1, "test", {0: 5, 1: 4}, outcomes),
    ]
    assert paired(waves, 0, 1) == Paired(better=2, worse=1, same=1)
    assert paired(waves, 0, 0) is None
    assert paired(waves[:1], 0, 1) is None
