"""What the stored waves of a run tell of its course; pure functions."""

from collections.abc import Iterable, Mapping, Sequence

from api.models.metrics import ProcessingMetrics
from api.services.runs.run_waves import StoredWave
from llm_optimizers.report.values import Paired, Tried, TriedPrompt, Used
from llm_optimizers.strategies.session import Stage

_SAME = 1e-9


def used_of(metrics: ProcessingMetrics, answers: int) -> Used:
    """Give what some answers have used."""
    return Used(
        answers,
        metrics.total_tokens,
        metrics.duration,
        metrics.total_cost,
        metrics.currency,
    )


def history(
    waves: Sequence[StoredWave],
    candidates: Iterable[TriedPrompt],
    currency: str | None = None,
) -> list[Tried]:
    """Place each candidate where the search had measured it, in order.

    That is the wave in which it was tried on most items. `cost` is that of
    all calls of the run until then, `answers` counts what was scored, also
    where another run or evaluation has paid for it.
    """
    scores = {e.number: e.score for e in candidates if e.score is not None}
    answers, place = 0, dict[int, tuple[int, Used]]()
    for wave in waves:
        if wave.results is None or wave.plan["stage"] != Stage.SEARCH:
            continue
        scored = wave.results["used"]
        answers += sum(count for count, _ in scored.values())
        usage = wave.results["usage"]
        used = Used(answers, usage["tokens"], 0.0, usage["cost"], currency)
        for number, (count, _) in scored.items():
            most, _ = place.get(int(number), (0, used))
            if count > most:
                place[int(number)] = count, used
    tried = [
        Tried(number, scores[number], used)
        for number, (_, used) in place.items()
        if number in scores
    ]
    return sorted(tried, key=lambda each: (each.used.answers, each.number))


def paired(
    waves: Iterable[StoredWave], baseline: int, best: int
) -> Paired | None:
    """Count the test items that the best answers better than the baseline.

    None where there was no test, or both are one prompt.
    """
    tests = [
        wave.results
        for wave in waves
        if wave.plan["stage"] == Stage.TEST and wave.results is not None
    ]
    if not tests or baseline == best:
        return None
    scores = [_scores(results) for results in tests]
    merged = {key: score for each in scores for key, score in each.items()}
    gains = [
        merged[best, item] - score
        for (number, item), score in merged.items()
        if number == baseline and (best, item) in merged
    ]
    better = sum(gain > _SAME for gain in gains)
    worse = sum(gain < -_SAME for gain in gains)
    return Paired(better, worse, len(gains) - better - worse)


def _scores(
    results: Mapping[str, Sequence[Sequence[object]]],
) -> dict[tuple[int, str], float]:
    return {
        (int(str(number)), str(item)): float(str(score))
        for number, item, score, *_ in results["outcomes"]
    }
