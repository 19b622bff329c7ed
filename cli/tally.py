"""Where a run stands, and what shows it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from cli.input_file import Item
from cli.results_file import PROCESSED, ResultsFile, Row


@dataclass(frozen=True)
class Tally:
    """Where a run stands.

    `kept` rows are in the results already, `remembered` ones are earlier
    answers to the same questions, `kept_remembered` ones are both.
    """

    total: int
    answered: int = 0
    failed: int = 0
    kept: int = 0
    remembered: int = 0
    kept_remembered: int = 0
    labelled: int = 0
    correct: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    currency: str | None = None
    seconds: float = 0.0

    @property
    def ended(self) -> int:
        """How many lines need no more work."""
        return self.answered + self.failed

    def with_row(self, row: Row) -> "Tally":
        """Count one more row."""
        metrics = row.get("metrics") or {}
        good = row["status"] == PROCESSED
        return replace(
            self,
            answered=self.answered + good,
            failed=self.failed + (not good),
            remembered=self.remembered + ("cachedFrom" in row),
            labelled=self.labelled + ("correct" in row),
            correct=self.correct + bool(row.get("correct")),
            input_tokens=self.input_tokens + metrics.get("inputTokens", 0),
            output_tokens=self.output_tokens + metrics.get("outputTokens", 0),
            cost=self.cost + row_cost(row),
            currency=metrics.get("currency") or self.currency,
        )


def tally_of_kept(items: Sequence[Item], results: ResultsFile) -> Tally:
    """Count what an earlier run has answered."""
    tally = Tally(total=len(items), kept=len(results.kept))
    for row in results.kept.values():
        tally = tally.with_row(row)
    return replace(tally, kept_remembered=tally.remembered)


class Display(Protocol):
    """Shows people how a run goes."""

    def update(self, tally: Tally) -> None:
        """Show where it stands."""

    def tell(self, trouble: str) -> None:
        """Say, once, why nothing comes."""


def row_cost(row: Row) -> float:
    """Return what a row has cost, failed attempts included."""
    return (row.get("metrics") or {}).get("totalCost") or 0.0
