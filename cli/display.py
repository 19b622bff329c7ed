"""The display of a run in a terminal, and its summary."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.box import ROUNDED
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table

from cli.results_file import Row
from cli.tally import Display, Tally
from cli.terminal import one_line

_FAILURES_SHOWN = 10
_MESSAGE_LENGTH = 160
_SECONDS_BETWEEN_LINES = 10.0
_THOUSAND = 1000


class BarDisplay:
    """A bar with rate, errors, tokens and cost."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("jobs", total=None, facts="")
        self._told = ""

    def update(self, tally: Tally) -> None:
        """Show where the run stands."""
        self._progress.update(
            self._task,
            total=tally.total,
            completed=tally.ended,
            facts=_facts(tally),
        )

    def tell(self, trouble: str) -> None:
        """Say above the bar what keeps the jobs waiting, if it is news."""
        if trouble != self._told:
            self._told = trouble
            self._progress.console.print(_waiting(trouble), highlight=False)


class LineDisplay:
    """The same as a line now and then, for logs."""

    def __init__(
        self, console: Console, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console
        self._clock = clock
        self._last = clock()
        self._told = ""

    def update(self, tally: Tally) -> None:
        """Say where the run stands, if it was not just said."""
        if self._clock() - self._last < _SECONDS_BETWEEN_LINES:
            return
        self._last = self._clock()
        where = f"{tally.ended:,} of {tally.total:,}"
        self._console.print(
            f"{where} · {_facts(tally)}", highlight=False, soft_wrap=True
        )

    def tell(self, trouble: str) -> None:
        """Say what keeps the jobs waiting, if it is news."""
        if trouble != self._told:
            self._told = trouble
            self._console.print(
                _waiting(trouble), highlight=False, soft_wrap=True
            )


def _waiting(trouble: str) -> str:
    return escape(f"Waiting, and trying again: {_shortened(trouble)}")


@contextmanager
def progress_display(console: Console) -> Iterator[Display]:
    """Show a live bar; where no terminal is, lines."""
    if not console.is_terminal:
        yield LineDisplay(console)
        return
    with _bar(console) as progress:
        yield BarDisplay(progress)


@contextmanager
def bar_at_the_end(console: Console) -> Iterator[Display]:
    """Show the bar once, when all is done, for a picture of it."""
    progress = _bar(console)
    yield BarDisplay(progress)
    console.print(progress.get_renderable())


def _bar(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(finished_text="[green]✓[/]"),
        BarColumn(bar_width=None, table_column=Column(ratio=1)),
        MofNCompleteColumn(),
        TextColumn("{task.fields[facts]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
        console=console,
        expand=True,
    )


def summary_table(tally: Tally, *, cost_name: str = "Cost") -> Table:
    """Return the figures of a run that has ended."""
    table = Table(
        title="Summary", show_header=False, title_justify="left", box=ROUNDED
    )
    table.add_column(style="cyan")
    table.add_column(justify="right")
    fresh, remembered = tally.ended - tally.kept, tally.remembered
    earlier = tally.kept - tally.kept_remembered
    rows = [
        ("Jobs", f"{tally.total:,}"),
        ("Answered", f"{tally.answered:,}"),
        ("  of an earlier run", f"{earlier:,}" if earlier else None),
        ("  from memory", f"{remembered:,}" if remembered else None),
        ("Failed", f"{tally.failed:,}"),
        ("Accuracy", _accuracy(tally)),
        ("Tokens in / out", _tokens(tally)),
        (cost_name, _cost(tally)),
        ("Rate", f"{_rate(tally):.1f} jobs/s" if fresh else None),
        ("Time", f"{tally.seconds:.1f} s" if fresh else None),
    ]
    for name, value in rows:
        if value is not None:
            table.add_row(name, value)
    return table


def failure_lines(failures: Sequence[Row]) -> Iterator[str]:
    """Say which lines failed, and why."""
    for row in sorted(failures, key=lambda row: row["line"])[:_FAILURES_SHOWN]:
        error = row.get("error") or {}
        name = f" ({one_line(str(row['id']))})" if row["id"] else ""
        message = _shortened(str(error.get("message", "")))
        kind = one_line(str(error.get("errorType")))
        yield f"line {row['line']}{name}: {kind}: {message}"
    if len(failures) > _FAILURES_SHOWN:
        more = len(failures) - _FAILURES_SHOWN
        yield f"and {more:,} more; each has its `error` in the results"


def _shortened(text: str) -> str:
    text = one_line(text)
    if len(text) <= _MESSAGE_LENGTH:
        return text
    return f"{text[: _MESSAGE_LENGTH - 1]}…"


def _facts(tally: Tally) -> str:
    parts = [f"{_rate(tally):.1f}/s"]
    if tally.failed:
        parts.append(f"{tally.failed:,} failed")
    parts.append(f"{_short(tally.input_tokens + tally.output_tokens)} tokens")
    if (cost := _cost(tally)) is not None:
        parts.append(cost)
    return " · ".join(parts)


def _rate(tally: Tally) -> float:
    fresh = tally.ended - tally.kept
    return fresh / tally.seconds if tally.seconds > 0 else 0.0


def _short(count: float) -> str:
    for unit in ("", "k", "M"):
        if count < _THOUSAND:
            return f"{count:.3g}{unit}"
        count /= _THOUSAND
    return f"{count:,.3g}G"


def _accuracy(tally: Tally) -> str | None:
    if not tally.labelled:
        return None
    share = tally.correct / tally.labelled
    return f"{share:.1%}  ({tally.correct:,} of {tally.labelled:,})"


def _tokens(tally: Tally) -> str:
    return f"{tally.input_tokens:,} / {tally.output_tokens:,}"


def _cost(tally: Tally) -> str | None:
    if tally.currency is None or not tally.cost:
        return None
    return f"{tally.cost:.4f} {tally.currency}"
