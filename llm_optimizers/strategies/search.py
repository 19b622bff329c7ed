"""What a strategy works with: the state of a search for one model."""

import random
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from llm_optimizers.strategies.copied_text import CopiedText
from llm_optimizers.strategies.pool import Pool
from llm_optimizers.strategies.protocol import (
    Ask,
    Candidate,
    Evaluate,
    Item,
    Request,
    Results,
    Stop,
    Wave,
)


@dataclass(frozen=True, slots=True)
class Limits:
    """When a search stops by itself; `proposals` are made at once."""

    max_iterations: int = 20
    patience: int = 3
    target_score: float | None = None
    proposals: int = 8
    # Jobs of one score: the answer and its judges.
    per_item: int = 1
    # Begin with one answer: it shows how large answers are.
    pilot: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be improved.

    Of validation items, only the ids are told: no strategy can show them
    to a model.
    """

    texts: tuple[str, ...]
    train: Sequence[Item]
    validation: Sequence[str]
    limits: Limits = Limits()
    seed: int = 0


Measuring = Generator[Wave, Results, list[str | None]]


@dataclass
class Search:
    """The search for one model."""

    task: Task
    model: str
    pool: Pool
    chance: random.Random
    numbers: Iterable[int]
    left: float = float("inf")
    tightest: Stop = Stop.MAX_JOBS
    # What the search must leave for the models that come after this one.
    leaves: float = 0.0
    # Changes that were tried in vain, by parent.
    rejected: dict[int, list[str]] = field(default_factory=dict)
    refused: int = 0
    # Of the training items; searches of one task share it.
    copied: CopiedText | None = None

    def __post_init__(self) -> None:
        self.items: Mapping[str, Item] = {
            each.item_id: each for each in self.task.train
        }
        self.train_order = [each.item_id for each in self.task.train]
        self.chance.shuffle(self.train_order)
        self.validation = list(self.task.validation)
        self.chance.shuffle(self.validation)
        if self.copied is None:
            self.copied = CopiedText(self.task.train, self.task.texts)

    @property
    def limits(self) -> Limits:
        """When to stop."""
        return self.task.limits

    def seed(self, texts: tuple[str, ...], examples: str = "") -> Candidate:
        """Begin with a prompt."""
        return self._add(texts, examples, (), "initial")

    def propose(
        self,
        texts: tuple[str, ...],
        parents: Sequence[int],
        change: str,
        examples: str = "",
    ) -> Candidate | None:
        """Make a candidate of a new text.

        Returns None if there is one with this text, or if it holds a long
        piece of a training item: that would be learnt by heart.
        """
        if not "".join(texts).strip():
            return None
        assert self.copied is not None  # noqa: S101 - made at the start
        if self.copied.in_text("\n\n".join(texts)):
            self.refused += 1
            return None
        parts = (*texts, examples) if examples else texts
        if self.pool.with_parts(parts) is not None:
            return None
        return self._add(texts, examples, tuple(parents), change)

    def _add(
        self,
        texts: tuple[str, ...],
        examples: str,
        parents: tuple[int, ...],
        change: str,
    ) -> Candidate:
        number = next(iter(self.numbers))
        candidate = Candidate(
            number, self.model, texts, examples, parents, change
        )
        self.pool.add(candidate)
        return candidate

    def measure(
        self,
        wanted: Iterable[tuple[int, Iterable[str]]] = (),
        asks: Sequence[Ask] = (),
    ) -> Measuring:
        """Have asked and scored what is not known yet, as one wave.

        Returns the answers to the questions.
        """
        by_candidate: dict[int, dict[str, None]] = {}
        for number, items in wanted:
            new = self.pool.unknown(number, items)
            by_candidate.setdefault(number, {}).update(dict.fromkeys(new))
        requests: list[Request] = [
            Evaluate(number, tuple(items))
            for number, items in by_candidate.items()
            if items
        ]
        if not requests and not asks:
            return []
        results = yield (*requests, *asks)
        self.accept(results)
        return list(results.texts)

    def accept(self, results: Results) -> None:
        """Keep the outcomes of a wave."""
        for (number, item_id), outcome in results.outcomes.items():
            self.pool.note(number, item_id, outcome)
        self.left, self.tightest = results.left, results.tightest

    def reject(self, parent: int, change: str) -> None:
        """Remember a change that did not help, to tell the next asks."""
        self.rejected.setdefault(parent, []).append(change)

    def affordable(self, jobs: int, most: int) -> int:
        """Give how many of something that takes so many jobs there may be.

        At least one: a limit cuts what is too much.
        """
        if self.left == float("inf"):
            return most
        return max(min(int((self.left - self.leaves) // jobs), most), 1)

    def must_stop(self) -> Stop | None:
        """Tell whether a limit is reached, and which."""
        if self.left <= self.leaves:
            return self.tightest
        target = self.limits.target_score
        if target is not None:
            best = self.pool.best()
            if self.pool.confirmed(best) and self.pool.score(best) >= target:
                return Stop.TARGET_SCORE
        return None

    def confirm(self) -> Generator[Wave, Results, int]:
        """Measure the best on all of validation; return who is best then."""
        best = self.pool.best()
        while not self.pool.confirmed(best):
            yield from self.measure([(best, self.validation)])
            if not self.pool.confirmed(best):
                return best  # A limit was reached.
            best = self.pool.best()
        return best

    def confirm_target(self) -> Generator[Wave, Results, None]:
        """Confirm the best, if the search could end with it."""
        target = self.limits.target_score
        if target is not None and self.pool.score(self.pool.best()) >= target:
            yield from self.confirm()
