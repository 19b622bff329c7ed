"""The answers of a run's best prompt, read from their jobs."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from api.models.dataset_models import DatasetItem
from api.models.evaluation_models import Cell
from api.models.optimization_models import RunScores
from api.models.run_models import Run
from llm_optimizers.evaluation.evaluator import Evaluator
from llm_optimizers.evaluation.summary import CellSummary, stored_result
from llm_optimizers.evaluation.work import EvaluationWork, ItemOutcome
from llm_optimizers.report.values import BestOnItems, Failure
from llm_optimizers.run_material import Material, MaterialReader
from llm_optimizers.strategies.protocol import RIGHT
from llm_optimizers.wave_work import work_of

# More of them nobody reads.
MOST_FAILURES = 100
# All of a side at once: nothing is queued.
_AT_ONCE = 100_000


class BestAnswers:
    """Reads what the best prompt has answered; queues nothing."""

    def __init__(
        self, materials: MaterialReader, evaluator: Evaluator
    ) -> None:
        self._materials = materials
        self._evaluator = evaluator

    async def read(self, run: Run, best: RunScores) -> BestOnItems | None:
        """Read the answers on the test, or before it on validation.

        None where there are none yet.

        Raises:
            NotFoundError: the dataset, a prompt or the model is gone.
            UnusableDataError: the dataset is none that a run works with.
        """
        material = await self._materials.read(run)
        for side, item_ids in _sides(material, best):
            items = [material.items[each] for each in item_ids]
            asked = work_of(run, tuple(best.prompt_ids), best.model, items)
            work = replace(asked, parallelism=_AT_ONCE, most_new_jobs=0)
            scores = await self._evaluator.begin(work)
            progress = await scores.advance()
            if progress.outcomes:
                return _summed_up(side, run, work, progress.outcomes.values())
        return None


def _sides(
    material: Material, best: RunScores
) -> Iterable[tuple[str, Sequence[str]]]:
    if best.test is not None:
        yield "test", material.test
    yield "validation", material.task.validation


def _summed_up(
    side: str, run: Run, work: EvaluationWork, found: Iterable[ItemOutcome]
) -> BestOnItems:
    items = {each.id: each for each in work.items}
    outcomes = list(found)
    cell = Cell(prompt_id=work.prompt_ids[0], model=work.model)
    summary = CellSummary(cell)
    summary.add(
        [
            stored_result(work.metric, items[e.item_id].expected, e)
            for e in outcomes
        ]
    )
    wrong = sorted(
        (each for each in outcomes if each.score < RIGHT),
        key=lambda each: each.score,
    )
    return BestOnItems(
        side,
        summary.result(run.seed or 0),
        [_failure(items[e.item_id], e) for e in wrong[:MOST_FAILURES]],
        len(wrong),
    )


def _failure(item: DatasetItem, outcome: ItemOutcome) -> Failure:
    return Failure(
        item.id,
        outcome.score,
        item.request_data,
        item.expected,
        outcome.answer,
        outcome.error,
        outcome.detail,
    )
