"""`metaprompt`: one suggestion after the other, of which the best is kept."""

from collections.abc import Generator
from typing import ClassVar

from llm_optimizers.strategies import asking
from llm_optimizers.strategies.failures import Failures
from llm_optimizers.strategies.protocol import Results, Stop, Wave, Waves
from llm_optimizers.strategies.race import race
from llm_optimizers.strategies.search import Search

_SHOWN = 5


class MetaPrompt:
    """The loop of the runs without a dataset, with measured scores.

    The meta prompt always gets the best prompt so far and failures of it,
    not the last suggestion; the last suggestion is tried too.
    """

    name: ClassVar[str] = "metaprompt"

    def waves(self, search: Search) -> Waves:
        """Suggest, race, keep the better one."""
        failures = Failures(search, batch=2 * _SHOWN)
        stale = 0
        for _ in range(search.limits.max_iterations):
            if (reason := search.must_stop()) is not None:
                return reason
            shown = yield from failures.of(search.pool.best(), _SHOWN)
            if not shown:
                return Stop.NO_FAILURES
            better = yield from self._try_one(search, shown)
            stale = 0 if better else stale + 1
            if stale >= search.limits.patience:
                return Stop.PATIENCE
            yield from search.confirm_target()
        return search.must_stop() or Stop.MAX_ITERATIONS

    def _try_one(
        self, search: Search, shown: list[str]
    ) -> Generator[Wave, Results, bool]:
        best = search.pool.best()
        texts = yield from search.measure(
            asks=[asking.meta(search, best, shown)]
        )
        text = asking.new_text(texts[0]) if texts else None
        if text is None:
            return False
        examples = search.pool.candidates[best].examples
        child = search.propose((text,), [best], "suggested", examples)
        if child is None:
            search.reject(best, text)
            return False
        winners = yield from race(search, [child.number], best)
        if not winners:
            search.reject(best, text)
        return bool(winners)
