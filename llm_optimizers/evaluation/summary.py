"""What the scores of items amount to: results and comparisons; pure."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from api.models.evaluation_models import (
    Cell,
    ClassResult,
    Confusion,
    EvaluationComparison,
    EvaluationResult,
    Latency,
)
from api.models.metric_models import AnyMetric, WeightedMetrics
from api.models.metrics import ProcessingMetrics, add_up
from api.services.evaluations.result_store import StoredResult
from llm_optimizers.evaluation.metrics import ScoringError, labels
from llm_optimizers.evaluation.statistics import (
    ALPHA,
    Verdict,
    compare,
    holm,
    interval,
    percentile,
)
from llm_optimizers.evaluation.work import ItemOutcome

OTHER = "(other)"
# More labels are no classes, but free text.
_MOST_LABELS = 50
# Above it, only the first cell is compared with each other one.
_MOST_ALL_PAIRS = 6
_SHARES = (0.5, 0.9, 0.95, 0.99)
_DIGITS = 6


def stored_result(
    metric: AnyMetric | WeightedMetrics, expected: object, outcome: ItemOutcome
) -> StoredResult:
    """Give an item's outcome with what is summed up of it."""
    try:
        wanted, found = labels(metric, expected, outcome.answer)
    except ScoringError:
        wanted = found = None
    return StoredResult(
        item_id=outcome.item_id,
        score=outcome.score,
        error=outcome.error,
        detail=outcome.detail,
        job_id=outcome.job_id,
        cached=outcome.cached,
        expected_label=wanted,
        label=found,
        metrics=outcome.metrics,
        judge_metrics=outcome.judge_metrics,
    )


@dataclass
class CellSummary:
    """Takes the results of one cell in, block by block, in one order."""

    cell: Cell
    scores: list[float] = field(default_factory=list)
    _errors: Counter[str] = field(default_factory=Counter)
    _cached: int = 0
    _seconds: list[float] = field(default_factory=list)
    _metrics: ProcessingMetrics = field(default_factory=ProcessingMetrics)
    _judge_metrics: ProcessingMetrics | None = None
    # Counts of (expected, answered); None stands for no label.
    _pairs: Counter[tuple[str, str | None]] = field(default_factory=Counter)

    def add(self, results: Sequence[StoredResult]) -> None:
        """Take some results in."""
        for each in results:
            self.scores.append(each.score)
            self._cached += each.cached
            if each.error is not None:
                self._errors[each.error] += 1
            if each.metrics is not None and each.metrics.duration:
                self._seconds.append(each.metrics.duration)
            if each.expected_label is not None:
                self._pairs[each.expected_label, each.label] += 1
        used = [self._metrics, *(each.metrics for each in results)]
        self._metrics = add_up(used)
        judged = [each.judge_metrics for each in results if each.judge_metrics]
        if judged:
            self._judge_metrics = add_up([self._judge_metrics, *judged])

    def result(self, seed: int) -> EvaluationResult:
        """Give the sums, means and tables."""
        low, high = interval(self.scores, seed)
        classes, confusion = _tables(self._pairs)
        return EvaluationResult(
            prompt_id=self.cell.prompt_id,
            model=self.cell.model,
            score=round(_mean(self.scores), _DIGITS),
            interval=(round(low, _DIGITS), round(high, _DIGITS)),
            count=len(self.scores),
            errors=self._errors.total(),
            error_types=dict(self._errors),
            cached_answers=self._cached,
            processing_metrics=self._metrics,
            judge_metrics=self._judge_metrics,
            latency=_latency(self._seconds),
            classes=classes,
            confusion=confusion,
        )


def comparisons(
    summaries: Sequence[CellSummary], seed: int
) -> list[EvaluationComparison]:
    """Compare the cells: each pair, or if they are many, with the first."""
    pairs: Iterable[tuple[CellSummary, CellSummary]]
    if len(summaries) <= _MOST_ALL_PAIRS:
        pairs = combinations(summaries, 2)
    else:
        pairs = ((summaries[0], each) for each in summaries[1:])
    found = [
        (one, other, compare(one.scores, other.scores, seed))
        for one, other in pairs
    ]
    adjusted = holm([each.p_value for _, _, each in found])
    return [
        EvaluationComparison(
            first=one.cell,
            second=other.cell,
            difference=round(each.difference, _DIGITS),
            interval=(round(each.low, _DIGITS), round(each.high, _DIGITS)),
            p_value=_shown(each.p_value),
            adjusted_p_value=_shown(p_value),
            verdict=_verdict(each.difference, p_value),
        )
        for (one, other, each), p_value in zip(found, adjusted, strict=True)
    ]


def _verdict(difference: float, p_value: float) -> Verdict:
    if p_value > ALPHA or difference == 0:
        return Verdict.NO_DIFFERENCE
    return Verdict.IMPROVED if difference > 0 else Verdict.WORSE


def _shown(p_value: float) -> float:
    # Four significant digits.
    return float(f"{p_value:.4g}")


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0


def _latency(seconds: Sequence[float]) -> Latency | None:
    if not seconds:
        return None
    p50, p90, p95, p99 = (
        round(percentile(seconds, share), _DIGITS) for share in _SHARES
    )
    return Latency(
        mean=round(_mean(seconds), _DIGITS), p50=p50, p90=p90, p95=p95, p99=p99
    )


def _tables(
    pairs: Counter[tuple[str, str | None]],
) -> tuple[list[ClassResult] | None, Confusion | None]:
    labels = sorted({expected for expected, _ in pairs})
    if not labels or len(labels) > _MOST_LABELS:
        return None, None
    columns = [*labels, OTHER]
    counts = [[0] * len(columns) for _ in labels]
    place = {label: number for number, label in enumerate(labels)}
    for (expected, answered), count in pairs.items():
        column = len(labels)
        if answered is not None:
            column = place.get(answered, column)
        counts[place[expected]][column] += count
    classes = [
        _class(label, number, counts) for number, label in enumerate(labels)
    ]
    return classes, Confusion(rows=labels, columns=columns, counts=counts)


def _class(
    label: str, number: int, counts: Sequence[Sequence[int]]
) -> ClassResult:
    hits = counts[number][number]
    expected = sum(counts[number])
    answered = sum(row[number] for row in counts)
    return ClassResult(
        label=label,
        count=expected,
        precision=_share(hits, answered),
        recall=_share(hits, expected),
        f1=_share(2 * hits, expected + answered),
    )


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, _DIGITS) if whole else None
