"""Cuts a wave to what the limits of a run still allow: pure functions.

A limit is counted in units: what one job uses at most, as far as the
largest answer so far tells, with a margin. Questions for prompts are
larger than others, and count as several.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from api.models.metrics import ProcessingMetrics
from api.models.run_models import Run
from api.services.runs.run_jobs import RunUsage
from api.services.runs.run_limits import Shares
from llm_optimizers.strategies.protocol import Evaluate, Request, Stop, Wave
from llm_optimizers.strategies.session import Proposed, Stage

NO_LIMIT = float("inf")
# The largest answer so far may not be the largest of all.
_MARGIN = 1.5
# Before the first question, one is taken to be as large as so many answers.
_ASK_UNITS = 8.0


@dataclass(frozen=True, slots=True)
class Size:
    """What a job has used."""

    tokens: int = 0
    cost: float = 0.0

    def with_one(self, metrics: ProcessingMetrics | None) -> "Size":
        """Take the larger of both in each."""
        if metrics is None:
            return self
        return self.or_larger(
            Size(metrics.total_tokens, metrics.total_cost or 0.0)
        )

    def or_larger(self, other: "Size") -> "Size":
        """Take the larger of both in each."""
        return Size(max(self.tokens, other.tokens), max(self.cost, other.cost))


@dataclass(frozen=True, slots=True)
class Largest:
    """The largest answer to an item so far, and to a question."""

    answer: Size = Size()
    ask: Size = Size()

    def or_larger(self, other: "Largest") -> "Largest":
        """Take the larger of both in each."""
        return Largest(
            self.answer.or_larger(other.answer), self.ask.or_larger(other.ask)
        )


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a limit leaves, in units, and how many a question takes."""

    limit: Stop
    units: float
    ask_units: float = 1.0


def allowances(
    run: Run,
    usage: RunUsage,
    shares: Shares,
    largest: Largest,
    stage: Stage,
    bound: float = 0.0,
) -> list[Allowance]:
    """Give what each limit of a run leaves for a stage.

    `bound` is what a call binds of `maxCost` while it is under way.
    """
    kept = _kept(shares, stage)
    limits = []
    if run.max_jobs is not None:
        left = float(run.max_jobs - usage.jobs)
        limits.append(Allowance(Stop.MAX_JOBS, left))
    if run.max_tokens is not None:
        left = float(run.max_tokens - usage.metrics.total_tokens)
        sizes = largest.answer.tokens, largest.ask.tokens
        limits.append(_in_units(Stop.MAX_TOKENS, left, *sizes))
    if run.max_cost is not None:
        costs = largest.answer.cost, largest.ask.cost
        left = money_left(run, usage) - bound
        limits.append(_in_units(Stop.MAX_COST, left, *costs))
    return [
        Allowance(e.limit, max(e.units - kept, 0), e.ask_units) for e in limits
    ]


def jobs_left(
    run: Run, usage: RunUsage, shares: Shares, stage: Stage
) -> int | None:
    """Give how many jobs a stage may still cause; None without a limit."""
    if run.max_jobs is None:
        return None
    return max(run.max_jobs - usage.jobs - _kept(shares, stage), 0)


def _kept(shares: Shares, stage: Stage) -> int:
    """Give the jobs that are set aside for the stages after this one."""
    return {
        Stage.SEARCH: shares.reserved,
        Stage.CONFIRM: shares.to_test,
        Stage.TEST: 0,
    }[stage]


def money_left(run: Run, usage: RunUsage) -> float:
    """Give what is left of `maxCost`; 0 if there is no such limit."""
    if run.max_cost is None:
        return 0.0
    spent = usage.metrics.cost_by_currency.get(run.max_cost.currency, 0.0)
    return run.max_cost.amount - spent


def _in_units(
    limit: Stop, left: float, answer: float, ask: float
) -> Allowance:
    if left <= 0:
        return Allowance(limit, 0)
    if not answer:
        # Nothing is known yet, or it costs nothing.
        return Allowance(limit, NO_LIMIT)
    ask_units = ask / answer if ask else _ASK_UNITS
    return Allowance(limit, left // (_MARGIN * answer), max(ask_units, 1))


def tightest(allowed: Sequence[Allowance]) -> Allowance:
    """Give the limit that leaves least."""
    unlimited = Allowance(Stop.MAX_JOBS, NO_LIMIT)
    return min(allowed, key=lambda each: each.units, default=unlimited)


def cut(
    proposed: Proposed, allowed: Sequence[Allowance], per_item: int
) -> tuple[Wave, Stop | None]:
    """Give what of a wave may be done, and the limit that cut it, if any.

    Jobs are counted as if no answer was there already.
    """
    tight = [
        each
        for each in allowed
        if _units(proposed.wave, each, per_item) > each.units
    ]
    if not tight:
        return proposed.wave, None
    limit = tightest(tight).limit
    if proposed.stage is Stage.TEST:
        return _paired(proposed.wave, tightest(tight).units, per_item), limit
    return _beginning(proposed.wave, tight, per_item), limit


def _units(wave: Wave, allowed: Allowance, per_item: int) -> float:
    return sum(
        per_item * len(each.items)
        if isinstance(each, Evaluate)
        else allowed.ask_units
        for each in wave
    )


def _beginning(wave: Wave, tight: Sequence[Allowance], per_item: int) -> Wave:
    left = [each.units for each in tight]
    kept: list[Request] = []
    for request in wave:
        if not isinstance(request, Evaluate):
            left = [n - e.ask_units for n, e in zip(left, tight, strict=True)]
            if min(left) < 0:
                break
            kept.append(request)
            continue
        count = min(math.floor(min(left) / per_item), len(request.items))
        if count:
            kept.append(Evaluate(request.candidate, request.items[:count]))
        if count < len(request.items):
            break
        left = [n - per_item * count for n in left]
    return tuple(kept)


def _paired(wave: Wave, units: float, per_item: int) -> Wave:
    """Test fewer items, the same for all."""
    count = int(units // (per_item * len(wave)))
    return tuple(
        Evaluate(each.candidate, each.items[:count])
        for each in wave
        if isinstance(each, Evaluate) and count
    )
