"""What the stored waves of a run tell of its course; pure functions."""

from collections.abc import Iterable, Mapping, Sequence

from api.models.metrics import ProcessingMetrics, add_up
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
    waves: Sequence[StoredWave], candidates: Iterable[TriedPrompt]
) -> list[Tried]:
    """Place each candidate where the search had measured it, in order.

    What was spent is that of answers, also where another run or evaluation
    has paid for them; the calls that write prompts are not in it.
    """
    scores = {e.number: e.score for e in candidates if e.score is not None}
    answers, metrics = 0, ProcessingMetrics()
    last: dict[int, Used] = {}
    for wave in waves:
        if wave.results is None or wave.plan["stage"] == Stage.TEST:
            continue
        for count, used in wave.results["used"].values():
            answers += count
            added = ProcessingMetrics.model_validate(used)
            metrics = add_up([metrics, added])
        if wave.plan["stage"] == Stage.SEARCH:
            found = used_of(metrics, answers)
            numbers = [int(each) for each in wave.results["used"]]
            last |= dict.fromkeys(numbers, found)
    tried = [
        Tried(number, scores[number], used)
        for number, used in last.items()
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
