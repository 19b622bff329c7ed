"""Does a wave: scores candidates and asks for new prompts, all at once."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from api.models.dataset_models import DatasetItem
from api.models.metrics import ProcessingMetrics, add_up
from api.models.run_models import Run
from llm_optimizers.ask_jobs import AskJobs, AskMaker
from llm_optimizers.evaluation.evaluator import Evaluator
from llm_optimizers.evaluation.item_scores import ItemScores
from llm_optimizers.evaluation.metrics import (
    JUDGE_ERROR,
    METRIC_ERROR,
    NO_EXPECTED,
)
from llm_optimizers.evaluation.work import (
    EvaluationProgress,
    EvaluationWork,
    ItemOutcome,
    Source,
    SourceKind,
)
from llm_optimizers.run_prompts import RunPrompts
from llm_optimizers.strategies.protocol import (
    Ask,
    Candidate,
    Evaluate,
    Outcome,
    Wave,
)
from llm_optimizers.wave_cut import Largest, Size
from llm_optimizers.wave_text import shortened

# What is wrong with an answer, and so the prompt's own fault; all else is
# trouble with the model, its limits or its jobs.
OF_THE_ANSWER = frozenset(
    {
        "JSON_PARSING_ERROR",
        "SCHEMA_MISMATCH",
        "VALIDATION_LIMIT",
        "NO_ANSWER",
        "INTERNAL_ERROR",
        NO_EXPECTED,
        METRIC_ERROR,
        JUDGE_ERROR,
    }
)
# No score at all: an answer's fault, or that of metric, data or judge.
_NOT_SCORED = frozenset({NO_EXPECTED, METRIC_ERROR, JUDGE_ERROR})
BUDGET_EXHAUSTED = "BUDGET_EXHAUSTED"


@dataclass(slots=True)
class Found:
    """What a wave has found."""

    outcomes: dict[tuple[int, str], Outcome] = field(default_factory=dict)
    texts: list[str | None] = field(default_factory=list)
    # By candidate: how many answers, and what they have used.
    used: dict[int, tuple[int, ProcessingMetrics]] = field(
        default_factory=dict
    )
    prompt_ids: dict[int, tuple[str, ...]] = field(default_factory=dict)
    cached: int = 0
    largest: Largest = field(default_factory=Largest)
    # Why nothing could be found, if so.
    failure: str | None = None
    # Why most answers could not be scored, if so.
    not_scored: str | None = None
    # Why a budget has refused a call, if one has.
    refusal: str | None = None

    @property
    def is_out_of_money(self) -> bool:
        """Whether a budget has refused a call."""
        return self.refusal is not None


class WaveWork:
    """A wave under way."""

    def __init__(
        self,
        scoring: Sequence[tuple[int, ItemScores]],
        asking: AskJobs,
        prompt_ids: Mapping[int, tuple[str, ...]],
        parallelism: int,
        train: frozenset[str],
        most_new_jobs: int | None = None,
    ) -> None:
        """Take the work; at most `most_new_jobs` are queued for it."""
        self._most_new_jobs = most_new_jobs
        self._scoring = scoring
        self._asking = asking
        self._prompt_ids = prompt_ids
        self._parallelism = parallelism
        self._train = train
        self._progress: dict[int, EvaluationProgress] = {}

    async def advance(self) -> Found | None:
        """Queue what there is room for; the findings once all is done."""
        room = self._parallelism - self._open_scores()
        # Answers to questions take longest, so those are asked first.
        asked = await self._asking.advance(max(room, 1), self._left())
        waits = asked > 0
        for position, (_, scores) in enumerate(self._scoring):
            room = self._parallelism - asked - self._open_scores()
            progress = await scores.advance(max(room, 0), self._left())
            self._progress[position] = progress
            waits = waits or not progress.is_done
        return None if waits else self._found()

    def _left(self) -> int | None:
        """Give how many more jobs may be queued."""
        if self._most_new_jobs is None:
            return None
        queued = self._asking.new_jobs + sum(
            scores.new_jobs for _, scores in self._scoring
        )
        return max(self._most_new_jobs - queued, 0)

    def _open_scores(self) -> int:
        return sum(len(scores.open_jobs) for _, scores in self._scoring)

    def _found(self) -> Found:
        found = Found(
            texts=self._asking.texts(),
            prompt_ids=dict(self._prompt_ids),
            cached=self._asking.cached,
            largest=Largest(Size(), self._asking.largest),
        )
        errors = Counter[str]()
        details: dict[str, str] = {}
        for position, (number, _) in enumerate(self._scoring):
            outcomes = self._progress[position].outcomes.values()
            for each in outcomes:
                self._note(found, number, each)
                if each.error is not None:
                    errors[each.error] += 1
                    details[each.error] = f"{each.error}: {each.detail}"
            found.used[number] = (len(outcomes), _used(outcomes))
        found.failure = self._failure(found, errors, details)
        found.refusal = details.get(BUDGET_EXHAUSTED)
        if found.failure and found.failure.startswith(BUDGET_EXHAUSTED):
            found.refusal = found.failure
        found.not_scored = _most_common(
            {kind: n for kind, n in errors.items() if kind in _NOT_SCORED},
            details,
            len(found.outcomes),
        )
        return found

    def _note(self, found: Found, number: int, outcome: ItemOutcome) -> None:
        shown = outcome.item_id in self._train
        if outcome.error != BUDGET_EXHAUSTED:
            found.outcomes[number, outcome.item_id] = Outcome(
                outcome.score,
                shortened(outcome.answer) if shown else None,
                outcome.error,
            )
        found.cached += outcome.cached
        size = found.largest.answer
        for metrics in (outcome.metrics, outcome.judge_metrics):
            size = size.with_one(metrics)
        found.largest = Largest(size, found.largest.ask)

    def _failure(
        self, found: Found, errors: Counter[str], details: Mapping[str, str]
    ) -> str | None:
        """Say why nothing was found, if that is not any prompt's fault."""
        troubles = {k: n for k, n in errors.items() if k not in OF_THE_ANSWER}
        troubles.pop(BUDGET_EXHAUSTED, None)
        failure = _most_common(troubles, details, len(found.outcomes))
        return failure or self._asking.failure


def _most_common(
    errors: Mapping[str, int], details: Mapping[str, str], count: int
) -> str | None:
    """Describe the most common error, if most outcomes have one of these."""
    if not count or sum(errors.values()) * 2 <= count:
        return None
    return details[max(errors, key=lambda each: errors[each])]


def _used(outcomes: Iterable[ItemOutcome]) -> ProcessingMetrics:
    return add_up(
        metrics
        for each in outcomes
        for metrics in (each.metrics, each.judge_metrics)
    )


class WaveMaker:
    """Begins waves."""

    def __init__(
        self, evaluator: Evaluator, asks: AskMaker, prompts: RunPrompts
    ) -> None:
        self._evaluator = evaluator
        self._asks = asks
        self._prompts = prompts

    async def begin(
        self,
        run: Run,
        wave: Wave,
        candidates: Mapping[int, Candidate],
        items: Mapping[str, DatasetItem],
        train: frozenset[str],
        parallelism: int,
        most_new_jobs: int | None = None,
    ) -> WaveWork:
        """Prepare a wave; doing so again finds the jobs of the first time.

        At most `parallelism` of its jobs are unfinished at once. What would
        need more than `most_new_jobs` is left out.

        Raises:
            NotFoundError: a prompt or model is gone; names it.
        """
        scoring, prompt_ids = [], {}
        for each in wave:
            if not isinstance(each, Evaluate):
                continue
            candidate = candidates[each.candidate]
            ids = await self._prompts.ids_of(run, candidate)
            prompt_ids[each.candidate] = ids
            chosen = [items[item_id] for item_id in each.items]
            work = work_of(run, ids, candidate.model, chosen)
            scores = await self._evaluator.begin(work)
            scoring.append((each.candidate, scores))
        asks = [
            (each, candidates[each.parent].model)
            for each in wave
            if isinstance(each, Ask)
        ]
        asking = await self._asks.begin(run, asks, _source(run))
        return WaveWork(
            scoring, asking, prompt_ids, parallelism, train, most_new_jobs
        )


def work_of(
    run: Run,
    prompt_ids: tuple[str, ...],
    model: str,
    items: Sequence[DatasetItem],
) -> EvaluationWork:
    """Give what a run asks of items: the same finds the same answers."""
    assert run.metric is not None  # noqa: S101 - it is on a dataset
    assert run.response_format is not None  # noqa: S101 - as above
    return EvaluationWork(
        owner=run.client_id,
        source=_source(run),
        prompt_ids=prompt_ids,
        model=model,
        items=items,
        metric=run.metric,
        temperature=run.temperature,
        response_format=run.response_format,
        response_schema=run.response_schema,
        cache=bool(run.cache),
        priority=run.priority,
        parallelism=run.parallelism or 1,
    )


def _source(run: Run) -> Source:
    return Source(SourceKind.RUN, run.run_id, run.attempt)
