"""Finds training items that a candidate answers wrong, with few calls."""

import math
from collections.abc import Generator

from llm_optimizers.strategies.protocol import Results, Wave
from llm_optimizers.strategies.search import Search

# A batch is made larger where failures are rare, up to so many times.
_MOST_TIMES = 4


class Failures:
    """Looks for failures among the training items, batch by batch.

    What a parent failed on is tried first, unless a change is known to help
    there; then items that nobody of the lineage has seen. Items that a
    parent has answered right are left for last.
    """

    def __init__(self, search: Search, batch: int) -> None:
        self._search = search
        self._batch = batch

    def first(self, number: int) -> tuple[int, list[str]]:
        """Give what to measure for a start, within another wave."""
        return number, self._search.train_order[: self._batch]

    def of(
        self, number: int, wanted: int
    ) -> Generator[Wave, Results, list[str]]:
        """Return up to `wanted` measured failures; fewer if there are none."""
        search = self._search
        found = self._measured(number)
        while len(found) < wanted:
            batch = self._next(number, wanted - len(found))
            if not batch:
                break
            yield from search.measure([(number, batch)])
            if search.pool.unknown(number, batch):
                break  # A limit was reached.
            found = self._measured(number)
            if found:
                break
        return found[:wanted]

    def _measured(self, number: int) -> list[str]:
        known = self._search.pool.known(number)
        order = [each for each in self._search.train_order if each in known]
        return self._search.pool.failing(number, order)

    def _next(self, number: int, missing: int) -> list[str]:
        pool = self._search.pool
        left = list(pool.unknown(number, self._search.train_order))
        if not left:
            return []
        seen = {
            item for each in pool.lineage(number) for item in pool.known(each)
        }
        failing = set(pool.failing(number, seen))
        failed = [e for e in left if e in failing]
        fresh = [e for e in left if e not in seen]
        # What a parent has answered right is only tried if all else is.
        rest = [] if self._measured(number) else left
        ordered = list(dict.fromkeys([*failed, *fresh, *rest]))
        return ordered[: self._size(number, missing)]

    def _size(self, number: int, missing: int) -> int:
        rate = max(1 - self._search.pool.score(number), 0.01)
        wanted = math.ceil(missing / rate)
        return min(max(self._batch, wanted), _MOST_TIMES * self._batch)
