"""A whole run as one coroutine: search, confirmation, the test at the end."""

import itertools
import random
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from llm_optimizers.strategies.auto import Auto
from llm_optimizers.strategies.fewshot import FewShot
from llm_optimizers.strategies.metaprompt import MetaPrompt
from llm_optimizers.strategies.pool import Pool
from llm_optimizers.strategies.protocol import (
    Candidate,
    Evaluate,
    Results,
    Stop,
    Strategy,
    Wave,
)
from llm_optimizers.strategies.reflective import Reflective
from llm_optimizers.strategies.search import Search, Task

STRATEGIES: Mapping[str, type[Strategy]] = {
    each.name: each for each in (MetaPrompt, FewShot, Reflective, Auto)
}


class Stage(StrEnum):
    """What a wave is for."""

    SEARCH = "search"
    # The best of each model is measured on all of validation.
    CONFIRM = "confirm"
    # The test split is opened: the last wave.
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Proposed:
    """The next wave, and what it is for."""

    stage: Stage
    wave: Wave


class Session:
    """Proposes wave after wave, and accepts their results.

    The same task and the same results give the same waves: sending stored
    results again brings a session to where it was.
    """

    def __init__(
        self,
        task: Task,
        models: Sequence[str],
        strategy: str,
        test: Sequence[str] = (),
    ) -> None:
        self.searches: list[Search] = []
        self.reason: Stop | None = None
        self.proposed: Proposed | None = None
        # The prompt to compare with, and the best of all models.
        self.baseline: Candidate | None = None
        self.best: Candidate | None = None
        self.test_outcomes: Results = Results()
        self._task = task
        self._models = tuple(models)
        self._strategy = STRATEGIES[strategy]()
        self._test = tuple(test)
        self._numbers = itertools.count()
        self._steps = self._search()
        self._stage = Stage.SEARCH
        self._advance(None)

    @property
    def stopped(self) -> bool:
        """Whether there is nothing left to do."""
        return self.proposed is None

    def accept(self, results: Results, limit: Stop | None = None) -> None:
        """Take the results of the proposed wave, and propose the next.

        `limit` says that a limit was reached, and the wave was cut: the
        search ends, and what is needed to tell its outcome follows.
        """
        if self._stage is Stage.SEARCH and limit is not None:
            self.searches[-1].accept(results)
            self._steps.close()
            self._end(limit)
        else:
            self._advance(results)

    def candidates(self) -> list[Candidate]:
        """Return all candidates of all models, in order."""
        found = [
            each
            for search in self.searches
            for each in search.pool.candidates.values()
        ]
        return sorted(found, key=lambda each: each.number)

    def pool_of(self, candidate: Candidate) -> Pool:
        """Return the pool of a candidate's model."""
        return next(
            search.pool
            for search in self.searches
            if search.model == candidate.model
        )

    def _advance(self, results: Results | None) -> None:
        try:
            wave = (
                next(self._steps)
                if results is None
                else self._steps.send(results)
            )
        except StopIteration as end:
            if self._stage is Stage.SEARCH:
                self._end(end.value)
            else:
                self.proposed = None
            return
        self.proposed = Proposed(self._stage, wave)

    def _end(self, reason: Stop) -> None:
        self.reason = reason
        self._stage = Stage.CONFIRM
        self._steps = self._closing()
        self._advance(None)

    def _search(self) -> Generator[Wave, Results, Stop]:
        reason = Stop.MAX_ITERATIONS
        for index, model in enumerate(self._models):
            search = self._new_search(model)
            seeds = self._seeds(search)
            if self._task.limits.pilot and index == 0:
                first = search.validation[:1]
                yield from search.measure([(seeds[0].number, first)])
            yield from search.measure(
                [(each.number, search.validation) for each in seeds]
            )
            for each in seeds:
                search.pool.admit(each.number)
            later = len(self._models) - index - 1
            search.leaves = search.left * later / (later + 1) if later else 0
            reason = yield from self._strategy.waves(search)
        return reason

    def _new_search(self, model: str) -> Search:
        chance = random.Random(f"{self._task.seed}:{len(self.searches)}")  # noqa: S311 - repeatable
        pool = Pool(self._task.validation)
        copied = self.searches[0].copied if self.searches else None
        search = Search(
            self._task,
            model,
            pool,
            chance,
            self._numbers,
            copied=copied,
        )
        if self.searches:
            search.left = self.searches[-1].left
        self.searches.append(search)
        return search

    def _seeds(self, search: Search) -> list[Candidate]:
        """Begin with the given prompt and the best of earlier models."""
        seeds = [search.seed(self._task.texts)]
        for earlier in self.searches[:-1]:
            best = earlier.pool.candidates[earlier.pool.best()]
            if search.pool.with_parts(best.parts) is None:
                seeds.append(search.seed(best.texts, best.examples))
        return seeds

    def _closing(self) -> Generator[Wave, Results, Stop]:
        for search in self.searches:
            # A limit may have come before the first score.
            search.pool.admit(min(search.pool.candidates))
            yield from search.confirm()
        self._choose()
        yield from self._open_test()
        return Stop.MAX_ITERATIONS  # Nobody asks.

    def _choose(self) -> None:
        winner = max(
            self.searches, key=lambda each: each.pool.score(each.pool.best())
        )
        pool = winner.pool
        self.baseline = pool.candidates[min(pool.candidates)]
        self.best = pool.candidates[pool.best()]

    def _open_test(self) -> Generator[Wave, Results, None]:
        if not self._test or self.best is None or self.baseline is None:
            return
        self._stage = Stage.TEST
        pair = dict.fromkeys((self.baseline.number, self.best.number))
        results = yield tuple(Evaluate(each, self._test) for each in pair)
        self.test_outcomes = results
