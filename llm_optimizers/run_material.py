"""What a run on a dataset works with: its items, split, and its task."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from api.models.dataset_models import DatasetItem, SplitFractions
from api.models.run_models import Run
from api.services.datasets.dataset_service import DatasetService
from api.services.runs import run_limits
from api.services.runs.run_limits import Shares
from api.services.shared.caller import Caller
from llm_optimizers.evaluation.metrics import (
    ScoringError,
    check_entry_points,
)
from llm_optimizers.run_prompts import RunPrompts
from llm_optimizers.strategies.protocol import Item
from llm_optimizers.strategies.search import Limits, Task
from llm_optimizers.strategies.session import Session
from utilities import payload

# Proposals that are made at once; each is a question and some answers.
_PROPOSALS = 8


class UnusableDataError(Exception):
    """The run cannot work with its dataset; says why."""


@dataclass(frozen=True, slots=True)
class Material:
    """The items of a run by their ids, and what its session begins with."""

    items: Mapping[str, DatasetItem]
    train: frozenset[str]
    task: Task
    test: tuple[str, ...]
    shares: Shares
    per_item: int
    # The size of the longest input, in bytes.
    longest_item: int

    def session(self, run: Run) -> Session:
        """Begin the run's session, from its start."""
        strategy = str(run.strategy)
        return Session(self.task, run.working_models, strategy, self.test)


class MaterialReader:
    """Reads the material of runs."""

    def __init__(self, datasets: DatasetService, prompts: RunPrompts) -> None:
        self._datasets = datasets
        self._prompts = prompts

    async def read(
        self, run: Run, texts: Sequence[str] | None = None
    ) -> Material:
        """Read what a run works with; the same each time.

        `texts` are those of the initial prompts when the run began; None:
        it begins now.

        Raises:
            NotFoundError: the dataset or a prompt is gone.
            UnusableDataError: there are too few different items, or the
                metric is of a package that is not installed.
        """
        assert run.dataset_id is not None  # noqa: S101 - it is on a dataset
        assert run.metric is not None  # noqa: S101 - as above
        try:
            check_entry_points(run.metric)
        except ScoringError as error:
            raise UnusableDataError(str(error)) from None
        seed = run.seed or 0
        dataset = await self._datasets.get(
            run.dataset_id, Caller(run.client_id)
        )
        fractions = run.split or SplitFractions()
        split = await self._datasets.split(dataset, seed, fractions)
        sides = (split.train, split.validation, split.test)
        if not all(sides):
            raise UnusableDataError(
                "The dataset has too few different inputs for train, "
                "validation and test"
            )
        per_item = run_limits.jobs_per_item(run.metric)
        shares = run_limits.shares(
            len(split.validation), len(split.test), run.max_jobs, per_item
        )
        chosen = [
            _some(side, count, seed)
            for side, count in zip(
                sides,
                (run_limits.MOST_TRAIN, shares.validation, shares.test),
                strict=True,
            )
        ]
        index = await self._datasets.index(dataset)
        found = [
            await self._datasets.items_at(dataset, index, positions)
            for positions in chosen
        ]
        if texts is None:
            texts = await self._prompts.texts(run)
        task = _task(run, tuple(texts), found)
        train, _, test = found
        return Material(
            {each.id: each for side in found for each in side},
            frozenset(each.id for each in train),
            task,
            tuple(each.id for each in test),
            shares,
            per_item,
            max(
                len(payload.dump(each.request_data).encode())
                for side in found
                for each in side
            ),
        )


def _task(
    run: Run,
    texts: tuple[str, ...],
    found: Sequence[Sequence[DatasetItem]],
) -> Task:
    train, validation, _ = found
    limits = Limits(
        run.max_iterations,
        run.patience or run.max_iterations,
        run.target_score,
        _PROPOSALS,
        run_limits.jobs_per_item(run.metric) if run.metric else 1,
        run.max_tokens is not None or run.max_cost is not None,
    )
    return Task(
        texts,
        [Item(each.id, each.request_data, each.expected) for each in train],
        [each.id for each in validation],
        limits,
        run.seed or 0,
    )


def _some(positions: Sequence[int], count: int, seed: int) -> list[int]:
    """Choose some by the seed; ascending, as they are read."""
    if count >= len(positions):
        return list(positions)
    chance = random.Random(f"{seed}:items")  # noqa: S311 - repeatable
    return sorted(chance.sample(list(positions), count))
