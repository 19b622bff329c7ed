"""What the calls of a wave could cost at most, each.

The budget of a run reserves this much for every call that is under way, and
refuses a call for which nothing is left. So only as many may be under way
at once as there is money for.
"""

from collections.abc import Iterable, Mapping

from api.core.errors import NotFoundError
from api.models.cost import from_units
from api.models.metric_models import judges_of
from api.models.run_models import Run
from api.services.limits.budgets import bound_of
from api.services.models.model_service import ModelService
from llm_optimizers.strategies.asking import PROMPTS
from llm_optimizers.strategies.protocol import Candidate, Evaluate, Wave
from utilities import payload

# Calls under way may bind so much of what is left: the rest is spent by
# those of the wave that come before them.
_BOUND_PART = 4
# An answer that is judged, and the judge's prompt, in bytes.
_JUDGED = 8_000


class CallBounds:
    """Knows the prices of the models that a run calls."""

    def __init__(self, models: ModelService) -> None:
        self._models = models

    async def most(
        self,
        run: Run,
        wave: Wave,
        candidates: Mapping[int, Candidate],
        longest_item: int,
    ) -> float:
        """Give the bound of the most expensive call; 0 without a limit.

        `longest_item` is the size of the longest input, in bytes.
        """
        if run.max_cost is None:
            return 0.0
        sizes: dict[str, int] = {}
        for model, size in _calls(run, wave, candidates, longest_item):
            sizes[model] = max(sizes.get(model, 0), size)
        bounds = [await self._bound(*each) for each in sizes.items()]
        return max(bounds, default=0.0)

    async def _bound(self, name: str, size: int) -> float:
        try:
            model = await self._models.find(name)
        except NotFoundError:
            return 0.0  # The wave will say so.
        return from_units(bound_of(model, size))


def at_once(run: Run, left: float, bound: float) -> int:
    """Give how many calls may be under way with so much money left."""
    most = run.parallelism or 1
    if not bound:
        return most
    return max(min(int(left / _BOUND_PART / bound), most), 1)


def _calls(
    run: Run,
    wave: Wave,
    candidates: Mapping[int, Candidate],
    longest_item: int,
) -> Iterable[tuple[str, int]]:
    for _, judge in judges_of(run.metric) if run.metric else ():
        yield judge.model, 2 * longest_item + _JUDGED
    for each in wave:
        if isinstance(each, Evaluate):
            candidate = candidates[each.candidate]
            system = "\n\n".join(candidate.parts)
            yield candidate.model, len(system.encode()) + longest_item
        else:
            system, data = PROMPTS[each.purpose], payload.dump(dict(each.data))
            model = run.meta_model or candidates[each.parent].model
            yield model, len(system.encode()) + len(data.encode())
