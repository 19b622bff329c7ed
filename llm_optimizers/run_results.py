"""What a run has found, as its document and its candidates show it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.models.metrics import ProcessingMetrics
from api.models.optimization_models import (
    MeasuredScore,
    ModelResult,
    RunScores,
    RunTest,
)
from llm_optimizers.evaluation import statistics
from llm_optimizers.strategies.pool import Pool
from llm_optimizers.strategies.protocol import Candidate, Outcome, Results
from llm_optimizers.strategies.session import Session
from utilities import payload
from utilities.cosmos_connector import Document

PromptIds = Mapping[int, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Baseline and best of a run, and how they compare."""

    baseline: RunScores
    best: RunScores
    models: list[ModelResult]
    test: RunTest | None
    verdict: str | None


def outcomes(session: Session, prompt_ids: PromptIds, seed: int) -> Outcomes:
    """Sum up a session that has stopped."""
    baseline, best = session.baseline, session.best
    assert baseline is not None  # noqa: S101 - it has stopped
    assert best is not None  # noqa: S101 - as above
    pool = session.pool_of(best)
    before, after = _on_test(session.test_outcomes, baseline, best)
    return Outcomes(
        _scores(pool, baseline, prompt_ids, session.test_outcomes, seed),
        _scores(pool, best, prompt_ids, session.test_outcomes, seed),
        model_results(session, prompt_ids, seed),
        _test_of(before, after, seed),
        str(statistics.verdict(before, after, seed)) if before else None,
    )


def _test_of(
    before: Sequence[float], after: Sequence[float], seed: int
) -> RunTest | None:
    if not before:
        return None
    compared = statistics.compare(before, after, seed)
    return RunTest(
        difference=compared.difference,
        interval=(compared.low, compared.high),
        p_value=compared.p_value,
        count=len(before),
    )


def model_results(
    session: Session, prompt_ids: PromptIds, seed: int
) -> list[ModelResult]:
    """Give baseline and best of every model, on validation."""
    found = []
    for search in session.searches:
        pool = search.pool
        if not pool.admitted:
            continue
        first = pool.candidates[min(pool.candidates)]
        best = pool.candidates[pool.best()]
        pair = [
            _scores(pool, each, prompt_ids, Results(), seed)
            for each in (first, best)
        ]
        found.append(
            ModelResult(model=search.model, baseline=pair[0], best=pair[1])
        )
    return found


def _on_test(
    results: Results, baseline: Candidate, best: Candidate
) -> tuple[list[float], list[float]]:
    """Pair the scores of the items that both were tested on."""
    found = results.outcomes
    items = [
        item
        for number, item in found
        if number == baseline.number and (best.number, item) in found
    ]
    return (
        [found[baseline.number, item].score for item in items],
        [found[best.number, item].score for item in items],
    )


def _scores(
    pool: Pool,
    candidate: Candidate,
    prompt_ids: PromptIds,
    tested: Results,
    seed: int,
) -> RunScores:
    number = candidate.number
    on_test = [
        outcome
        for (each, _), outcome in tested.outcomes.items()
        if each == number
    ]
    return RunScores(
        prompt_ids=list(prompt_ids.get(number, ())),
        model=candidate.model,
        candidate=number,
        validation=_on_validation(pool, number, seed),
        test=_measured([e.score for e in on_test], on_test, seed),
    )


def _on_validation(pool: Pool, number: int, seed: int) -> MeasuredScore | None:
    known = pool.known(number)
    measured = [known[each] for each in pool.validation if each in known]
    scores = [pool.score_on(number, each) for each in pool.validation]
    return _measured(scores, measured, seed) if measured else None


def _measured(
    scores: Sequence[float], measured: Sequence[Outcome], seed: int
) -> MeasuredScore | None:
    if not scores:
        return None
    return MeasuredScore(
        score=statistics.mean(scores),
        interval=statistics.interval(scores, seed),
        count=len(measured),
        errors=sum(each.error is not None for each in measured),
    )


def candidate_documents(
    session: Session,
    prompt_ids: PromptIds,
    used: Mapping[int, tuple[int, ProcessingMetrics]],
    changed: set[int],
) -> list[Document]:
    """Give the documents of the candidates that have changed."""
    return [
        _candidate_document(session.pool_of(each), each, prompt_ids, used)
        for each in session.candidates()
        if each.number in changed
    ]


def _candidate_document(
    pool: Pool,
    candidate: Candidate,
    prompt_ids: PromptIds,
    used: Mapping[int, tuple[int, ProcessingMetrics]],
) -> Document:
    number = candidate.number
    known = pool.known(number)
    jobs, metrics = used.get(number, (0, ProcessingMetrics()))
    return {
        "number": number,
        "model": candidate.model,
        "promptIds": list(prompt_ids.get(number, ())),
        "parents": list(candidate.parents),
        "change": candidate.change,
        "validationScore": pool.score(number) if known else None,
        "confirmed": pool.confirmed(number),
        "accepted": number in pool.admitted,
        "scores": payload.dump(
            {item: outcome.score for item, outcome in known.items()}
        ),
        "jobs": jobs,
        "processingMetrics": payload.dump(metrics.model_dump(by_alias=True)),
    }


def as_json(value: Any) -> str | None:  # noqa: ANN401 - a model, or several
    """Give models as the text that is stored; None stays None."""
    if value is None:
        return None
    if isinstance(value, list):
        return payload.dump([each.model_dump(by_alias=True) for each in value])
    return payload.dump(value.model_dump(by_alias=True))
