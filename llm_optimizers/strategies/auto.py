"""`auto`: strategies that hand over to each other when one stalls."""

from dataclasses import replace
from typing import ClassVar

from llm_optimizers.strategies.fewshot import FewShot
from llm_optimizers.strategies.protocol import Stop, Strategy, Waves
from llm_optimizers.strategies.reflective import Reflective
from llm_optimizers.strategies.search import Search

# Why one hands over; any other reason ends the search.
_STALLED = (Stop.PATIENCE, Stop.NO_FAILURES, Stop.MAX_ITERATIONS)


class Auto:
    """Examples first, which are cheap to find; then instructions; again.

    Each starts from the best of all before it: an instruction is improved
    with its examples in place, and examples are searched for the improved
    instruction. It ends when neither finds anything better.
    """

    name: ClassVar[str] = "auto"

    def waves(self, search: Search) -> Waves:
        """Take turns until nobody finds anything better."""
        turns: tuple[Strategy, ...] = (FewShot(), Reflective())
        reason, idle, turn = Stop.PATIENCE, 0, 0
        task = search.task
        while idle < len(turns):
            before = search.pool.score(search.pool.best())
            # One round without success is enough to hand over.
            limits = replace(task.limits, patience=1)
            search.task = replace(task, limits=limits)
            try:
                reason = yield from turns[turn % len(turns)].waves(search)
            finally:
                search.task = task
            if reason not in _STALLED:
                return reason
            after = search.pool.score(search.pool.best())
            idle = 0 if after > before else idle + 1
            turn += 1
        return reason
