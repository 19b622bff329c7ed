"""Runs without a dataset, as their reports tell them; pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from api.models.run_models import Run, RunIteration
from llm_optimizers.report.history import used_of
from llm_optimizers.report.values import Step

# Where evaluations keep their number; otherwise their only one is it.
_NAMES = ("score", "rating", "grade", "value")


def prompt_ids(run: Run) -> list[str]:
    """Name the prompts that the iterations used and suggested."""
    found = []
    for iteration in _iterations(run):
        found.append(iteration.working_prompt_id)
        if iteration.suggested_prompt_id is not None:
            found.append(iteration.suggested_prompt_id)
    return list(dict.fromkeys(found))


def last_prompt(run: Run) -> str | None:
    """Name the prompt that the run has come to."""
    ids = prompt_ids(run)
    return ids[-1] if ids else None


def steps(run: Run, texts: Mapping[str, str]) -> list[Step]:
    """Give the iterations, in their order."""
    return [
        _step(model_run.model, each, texts)
        for model_run in run.model_runs
        for each in model_run.iterations
    ]


def scores(found: Sequence[Step]) -> list[tuple[int, float]]:
    """Give the scores by the number of the step, from 1."""
    return [
        (number, step.score)
        for number, step in enumerate(found, 1)
        if step.score is not None
    ]


def _iterations(run: Run) -> Iterator[RunIteration]:
    for model_run in run.model_runs:
        yield from model_run.iterations


def _step(
    model: str, iteration: RunIteration, texts: Mapping[str, str]
) -> Step:
    failures = {
        "Evaluation": iteration.eval_error,
        "Meta step": iteration.meta_error,
    }
    metrics = iteration.processing_metrics
    shown: dict[str, Any] = {"used": used_of(metrics, 1)} if metrics else {}
    return Step(
        model,
        iteration.iteration,
        iteration.job_id,
        iteration.status,
        texts.get(iteration.working_prompt_id),
        iteration.evaluation,
        score_of(iteration.evaluation),
        [
            f"{name}: {each.error_type}: {each.error}"
            for name, each in failures.items()
            if each is not None
        ],
        **shown,
    )


def score_of(evaluation: Any) -> float | None:  # noqa: ANN401 - JSON
    """Read the number that an evaluation is about, if it has one."""
    if isinstance(evaluation, Mapping):
        numbers = {
            str(name).casefold(): value
            for name, value in evaluation.items()
            if _is_number(value)
        }
        for name in _NAMES:
            if name in numbers:
                return score_of(numbers[name])
        only = list(numbers.values())
        return score_of(only[0]) if len(only) == 1 else None
    try:
        return float(evaluation) if _is_number(evaluation) else None
    except OverflowError:
        return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
