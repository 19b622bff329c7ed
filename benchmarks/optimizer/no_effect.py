"""A/A: tasks where no prompt can help. Who claims an improvement is wrong.

Whether an answer is right depends on chance alone, drawn for each pair of
prompt and case. So some prompts look better on validation, and the search
finds them; on the test split they are as good as the first one.
"""

import hashlib
import random
from collections import Counter
from dataclasses import dataclass

from benchmarks.optimizer.hidden_rules import INSTRUCTION
from llm_optimizers.run_results import outcomes
from llm_optimizers.strategies.protocol import (
    Ask,
    Evaluate,
    Item,
    Outcome,
    Request,
    Results,
)
from llm_optimizers.strategies.search import Limits, Task
from llm_optimizers.strategies.session import STRATEGIES, Session

TRAIN, VALIDATION, TEST = 60, 50, 100
# How often an answer is right, and whether scores are between 0 and 1.
KINDS = ((0.3, False), (0.5, False), (0.8, False), (0.5, True))


@dataclass(frozen=True)
class NoEffect:
    """A task of one seed."""

    seed: int
    rate: float
    graded: bool

    def score(self, prompt: str, case: str) -> float:
        """Give the score of an answer; the prompt has no effect."""
        text = f"{self.seed}:{prompt}:{case}"
        digest = hashlib.sha256(text.encode()).hexdigest()
        chance = random.Random(digest)
        if self.graded:
            return round(chance.random(), 2)
        return float(chance.random() < self.rate)

    def reflect(self, ask: Ask) -> str:
        """Write some other prompt."""
        text = f"{self.seed}:{sorted(ask.data.items())}"
        digest = hashlib.sha256(text.encode()).hexdigest()
        return f"{INSTRUCTION}\nMind {digest[:8]}."


def verdicts(runs: int, strategies: tuple[str, ...] = ()) -> Counter[str]:
    """Run so many searches, by all strategies in turn; count verdicts."""
    names = strategies or tuple(STRATEGIES)
    found = Counter[str]()
    for seed in range(runs):
        rate, graded = KINDS[seed // len(names) % len(KINDS)]
        task = NoEffect(seed, rate, graded)
        found[_verdict(task, names[seed % len(names)])] += 1
    return found


def _verdict(task: NoEffect, strategy: str) -> str:
    session = Session(
        Task(
            (INSTRUCTION,),
            [
                Item(f"train-{n}", {"case": f"train-{n}"}, n % 3)
                for n in range(TRAIN)
            ],
            [f"validation-{n}" for n in range(VALIDATION)],
            Limits(max_iterations=10),
            task.seed,
        ),
        ["simulated"],
        strategy,
        [f"test-{n}" for n in range(TEST)],
    )
    while session.proposed is not None:
        session.accept(_results(session, task, session.proposed.wave))
    return str(outcomes(session, {}, task.seed).verdict)


def _results(
    session: Session, task: NoEffect, wave: tuple[Request, ...]
) -> Results:
    prompts = {
        each.number: "\n\n".join(each.parts) for each in session.candidates()
    }
    scores = {
        (each.candidate, item): Outcome(
            task.score(prompts[each.candidate], item), "answer"
        )
        for each in wave
        if isinstance(each, Evaluate)
        for item in each.items
    }
    texts = [task.reflect(each) for each in wave if isinstance(each, Ask)]
    return Results(scores, texts)
