"""Searches as a whole, on tasks in memory."""

import random
from dataclasses import replace

import pytest

from benchmarks.optimizer.hidden_rules import (
    INSTRUCTION,
    HiddenRules,
    Settings,
)
from benchmarks.optimizer.in_memory import measure
from benchmarks.optimizer.no_effect import verdicts
from llm_optimizers.strategies.protocol import (
    Ask,
    Evaluate,
    Item,
    Outcome,
    Results,
    Stop,
)
from llm_optimizers.strategies.search import Limits, Task
from llm_optimizers.strategies.session import STRATEGIES, Session, Stage

FAST = Settings(
    rules=6,
    train=50,
    validation=40,
    test=60,
    task_seconds=0,
    reflect_seconds=0,
)


@pytest.mark.parametrize("strategy", ["reflective", "auto"])
def test_all_rules_are_found_with_few_calls(strategy: str) -> None:
    for seed in range(3):
        task = HiddenRules(seed, FAST)
        found = measure(task, strategy, 0.95, Limits(target_score=0.95))
        assert found.reached
        assert found.test > 0.9
        assert found.calls < 450


def test_a_false_claim_is_rare_where_nothing_helps() -> None:
    assert verdicts(12)["improved"] <= 1


def results(session: Session, scores: dict[str, float]) -> Results:
    assert session.proposed is not None
    return Results(
        {
            (each.candidate, item): Outcome(scores.get(item, 0.0), {"a": 1})
            for each in session.proposed.wave
            if isinstance(each, Evaluate)
            for item in each.items
        },
        [
            f"<prompt>Try {random.Random(str(each.data)).random()}</prompt>"
            for each in session.proposed.wave
            if isinstance(each, Ask)
        ],
    )


def task(**limits: object) -> Task:
    return Task(
        (INSTRUCTION,),
        [Item(f"t{n}", {"n": n}, n % 2) for n in range(20)],
        [f"v{n}" for n in range(10)],
        replace(Limits(), **limits),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_nothing_better_ends_by_patience(strategy: str) -> None:
    session = Session(task(patience=2), ["m"], strategy, ["e1", "e2"])
    stages = []
    while session.proposed is not None:
        stages.append(session.proposed.stage)
        session.accept(results(session, {}))
    assert session.reason is Stop.PATIENCE
    assert session.best == session.baseline
    # The test split is opened once, at the very end.
    assert stages.count(Stage.TEST) == 1
    assert stages[-1] is Stage.TEST


@pytest.mark.parametrize("strategy", ["metaprompt", "reflective"])
def test_no_failures_end_the_search(strategy: str) -> None:
    session = Session(task(), ["m"], strategy)
    right = {f"t{n}": 1.0 for n in range(20)}
    while session.proposed is not None:
        session.accept(results(session, right))
    assert session.reason is Stop.NO_FAILURES


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_strategy_is_told_more_than_ids_of_validation_and_test(
    strategy: str,
) -> None:
    session = Session(task(patience=2), ["m"], strategy, ["e1", "e2"])
    while session.proposed is not None:
        for each in session.proposed.wave:
            if isinstance(each, Ask):
                shown = str(each.data)
                assert "v1" not in shown
                assert "e1" not in shown
        session.accept(results(session, {}))
    for candidate in session.candidates():
        lines = candidate.examples.splitlines()
        assert all("v" not in line for line in lines if "{" in line)


def test_a_limit_ends_the_search_and_what_follows_tells_its_outcome() -> None:
    session = Session(task(), ["m"], "reflective", ["e1"])
    session.accept(results(session, {}))
    session.accept(results(session, {}), Stop.MAX_TOKENS)
    assert session.reason is Stop.MAX_TOKENS
    assert session.proposed is not None
    assert session.proposed.stage is Stage.TEST


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_same_results_lead_to_the_same_waves(strategy: str) -> None:
    first = Session(task(patience=2), ["m", "n"], strategy, ["e1"])
    second = Session(task(patience=2), ["m", "n"], strategy, ["e1"])
    scores = {f"v{n}": 0.5 for n in range(5)}
    while first.proposed is not None:
        assert first.proposed == second.proposed
        # In another order, as they may be read.
        found = results(first, scores)
        turned = dict(reversed(list(found.outcomes.items())))
        first.accept(found)
        second.accept(replace(found, outcomes=turned))
    assert second.stopped
    assert first.best == second.best
