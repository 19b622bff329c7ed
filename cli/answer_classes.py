"""How labelled rows were answered: by class, and what for what."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.box import ROUNDED
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.results_file import PROCESSED, Row, normal, said
from cli.terminal import one_line

# More labels, or other answers, do not fit beside each other.
_MOST_COLUMNS = 12
_MOST_CLASSES = 50
_OTHER, _FAILED = "(other)", "(failed)"


@dataclass(frozen=True, slots=True)
class ClassCount:
    """The rows of one class; a failed one is not right."""

    label: str
    count: int
    right: int
    failed: int

    @property
    def accuracy(self) -> float:
        """The part of all its rows that is right."""
        return self.right / self.count


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often each class (a row) was answered with what (a column)."""

    rows: Sequence[str]
    columns: Sequence[str]
    counts: Sequence[Sequence[int]]


def by_class(rows: Iterable[Row]) -> list[ClassCount]:
    """Count labelled rows by class, the most frequent first."""
    labelled = [row for row in rows if "label" in row]
    count = Counter(row["label"] for row in labelled)
    right = Counter(row["label"] for row in labelled if row.get("correct"))
    failed = Counter(
        row["label"] for row in labelled if row["status"] != PROCESSED
    )
    return [
        ClassCount(label, number, right[label], failed[label])
        for label, number in sorted(
            count.items(), key=lambda each: (-each[1], each[0])
        )
    ]


def confusion(
    rows: Iterable[Row], answer_field: str | None = None
) -> Confusion | None:
    """Count what classes were answered with; None if there are too many.

    Answers that are no class are one column, failed rows another.
    """
    labelled = [row for row in rows if "label" in row]
    labels = sorted({row["label"] for row in labelled})
    if not labels or len(labels) > _MOST_COLUMNS:
        return None
    names = {normal(label): label for label in labels}
    counts = Counter(
        (row["label"], _column(row, names, answer_field)) for row in labelled
    )
    used = {column for _, column in counts}
    columns = [*labels, *(each for each in (_OTHER, _FAILED) if each in used)]
    return Confusion(
        labels,
        columns,
        [[counts[row, column] for column in columns] for row in labels],
    )


def _column(row: Row, names: dict[str, str], answer_field: str | None) -> str:
    if row["status"] != PROCESSED:
        return _FAILED
    return names.get(said(row["response"], answer_field), _OTHER)


def show(
    rows: Sequence[Row], console: Console, answer_field: str | None = None
) -> None:
    """Print both tables."""
    classes = by_class(rows)
    table = _table("Accuracy by class", "Class", "Rows", "Right", "Failed")
    table.add_column("Accuracy", justify="right")
    for each in classes[:_MOST_CLASSES]:
        figures = (f"{n:,}" for n in (each.count, each.right, each.failed))
        table.add_row(
            escape(one_line(each.label)), *figures, f"{each.accuracy:.1%}"
        )
    console.print(table)
    if len(classes) > _MOST_CLASSES:
        more = len(classes) - _MOST_CLASSES
        console.print(f"and {more:,} more classes", highlight=False)
    found = confusion(rows, answer_field)
    if found is None:
        return
    labels = [one_line(each) for each in found.columns]
    table = _table("Labels (rows), answers (columns)", "", *labels)
    for label, counts in zip(found.rows, found.counts, strict=True):
        table.add_row(
            escape(one_line(label)), *(f"{each:,}" for each in counts)
        )
    console.print(table)


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(title=title, box=ROUNDED, title_justify="left")
    table.add_column(first)
    for name in others:
        table.add_column(escape(name), justify="right")
    return table
