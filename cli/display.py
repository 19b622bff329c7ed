"""What people see while a run goes on, and when it has ended."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from cli.batch_run import Tally
from cli.results_file import Row

_FAILURES_SHOWN = 10
_MESSAGE_LENGTH = 160


class ProgressDisplay:
    """A bar with rate, errors, tokens and cost."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("jobs", total=None, facts="")

    def update(self, tally: Tally) -> None:
        """Show where the run stands."""
        self._progress.update(
            self._task,
            total=tally.total,
            completed=tally.ended,
            facts=_facts(tally),
        )


@contextmanager
def progress_display(console: Console) -> Iterator[ProgressDisplay]:
    """Show a live bar; where nobody looks, only its last state."""
    with Progress(
        SpinnerColumn(),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[facts]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as progress:
        yield ProgressDisplay(progress)


def summary_table(tally: Tally) -> Table:
    """Give the figures of a run that has ended."""
    table = Table(title="Results", show_header=False, title_justify="left")
    table.add_column(style="cyan")
    table.add_column(justify="right")
    fresh = tally.ended - tally.kept
    rows = [
        ("Jobs", f"{tally.total:,}"),
        ("Answered", f"{tally.answered:,}"),
        ("  of an earlier run", f"{tally.kept:,}" if tally.kept else None),
        ("Failed", f"{tally.failed:,}"),
        ("Accuracy", _accuracy(tally)),
        ("Tokens in / out", _tokens(tally)),
        ("Cost", _cost(tally)),
        ("Rate", f"{fresh / max(tally.seconds, 1e-9):.1f} jobs/s"),
        ("Time", f"{tally.seconds:.1f} s"),
    ]
    for name, value in rows:
        if value is not None:
            table.add_row(name, value)
    return table


def failure_lines(failures: Sequence[Row]) -> Iterator[str]:
    """Say which lines failed, and why."""
    for row in sorted(failures, key=lambda row: row["line"])[:_FAILURES_SHOWN]:
        error = row.get("error") or {}
        name = f" ({row['id']})" if row["id"] else ""
        message = str(error.get("message", ""))[:_MESSAGE_LENGTH]
        yield f"line {row['line']}{name}: {error.get('errorType')}: {message}"
    if len(failures) > _FAILURES_SHOWN:
        yield f"and {len(failures) - _FAILURES_SHOWN} more"


def _facts(tally: Tally) -> str:
    fresh = tally.ended - tally.kept
    rate = fresh / tally.seconds if tally.seconds > 0 else 0.0
    parts = [f"{rate:.1f}/s", f"{tally.failed} failed"]
    parts.append(f"{tally.input_tokens + tally.output_tokens:,} tokens")
    if (cost := _cost(tally)) is not None:
        parts.append(cost)
    return " · ".join(parts)


def _accuracy(tally: Tally) -> str | None:
    if not tally.labelled:
        return None
    share = tally.correct / tally.labelled
    return f"{share:.1%}  ({tally.correct} of {tally.labelled})"


def _tokens(tally: Tally) -> str:
    return f"{tally.input_tokens:,} / {tally.output_tokens:,}"


def _cost(tally: Tally) -> str | None:
    if tally.currency is None or not tally.cost:
        return None
    return f"{tally.cost:.4f} {tally.currency}"
