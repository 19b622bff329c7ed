"""The models of a run side by side: quality, cost and latency; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from api.models.optimization_models import MeasuredScore, RunScores
from api.models.run_models import Run
from llm_optimizers.report.values import TriedPrompt

_THOUSAND = 1000


@dataclass(frozen=True, slots=True)
class Compared:
    """A prompt with a model.

    `cost` is that of 1,000 answers, `seconds` the mean of one; None where
    they are not known. `on_front`: nothing else is at least as good in all
    that is known, and better in something.
    """

    model: str
    role: str
    candidate: int
    score: MeasuredScore
    cost: float | None
    seconds: float | None
    on_front: bool = False


def compare_models(
    run: Run, candidates: Mapping[int, TriedPrompt]
) -> list[Compared]:
    """Give baseline and best of each model, on validation."""
    rows: list[Compared] = []
    for result in run.model_results or ():
        rows += _row("baseline", result.baseline, candidates)
        if result.best.candidate != result.baseline.candidate:
            rows += _row("best", result.best, candidates)
    return [
        replace(each, on_front=not _is_beaten(each, rows)) for each in rows
    ]


def _row(
    role: str, scores: RunScores, candidates: Mapping[int, TriedPrompt]
) -> list[Compared]:
    if scores.validation is None:
        return []
    candidate = candidates.get(scores.candidate)
    used = candidate.used if candidate else None
    cost = seconds = None
    if used is not None and used.answers:
        seconds = used.seconds / used.answers
        if used.cost is not None:
            cost = _THOUSAND * used.cost / used.answers
    return [
        Compared(
            scores.model,
            role,
            scores.candidate,
            scores.validation,
            cost,
            seconds,
        )
    ]


def _is_beaten(one: Compared, rows: Sequence[Compared]) -> bool:
    return any(_beats(other, one) for other in rows if other is not one)


def _beats(one: Compared, other: Compared) -> bool:
    pairs = [(one.score.score, other.score.score)]
    for mine, theirs in (
        (one.cost, other.cost),
        (_noticed(one.seconds), _noticed(other.seconds)),
    ):
        if mine is not None and theirs is not None:
            pairs.append((-mine, -theirs))
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


def _noticed(seconds: float | None) -> float | None:
    """Leave out what is only the noise of a measurement."""
    return None if seconds is None else round(seconds, 1)
