"""What a report of a run says, before it becomes a page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from api.models.evaluation_models import EvaluationResult
from api.models.run_models import Run


@dataclass(frozen=True, slots=True)
class Used:
    """Answers, and what they have used; no cost where it is not known.

    `cost` is in `currency`, `seconds` is the sum of the answers' times.
    """

    answers: int = 0
    tokens: int = 0
    seconds: float = 0.0
    cost: float | None = None
    currency: str | None = None


@dataclass(frozen=True, slots=True)
class TriedPrompt:
    """A candidate of a run on a dataset.

    `texts` is None where its prompts are gone, or were never stored.
    `score` is from 0 to 1, on validation.
    """

    number: int
    model: str
    parents: tuple[int, ...]
    change: str
    prompt_ids: tuple[str, ...]
    texts: tuple[str, ...] | None
    score: float | None
    accepted: bool
    confirmed: bool
    used: Used

    @property
    def text(self) -> str | None:
        """Its texts, joined as a job joins them."""
        return None if self.texts is None else "\n\n".join(self.texts)


@dataclass(frozen=True, slots=True)
class Tried:
    """A candidate's score once so much was spent on answers."""

    number: int
    score: float
    used: Used


@dataclass(frozen=True, slots=True)
class Paired:
    """Items of the test by what became of their score."""

    better: int = 0
    worse: int = 0
    same: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that the best prompt does not answer right."""

    item_id: str
    score: float
    request_data: Mapping[str, Any]
    expected: Any = None
    answer: Any = None
    # Why the score is not 1: an error's type, and words.
    error: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class BestOnItems:
    """The best prompt's answers on one side of the data."""

    side: str
    result: EvaluationResult
    failures: Sequence[Failure] = ()
    # Also those that `failures` leaves out.
    failure_count: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """An iteration of a run without a dataset."""

    model: str
    iteration: int
    job_id: str
    status: str
    text: str | None
    evaluation: Any = None
    # The evaluation as a number, if it is or holds one.
    score: float | None = None
    errors: Sequence[str] = ()
    used: Used = field(default_factory=Used)


@dataclass(frozen=True, slots=True)
class RunReport:
    """All that a report of a run says.

    `first` and `last` are the texts of the initial and the best prompt, or
    of a run without a dataset, of the last one; None where they are gone.
    `unread` says what could not be read, and why.
    """

    run: Run
    written_at: datetime
    first: str | None = None
    last: str | None = None
    used: Used = field(default_factory=Used)
    candidates: Sequence[TriedPrompt] = ()
    history: Sequence[Tried] = ()
    paired: Paired | None = None
    best: BestOnItems | None = None
    steps: Sequence[Step] = ()
    unread: Sequence[str] = ()
