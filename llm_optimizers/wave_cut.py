"""Cuts a wave to what the limits of a run still allow: pure functions."""

from dataclasses import dataclass

from api.models.metrics import ProcessingMetrics
from api.models.run_models import Run
from api.services.runs.run_jobs import RunUsage
from api.services.runs.run_limits import Shares
from llm_optimizers.strategies.protocol import Evaluate, Request, Stop, Wave
from llm_optimizers.strategies.session import Proposed, Stage

_NO_LIMIT = float("inf")


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many jobs may still be caused, and the limit that says so."""

    jobs: float
    limit: Stop | None


@dataclass(frozen=True, slots=True)
class Largest:
    """What the largest answer so far has used; 0 before the first."""

    tokens: int = 0
    cost: float = 0.0

    def with_one(self, metrics: ProcessingMetrics | None) -> "Largest":
        """Take one more answer into account."""
        if metrics is None:
            return self
        return Largest(
            max(self.tokens, metrics.total_tokens),
            max(self.cost, metrics.total_cost or 0.0),
        )


def allowance(
    run: Run, usage: RunUsage, shares: Shares, largest: Largest, stage: Stage
) -> Allowance:
    """Give the tightest of a run's limits, for a stage."""
    kept = {
        Stage.SEARCH: shares.reserved,
        Stage.CONFIRM: shares.to_test,
        Stage.TEST: 0,
    }[stage]
    limits = [
        Allowance(_by_jobs(run, usage), Stop.MAX_JOBS),
        Allowance(_by_tokens(run, usage, largest), Stop.MAX_TOKENS),
        Allowance(_by_cost(run, usage, largest), Stop.MAX_COST),
    ]
    tightest = min(limits, key=lambda each: each.jobs)
    return Allowance(max(tightest.jobs - kept, 0), tightest.limit)


def _by_jobs(run: Run, usage: RunUsage) -> float:
    return _NO_LIMIT if run.max_jobs is None else run.max_jobs - usage.jobs


def _by_tokens(run: Run, usage: RunUsage, largest: Largest) -> float:
    if run.max_tokens is None:
        return _NO_LIMIT
    left = run.max_tokens - usage.metrics.total_tokens
    if left <= 0:
        return 0
    return left // largest.tokens if largest.tokens else _NO_LIMIT


def _by_cost(run: Run, usage: RunUsage, largest: Largest) -> float:
    if run.max_cost is None:
        return _NO_LIMIT
    spent = usage.metrics.cost_by_currency.get(run.max_cost.currency, 0.0)
    left = run.max_cost.amount - spent
    if left <= 0:
        return 0
    return left // largest.cost if largest.cost else _NO_LIMIT


def cut(
    proposed: Proposed, allowed: Allowance, per_item: int
) -> tuple[Wave, Stop | None]:
    """Give what of a wave may be done, and the limit that cut it, if any.

    Jobs are counted as if no answer was there already.
    """
    needed = sum(_jobs(each, per_item) for each in proposed.wave)
    if needed <= allowed.jobs:
        return proposed.wave, None
    if proposed.stage is Stage.TEST:
        return _paired(proposed.wave, allowed, per_item), allowed.limit
    left, kept = allowed.jobs, []
    for request in proposed.wave:
        part = _part(request, left, per_item)
        if part is None:
            break
        left -= _jobs(part, per_item)
        kept.append(part)
    return tuple(kept), allowed.limit


def _jobs(request: Request, per_item: int) -> int:
    return (
        per_item * len(request.items) if isinstance(request, Evaluate) else 1
    )


def _part(request: Request, left: float, per_item: int) -> Request | None:
    if not isinstance(request, Evaluate):
        return request if left >= 1 else None
    count = int(left // per_item)
    if count >= len(request.items):
        return request
    return (
        Evaluate(request.candidate, request.items[:count]) if count else None
    )


def _paired(wave: Wave, allowed: Allowance, per_item: int) -> Wave:
    """Test fewer items, the same for all."""
    count = int(allowed.jobs // (per_item * len(wave)))
    return tuple(
        Evaluate(each.candidate, each.items[:count])
        for each in wave
        if isinstance(each, Evaluate) and count
    )
