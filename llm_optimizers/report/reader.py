"""Reads all that a report says."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from api.core.errors import NotFoundError
from api.models.optimization_models import RunCandidate, RunScores
from api.models.run_models import Run
from api.services.prompts.prompt_service import PromptService
from api.services.runs.run_service import RunService
from api.services.runs.run_waves import RunWaves, StoredWave
from api.services.shared.caller import Caller
from api.services.shared.paging import MAX_LIMIT, PageRequest
from llm_optimizers.report import contract
from llm_optimizers.report.best_answers import BestAnswers
from llm_optimizers.report.history import history, paired, used_of
from llm_optimizers.report.values import (
    BestOnItems,
    Paired,
    RunReport,
    TriedPrompt,
    Used,
)
from llm_optimizers.run_material import UnusableDataError
from utilities.clock import Clock, now_ms
from utilities.slices import blocks

# Prompts of one question to the store.
_BLOCK = 500
_MILLISECONDS = 1000


class ReportReader:
    """Reads the reports of runs; changes nothing and queues nothing."""

    def __init__(
        self,
        runs: RunService,
        waves: RunWaves,
        prompts: PromptService,
        answers: BestAnswers,
        clock: Clock = now_ms,
    ) -> None:
        self._runs = runs
        self._waves = waves
        self._prompts = prompts
        self._answers = answers
        self._clock = clock

    async def read(self, run_id: str, caller: Caller) -> RunReport:
        """Read the report of a run as it is now.

        What is gone meanwhile, such as a deleted dataset, is left out, and
        the report says so.

        Raises:
            NotFoundError: there is no such run, or it is another client's.
        """
        run = await self._runs.get(run_id, caller)
        now = datetime.fromtimestamp(self._clock() / _MILLISECONDS, UTC)
        if run.dataset_id is None:
            return await self._of_iterations(run, now)
        return await self._on_dataset(run, now)

    async def _of_iterations(self, run: Run, now: datetime) -> RunReport:
        wanted = [*run.initial_working_prompt_ids, *contract.prompt_ids(run)]
        texts = await self._texts(wanted, run.client_id)
        steps = contract.steps(run, texts)
        last = contract.last_prompt(run)
        return RunReport(
            run,
            now,
            _joined(run.initial_working_prompt_ids, texts),
            None if last is None else texts.get(last),
            used_of(run.processing_metrics, len(steps)),
            steps=steps,
        )

    async def _on_dataset(self, run: Run, now: datetime) -> RunReport:
        found = await self._candidates(run)
        best = _best(run)
        wanted = {*run.initial_working_prompt_ids}
        for ids in (best and best.prompt_ids, *(e.prompt_ids for e in found)):
            wanted.update(ids or ())
        texts = await self._texts(wanted, run.client_id)
        candidates = [_tried(each, texts) for each in found]
        waves = await self._waves.of_run(run.run_id)
        answers, unread = await self._best_answers(run, best)
        return RunReport(
            run,
            now,
            _joined(run.initial_working_prompt_ids, texts),
            _joined(best.prompt_ids, texts) if best else None,
            _used(run),
            candidates,
            history(waves, candidates, _used(run).currency),
            _paired(run, waves),
            answers,
            unread=unread,
        )

    async def _candidates(self, run: Run) -> list[RunCandidate]:
        owner, found = Caller(run.client_id), list[RunCandidate]()
        request = PageRequest(MAX_LIMIT)
        while True:
            page = await self._waves.page_of_candidates(
                run.run_id, owner, request
            )
            found += page.items
            if page.next_cursor is None:
                return found
            request = PageRequest(MAX_LIMIT, page.next_cursor)

    async def _texts(
        self, prompt_ids: Iterable[str], client_id: str
    ) -> dict[str, str]:
        """Return the texts of the prompts that are still there."""
        texts: dict[str, str] = {}
        for block in blocks(sorted(set(prompt_ids)), _BLOCK):
            gone = await self._prompts.missing(block, client_id)
            there = [each for each in block if each not in gone]
            found = await self._prompts.usable(there, client_id)
            texts |= {each: found[each].prompt for each in there}
        return texts

    async def _best_answers(
        self, run: Run, best: RunScores | None
    ) -> tuple[BestOnItems | None, list[str]]:
        # A run that cannot be read in full may have no metric.
        if best is None or not best.prompt_ids or run.metric is None:
            return None, []
        try:
            return await self._answers.read(run, best), []
        except (NotFoundError, UnusableDataError) as error:
            why = f"The answers of the best prompt cannot be shown: {error}"
            return None, [why]


def _best(run: Run) -> RunScores | None:
    """Return the best of all models; while it runs, on validation."""
    if run.best is not None:
        return run.best
    known = [
        (each.best.validation.score, each.best)
        for each in run.model_results or ()
        if each.best.validation is not None
    ]
    return max(known, key=lambda pair: pair[0])[1] if known else None


def _tried(candidate: RunCandidate, texts: Mapping[str, str]) -> TriedPrompt:
    ids = candidate.prompt_ids
    known = bool(ids) and all(each in texts for each in ids)
    return TriedPrompt(
        candidate.number,
        candidate.model,
        tuple(candidate.parents),
        candidate.change,
        tuple(ids),
        tuple(texts[each] for each in ids) if known else None,
        candidate.validation_score,
        candidate.accepted,
        candidate.confirmed,
        used_of(candidate.processing_metrics, candidate.jobs),
    )


def _joined(ids: Sequence[str], texts: Mapping[str, str]) -> str | None:
    """Join texts as a job joins them; None if one is gone."""
    if not ids or any(each not in texts for each in ids):
        return None
    return "\n\n".join(texts[each] for each in ids)


def _used(run: Run) -> Used:
    usage = run.usage
    return Used(
        run.jobs_used or 0,
        run.tokens_used or 0,
        usage.duration if usage else 0.0,
        run.cost,
        usage.currency if usage else None,
    )


def _paired(run: Run, waves: Sequence[StoredWave]) -> Paired | None:
    if run.baseline is None or run.best is None:
        return None
    return paired(waves, run.baseline.candidate, run.best.candidate)
