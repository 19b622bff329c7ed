"""What strategies are asked, and what they may ask for.

A strategy is a coroutine. What it yields is a *wave*: work that can be done
at once. What it is sent are the results of that wave, of which it accepts
what it likes, and it stops by returning why. It has no clock, no database
and no other chance than `Search.chance`, so the same seed and the same
results lead to the same prompts: a run that was killed is brought back by
sending the stored results again.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from llm_optimizers.strategies.search import Search

# A score this close to 1 is a right answer.
RIGHT = 1 - 1e-9


class Stop(StrEnum):
    """Why a search ended."""

    MAX_ITERATIONS = "MAX_ITERATIONS"
    TARGET_SCORE = "TARGET_SCORE"
    # Several rounds, one after the other, found nothing better.
    PATIENCE = "PATIENCE"
    # No training item is answered wrong: there is nothing to learn from.
    NO_FAILURES = "NO_FAILURES"
    MAX_JOBS = "MAX_JOBS"
    MAX_TOKENS = "MAX_TOKENS"
    MAX_COST = "MAX_COST"


class Purpose(StrEnum):
    """What a model is asked to write a prompt for."""

    REFLECT = "reflect"
    MERGE = "merge"
    META = "meta"


@dataclass(frozen=True, slots=True)
class Item:
    """A training item; `expected` is None where nobody knows."""

    item_id: str
    request_data: Mapping[str, Any]
    expected: Any = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A prompt for one model.

    `texts` are the instruction, joined as those of a job are; `examples` is
    a text with worked examples that follows them, or empty. `change` says
    in a few words what made it of its `parents`.
    """

    number: int
    model: str
    texts: tuple[str, ...]
    examples: str = ""
    parents: tuple[int, ...] = ()
    change: str = "initial"

    @property
    def instruction(self) -> str:
        """The text without the examples."""
        return "\n\n".join(self.texts)

    @property
    def parts(self) -> tuple[str, ...]:
        """All texts, in order."""
        return (*self.texts, self.examples) if self.examples else self.texts


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Score a candidate on these items, one job each."""

    candidate: int
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask a model for a text; `data` is its user message."""

    purpose: Purpose
    parent: int
    data: Mapping[str, Any]


Request = Evaluate | Ask
Wave = tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """An item's score from 0 to 1, and the answer that it is for."""

    score: float
    answer: Any = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Results:
    """What became of a wave.

    `outcomes` has what was evaluated, by candidate and item. `texts` are
    the answers to the wave's questions in their order; None where there is
    none. `left` is how many jobs the search may still cause,
    as the limit `tightest` says.
    """

    outcomes: Mapping[tuple[int, str], Outcome] = field(default_factory=dict)
    texts: Sequence[str | None] = ()
    left: float = float("inf")
    tightest: Stop = Stop.MAX_JOBS


Waves = Generator[Wave, Results, Stop]


class Strategy(Protocol):
    """A way to look for better prompts."""

    name: ClassVar[str]

    def waves(self, search: "Search") -> Waves:
        """Propose waves and accept their results, until it stops."""
