"""Results and comparisons of cells."""

from typing import Any

import pytest

from api.models.evaluation_models import Cell
from api.models.metrics import ProcessingMetrics
from api.services.evaluations.result_store import StoredResult
from llm_optimizers.evaluation.summary import CellSummary, comparisons


def result(number: int, score: float, **fields: Any) -> StoredResult:
    return StoredResult(item_id=str(number), score=score, **fields)


def summary(scores: list[float], name: str = "p") -> CellSummary:
    made = CellSummary(Cell(prompt_id=name, model="m"))
    made.add([result(n, score) for n, score in enumerate(scores)])
    return made


def used(seconds: float, cost: float | None = None) -> ProcessingMetrics:
    return ProcessingMetrics(
        input_tokens=2,
        output_tokens=1,
        total_tokens=3,
        duration=seconds,
        total_cost=cost,
        currency=None if cost is None else "USD",
    )


def test_sums_go_over_all_blocks() -> None:
    made = CellSummary(Cell(prompt_id="p", model="m"))
    for block in range(3):
        made.add(
            [
                result(1, 1.0, metrics=used(block + 1.0), cached=True),
                result(2, 0.0, error="BROKEN", judge_metrics=used(1.0)),
            ]
        )
    found = made.result(0)
    assert (found.score, found.count, found.errors) == (0.5, 6, 3)
    assert found.error_types == {"BROKEN": 3}
    assert found.cached_answers == 3
    assert found.processing_metrics.input_tokens == 6
    assert found.judge_metrics is not None
    assert found.judge_metrics.duration == 3.0
    assert found.latency is not None
    assert (found.latency.mean, found.latency.p50) == (2.0, 2.0)
    assert found.classes is None


def test_nothing_is_no_result() -> None:
    found = summary([]).result(0)
    assert (found.score, found.interval, found.latency) == (0, (0, 1), None)


def test_tables_by_class() -> None:
    made = CellSummary(Cell(prompt_id="p", model="m"))
    pairs = [("a", "a"), ("a", "b"), ("b", "b"), ("b", "x"), ("c", None)]
    made.add(
        [
            result(n, 0.0, expected_label=wanted, label=found)
            for n, (wanted, found) in enumerate(pairs)
        ]
    )
    found = made.result(0)
    assert found.confusion is not None
    assert found.confusion.columns == ["a", "b", "c", "(other)"]
    assert found.confusion.counts == [
        [1, 1, 0, 0],
        [0, 1, 0, 1],
        [0, 0, 0, 1],
    ]
    assert found.classes is not None
    a, b, c = found.classes
    assert (a.precision, a.recall) == (1, 0.5)
    assert (b.precision, b.f1) == (0.5, 0.5)
    assert (c.precision, c.recall, c.f1) == (None, 0, 0)


def test_free_text_has_no_classes() -> None:
    made = CellSummary(Cell(prompt_id="p", model="m"))
    made.add([result(n, 0.0, expected_label=f"text {n}") for n in range(51)])
    assert made.result(0).confusion is None


@pytest.mark.parametrize(("cells", "pairs"), [(1, 0), (3, 3), (7, 6)])
def test_how_many_are_compared(cells: int, pairs: int) -> None:
    summaries = [summary([0.0, 1.0], f"p{n}") for n in range(cells)]
    assert len(comparisons(summaries, 0)) == pairs


def test_several_comparisons_are_adjusted() -> None:
    base = [0.0] * 8 + [1.0] * 10
    better = [1.0] * 8 + [1.0] * 9 + [0.0]
    alone = comparisons([summary(base), summary(better)], 0)[0]
    assert alone.p_value == alone.adjusted_p_value == 0.03906
    assert alone.verdict == "improved"
    third = [0.0] * 9 + [1.0] * 9
    first, *_ = comparisons(
        [summary(base), summary(better), summary(third)], 0
    )
    assert first.adjusted_p_value > first.p_value
    assert first.verdict == "no difference"
