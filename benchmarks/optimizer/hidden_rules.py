"""A simulated task with hidden rules, and models that answer it.

Each input needs one rule; an answer is right only if the prompt holds that
rule. Who reflects sees failures and can name one rule that is missing, and
is wrong at times. It is the same for all who are measured: it is asked with
plain text, in which it finds the current prompt's rules and the inputs.
"""

import hashlib
import json
import random
import re
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

INSTRUCTION = "Answer the case."
_CASE = re.compile(r"case-[0-9]{4}")
_RULE = re.compile(
    r"Rule [a-z]+-[0-9]+: treat cases of kind [0-9]+ as [a-z ]+\."
)


@dataclass(frozen=True)
class Settings:
    """The size of the task, and how long its models take."""

    rules: int = 12
    train: int = 100
    validation: int = 80
    test: int = 200
    # Cases that need no rule.
    easy: float = 0.1
    # How often who reflects names a rule that does not exist.
    misled: float = 0.2
    # Who reflects writes all rules anew, in another order: changes of one
    # prompt cannot be joined line by line.
    rewrites: bool = False
    task_seconds: float = 0.02
    reflect_seconds: float = 0.1
    concurrency: int = 16


@dataclass
class HiddenRules:
    """The task of one seed."""

    seed: int
    settings: Settings = Settings()
    needs: dict[str, str | None] = field(default_factory=dict)
    splits: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        chance = random.Random(self.seed)
        rules = [_rule("hidden", n) for n in range(self.settings.rules)]
        for split in ("train", "validation", "test"):
            count = getattr(self.settings, split)
            self.splits[split] = [
                self._case(chance, rules) for _ in range(count)
            ]

    def _case(self, chance: random.Random, rules: Sequence[str]) -> str:
        case = f"case-{len(self.needs):04}"
        easy = chance.random() < self.settings.easy
        self.needs[case] = None if easy else chance.choice(rules)
        return case

    def is_right(self, prompt: str, case: str) -> bool:
        """Tell whether a case is answered right with a prompt."""
        need = self.needs[case]
        return need is None or need in prompt

    def accuracy(self, prompt: str, split: str) -> float:
        """Give the true accuracy of a prompt."""
        cases = self.splits[split]
        return sum(self.is_right(prompt, case) for case in cases) / len(cases)

    def reflect(self, prompt: str, shown: str) -> str:
        """Return the prompt with one more rule.

        `shown` has the inputs that were answered, in anybody's words.
        """
        wrong = [
            case
            for case in dict.fromkeys(_CASE.findall(shown))
            if not self.is_right(prompt, case)
        ]
        seed = f"{self.seed}{prompt}{shown}"
        digest = hashlib.sha256(seed.encode()).hexdigest()
        chance = random.Random(digest)
        new = _rule("false", chance.randrange(10_000))
        if wrong and chance.random() >= self.settings.misled:
            new = str(self.needs[chance.choice(wrong)])
        if not self.settings.rewrites:
            return f"{prompt}\n{new}"
        rules = [*_RULE.findall(prompt), new]
        chance.shuffle(rules)
        return "\n".join([INSTRUCTION, *rules])

    def reply(self, system: str, asked: Mapping[str, Any]) -> str:
        """Answer as a model does: a case, or a question for a prompt."""
        if "case" in asked:
            right = self.is_right(system, asked["case"])
            return json.dumps({"answer": "right" if right else "wrong"})
        if "versions" in asked:
            return self.join("\n".join(asked["versions"]))
        if "original_prompts" in asked:
            prompt = "\n\n".join(asked["original_prompts"])
        else:
            prompt = asked["currentPrompt"]
        shown = json.dumps({**asked, "currentPrompt": None})
        return f"<prompt>\n{self.reflect(prompt, shown)}\n</prompt>"

    def join(self, versions: str) -> str:
        """Return a prompt with all rules of several versions."""
        rules = dict.fromkeys(_RULE.findall(versions))
        return "\n".join([INSTRUCTION, *rules])


def _rule(kind: str, number: int) -> str:
    return f"Rule {kind}-{number}: treat cases of kind {number} as they are."


class SimulatedModel:
    """Answers the task, some calls at a time, and counts them."""

    def __init__(self, task: HiddenRules) -> None:
        self.task = task
        self.calls = 0
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(task.settings.concurrency)

    def answers(self, asked: Sequence[tuple[str, str]]) -> list[bool]:
        """Answer cases, each with a prompt; tell which are right."""
        return list(self._pool.map(self._answer, asked))

    def reflections(self, asked: Sequence[tuple[str, str]]) -> list[str]:
        """Answer questions for a better prompt: a prompt and what it did."""
        return list(self._pool.map(self._reflect, asked))

    def joined(self, versions: str) -> str:
        """Answer the question for one prompt instead of several."""
        self._count(self.task.settings.reflect_seconds)
        return self.task.join(versions)

    def close(self) -> None:
        """End its threads."""
        self._pool.shutdown()

    def _answer(self, pair: tuple[str, str]) -> bool:
        self._count(self.task.settings.task_seconds)
        return self.task.is_right(*pair)

    def _reflect(self, asked: tuple[str, str]) -> str:
        self._count(self.task.settings.reflect_seconds)
        return self.task.reflect(*asked)

    def _count(self, seconds: float) -> None:
        with self._lock:
            self.calls += 1
        time.sleep(seconds)
