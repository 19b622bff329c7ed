"""One evaluation under way: which of its items are asked, and the rest.

The items are worked on in blocks of some hundreds, each with one prompt
and one model. A block whose scores are all there is stored; so memory
stays bounded, and a restart repeats little, and asks nothing twice.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from api.core.errors import RuleError
from api.models.dataset_models import Dataset
from api.models.evaluation_models import (
    Cell,
    Evaluation,
    EvaluationProgressView,
)
from api.services.datasets.blocks import BlockIndex
from api.services.datasets.dataset_service import DatasetService
from api.services.datasets.split import split
from api.services.evaluations.result_store import ResultStore
from api.services.shared.caller import Caller
from llm_optimizers.evaluation.evaluator import Evaluator
from llm_optimizers.evaluation.item_scores import ItemScores
from llm_optimizers.evaluation.metrics import (
    ScoringError,
    check_entry_points,
)
from llm_optimizers.evaluation.summary import stored_result
from llm_optimizers.evaluation.work import (
    EvaluationProgress,
    EvaluationWork,
    Source,
    SourceKind,
)
from utilities.slices import blocks, in_slices

_BLOCK = 500
_CHANGED = (
    "A prompt or a model was changed while it was being evaluated. Begin "
    "another evaluation; to change a prompt, make another version of it."
)


@dataclass(frozen=True, slots=True)
class _Block:
    """Some items, by their positions, with one cell."""

    cell: int
    number: int
    positions: Sequence[int]


@dataclass(slots=True)
class _Begun:
    """A block that is worked on."""

    block: _Block
    scores: ItemScores
    work: EvaluationWork
    progress: EvaluationProgress


class ActiveEvaluation:
    """Brings one evaluation on; made by `begin`."""

    def __init__(
        self,
        evaluation: Evaluation,
        dataset: Dataset,
        index: BlockIndex,
        datasets: DatasetService,
        results: ResultStore,
        evaluator: Evaluator,
    ) -> None:
        self.evaluation = evaluation
        self._dataset = dataset
        self._index = index
        self._datasets = datasets
        self._results = results
        self._evaluator = evaluator
        self._cells: Sequence[Cell] = evaluation.cells
        self._waiting: deque[_Block] = deque()
        self._begun: list[_Begun] = []
        self._done = 0
        self._errors = 0
        self._total = 0
        # What each cell is asked with, as a digest.
        self._named: dict[int, str] = {}

    @classmethod
    async def begin(
        cls,
        evaluation: Evaluation,
        datasets: DatasetService,
        results: ResultStore,
        evaluator: Evaluator,
    ) -> "ActiveEvaluation":
        """Find out what is still to be done.

        Raises:
            NotFoundError: the dataset has been deleted.
            RuleError: the metric is of a package that is not installed.
        """
        try:
            check_entry_points(evaluation.metric)
        except ScoringError as error:
            raise RuleError(str(error)) from None
        owner = Caller(evaluation.client_id)
        dataset = await datasets.get(evaluation.dataset_id, owner)
        index = await datasets.index(dataset)
        active = cls(evaluation, dataset, index, datasets, results, evaluator)
        await active._plan()
        return active

    async def _plan(self) -> None:
        evaluation = self.evaluation
        sides = await asyncio.to_thread(
            split,
            self._index.digests,
            evaluation.seed,
            evaluation.fractions,
        )
        positions = sides.of(evaluation.split)
        stored = await self._results.blocks(evaluation.evaluation_id)
        known = {(each.cell, each.block) for each in stored}
        self._named = {each.cell: each.named for each in stored if each.named}
        self._done = sum(each.count for each in stored)
        self._errors = sum(each.errors for each in stored)
        self._total = len(positions) * len(self._cells)
        for number, some in enumerate(blocks(positions, _BLOCK)):
            for cell in range(len(self._cells)):
                if (cell, number) not in known:
                    self._waiting.append(_Block(cell, number, some))

    @property
    def open_jobs(self) -> set[str]:
        """The jobs whose ends bring it on."""
        return {job for each in self._begun for job in each.scores.open_jobs}

    @property
    def is_done(self) -> bool:
        """Whether every item is scored, and stored."""
        return not self._waiting and not self._begun

    @property
    def progress(self) -> EvaluationProgressView:
        """How far it is."""
        outcomes = [each.progress.outcomes for each in self._begun]
        return EvaluationProgressView(
            total=self._total,
            done=self._done + sum(map(len, outcomes)),
            errors=self._errors
            + sum(
                outcome.error is not None
                for some in outcomes
                for outcome in some.values()
            ),
        )

    async def advance(self) -> None:
        """Read what has ended, and queue what there is room for.

        Raises:
            NotFoundError: the dataset, a prompt or a model is gone.
            RuleError: a prompt or a model has changed.
        """
        for each in list(self._begun):
            await self._advance(each)
        while self._waiting and self._room() > 0:
            begun = await self._begin(self._waiting.popleft())
            self._begun.append(begun)
            await self._advance(begun)

    def _room(self) -> int:
        return self.evaluation.parallelism - sum(
            len(each.scores.open_jobs) for each in self._begun
        )

    async def _begin(self, block: _Block) -> _Begun:
        evaluation, cell = self.evaluation, self._cells[block.cell]
        items = await self._datasets.items_at(
            self._dataset, self._index, block.positions
        )
        work = EvaluationWork(
            owner=evaluation.client_id,
            source=Source(SourceKind.EVALUATION, evaluation.evaluation_id),
            prompt_ids=(cell.prompt_id,),
            model=cell.model,
            items=items,
            metric=evaluation.metric,
            temperature=evaluation.temperature,
            response_format=evaluation.response_format,
            response_schema=evaluation.response_schema,
            cache=evaluation.cache,
            items_as=evaluation.items_as,
            priority=evaluation.priority,
            parallelism=evaluation.parallelism,
        )
        scores = await self._evaluator.begin(work)
        if self._named.setdefault(block.cell, scores.named) != scores.named:
            raise RuleError(_CHANGED)
        return _Begun(block, scores, work, EvaluationProgress({}))

    async def _advance(self, begun: _Begun) -> None:
        begun.progress = await begun.scores.advance(self._room())
        if begun.progress.is_done:
            await self._store(begun)
            self._begun.remove(begun)

    async def _store(self, begun: _Begun) -> None:
        outcomes = begun.progress.outcomes
        results = await in_slices(
            lambda item: stored_result(
                self.evaluation.metric, item.expected, outcomes[item.id]
            ),
            begun.work.items,
        )
        block = begun.block
        await self._results.add(
            self.evaluation,
            block.cell,
            block.number,
            results,
            begun.scores.named,
        )
        self._done += len(results)
        self._errors += sum(each.error is not None for each in results)
