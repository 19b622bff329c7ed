"""Runs a strategy against a simulated task, without a service."""

import json
import time
from dataclasses import dataclass

from benchmarks.optimizer.hidden_rules import (
    INSTRUCTION,
    HiddenRules,
    SimulatedModel,
)
from llm_optimizers.strategies.protocol import (
    Ask,
    Evaluate,
    Item,
    Outcome,
    Purpose,
    Results,
    Wave,
)
from llm_optimizers.strategies.search import Limits, Task
from llm_optimizers.strategies.session import Session, Stage


@dataclass(frozen=True)
class Measured:
    """What it took to reach the target, and how good the prompt is."""

    calls: int
    seconds: float
    validation: float
    test: float
    reached: bool


def measure(
    task: HiddenRules, strategy: str, target: float, limits: Limits
) -> Measured:
    """Search until a confirmed prompt has the target score."""
    model = SimulatedModel(task)
    session = Session(
        Task(
            (INSTRUCTION,),
            [Item(case, {"case": case}) for case in task.splits["train"]],
            task.splits["validation"],
            limits,
            task.seed,
        ),
        ["simulated"],
        strategy,
        task.splits["test"],
    )
    began = time.monotonic()
    while session.proposed and session.proposed.stage is not Stage.TEST:
        session.accept(_results(session, model, session.proposed.wave))
    seconds = time.monotonic() - began
    model.close()
    assert session.best is not None
    prompt = session.best.instruction
    validation = task.accuracy(prompt, "validation")
    return Measured(
        model.calls,
        seconds,
        validation,
        task.accuracy(prompt, "test"),
        validation >= target,
    )


def _results(session: Session, model: SimulatedModel, wave: Wave) -> Results:
    prompts = {
        each.number: "\n\n".join(each.parts) for each in session.candidates()
    }
    keys = [
        (each.candidate, item)
        for each in wave
        if isinstance(each, Evaluate)
        for item in each.items
    ]
    right = model.answers([(prompts[number], item) for number, item in keys])
    outcomes = {
        key: Outcome(float(each), "right" if each else "wrong")
        for key, each in zip(keys, right, strict=True)
    }
    asks = [each for each in wave if isinstance(each, Ask)]
    return Results(outcomes, _answers(model, asks))


def _answers(model: SimulatedModel, asks: list[Ask]) -> list[str | None]:
    if asks and asks[0].purpose is Purpose.MERGE:
        return [model.joined(json.dumps(dict(each.data))) for each in asks]
    return list(model.reflections([_question(each) for each in asks]))


def _question(ask: Ask) -> tuple[str, str]:
    if ask.purpose is Purpose.META:
        prompt = "\n\n".join(ask.data["original_prompts"])
        return prompt, json.dumps(dict(ask.data["evaluation"]))
    rejected = json.dumps(ask.data.get("didNotHelp", []))
    shown = json.dumps(ask.data["failures"])
    return ask.data["currentPrompt"], shown + rejected
