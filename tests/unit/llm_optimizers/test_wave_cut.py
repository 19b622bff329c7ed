"""Waves are cut to what limits allow, and stored as they are planned."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.models.run_models import Run
from api.models.usage_models import SummedMetrics
from api.services.runs.run_jobs import RunUsage
from api.services.runs.run_limits import shares
from llm_optimizers.strategies.protocol import (
    Ask,
    Evaluate,
    Outcome,
    Purpose,
    Results,
    Stop,
    Wave,
)
from llm_optimizers.strategies.session import Proposed, Stage
from llm_optimizers.wave_cut import (
    NO_LIMIT,
    Allowance,
    Largest,
    Size,
    allowances,
    cut,
    tightest,
)
from llm_optimizers.wave_text import (
    dump_plan,
    dump_results,
    load_plan,
    load_results,
    same_wave,
    shortened,
)
from tests.unit.llm_optimizers.test_steps import make_run
from utilities import payload

ASK = Ask(Purpose.REFLECT, 0, {"currentPrompt": "x", "failures": []})
EVALUATE = Evaluate(1, ("a", "b", "c", "d"))
WAVE: Wave = (ASK, EVALUATE, ASK)


def run_with(**fields: Any) -> Run:
    return Run.from_document({**make_run(), **fields})


def used(jobs: int, tokens: int = 0, cost: float = 0.0) -> RunUsage:
    sums = SummedMetrics(total_tokens=tokens, cost_by_currency={"USD": cost})
    return RunUsage(jobs, sums)


@pytest.mark.parametrize(
    ("units", "kept"),
    [
        (6, WAVE),
        (5, (ASK, EVALUATE)),
        (3, (ASK, Evaluate(1, ("a", "b")))),
        (1, (ASK,)),
        (0, ()),
    ],
)
def test_the_beginning_of_a_wave_is_kept(units: int, kept: Wave) -> None:
    allowed = [Allowance(Stop.MAX_JOBS, units)]
    found, limit = cut(Proposed(Stage.SEARCH, WAVE), allowed, 1)
    assert found == kept
    assert limit == (None if found == WAVE else Stop.MAX_JOBS)
    assert same_wave(found, WAVE)


def test_judges_and_large_questions_count() -> None:
    allowed = [
        Allowance(Stop.MAX_JOBS, 100),
        Allowance(Stop.MAX_TOKENS, 11, ask_units=5),
    ]
    found, limit = cut(Proposed(Stage.SEARCH, WAVE), allowed, 2)
    assert found == (ASK, Evaluate(1, ("a", "b", "c")))
    assert limit is Stop.MAX_TOKENS


def test_a_test_is_cut_to_the_same_items_of_both() -> None:
    pair = (Evaluate(0, ("a", "b", "c")), Evaluate(3, ("a", "b", "c")))
    allowed = [Allowance(Stop.MAX_COST, 5)]
    found, _ = cut(Proposed(Stage.TEST, pair), allowed, 1)
    assert found == (Evaluate(0, ("a", "b")), Evaluate(3, ("a", "b")))
    nothing, _ = cut(
        Proposed(Stage.TEST, pair), [Allowance(Stop.MAX_COST, 1)], 1
    )
    assert nothing == ()


@given(st.integers(0, 12), st.integers(1, 3))
def test_no_more_is_kept_than_is_allowed(units: int, per_item: int) -> None:
    allowed = [Allowance(Stop.MAX_JOBS, units)]
    found, limit = cut(Proposed(Stage.SEARCH, WAVE), allowed, per_item)
    needed = sum(
        per_item * len(each.items) if isinstance(each, Evaluate) else 1
        for each in found
    )
    assert needed <= units
    assert (limit is None) == (found == WAVE)


def test_what_tells_the_outcome_is_set_aside() -> None:
    run = run_with(maxJobs=100)
    shared = shares(20, 10, 100, 1)
    assert (shared.validation, shared.test) == (20, 10)
    left = {
        stage: tightest(
            allowances(run, used(10), shared, Largest(), stage)
        ).units
        for stage in Stage
    }
    assert left == {Stage.SEARCH: 50, Stage.CONFIRM: 70, Stage.TEST: 90}
    unlimited = allowances(
        run_with(), used(10), shared, Largest(), Stage.SEARCH
    )
    assert tightest(unlimited).units == NO_LIMIT


def test_tokens_and_money_are_counted_by_the_largest_answer() -> None:
    run = run_with(maxTokens=1000, maxCost={"amount": 2.0, "currency": "USD"})
    shared = shares(1, 1, None, 1)
    unknown = allowances(run, used(0), shared, Largest(), Stage.TEST)
    assert tightest(unknown).units == NO_LIMIT
    largest = Largest(Size(10, 0.25), Size(40, 0.25))
    tokens, cost = allowances(
        run, used(5, 400, 0.5), shared, largest, Stage.TEST
    )
    assert (tokens.units, tokens.ask_units) == (40, 4)
    assert (cost.units, cost.ask_units) == (4, 1)
    _, bound = allowances(
        run, used(5, 400, 0.5), shared, largest, Stage.TEST, 0.6
    )
    assert bound.units == 2
    spent, _ = allowances(run, used(5, 1000, 0.5), shared, largest, Stage.TEST)
    assert spent.units == 0


@pytest.mark.parametrize("per_item", [1, 2])
@pytest.mark.parametrize("most", [1, 7, 50, 100, 1000])
def test_small_limits_leave_fewer_items(most: int, per_item: int) -> None:
    shared = shares(40, 60, most, per_item)
    assert 1 <= shared.validation <= 40
    assert 1 <= shared.test <= 60
    if most >= 50:
        assert shared.reserved + per_item * shared.validation <= most


def test_plans_and_results_are_read_as_they_were_written() -> None:
    proposed = Proposed(Stage.CONFIRM, WAVE)
    text = payload.dump(dump_plan(proposed, Stop.MAX_COST))
    assert load_plan(payload.load(text)) == (proposed, Stop.MAX_COST)
    results = Results(
        {(1, "a"): Outcome(0.5, {"x": [1]}), (1, "b"): Outcome(0, None, "E")},
        ["text", None],
        NO_LIMIT,
        Stop.MAX_TOKENS,
    )
    text = payload.dump(dump_results(results))
    assert load_results(payload.load(text)) == results


def test_another_wave_is_told_from_one_that_was_cut() -> None:
    assert not same_wave((Evaluate(1, ("b",)),), (EVALUATE,))
    assert not same_wave((Evaluate(2, ("a",)),), (EVALUATE,))
    assert not same_wave((EVALUATE, ASK), (EVALUATE,))
    assert not same_wave((ASK,), (EVALUATE,))


def test_of_long_answers_the_beginning_is_kept() -> None:
    assert shortened({"a": 1}) == {"a": 1}
    long = shortened({"a": "x" * 10_000})
    assert isinstance(long, str)
    assert len(long) == 4_000
