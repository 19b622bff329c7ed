"""How a run on a dataset goes, and what it has found, on a terminal."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from rich.box import ROUNDED
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from api.models.run_models import Run
from cli.rest_client import Json
from cli.terminal import say
from llm_optimizers.report import words
from llm_optimizers.report.values import RunReport
from llm_optimizers.report.words import Tone

# On a narrower terminal the facts need all the room.
_WIDE = 100
_COLOURS = {Tone.GOOD: "green", Tone.BAD: "red", Tone.NEUTRAL: "yellow"}


class RunDisplay:
    """Shows how far a run is: moving on a terminal, else line by line."""

    def __init__(self, run: Json, console: Console) -> None:
        self._console = console
        self._said = ""
        self._most = run.get("maxJobs")
        wide = (BarColumn(bar_width=20), TimeElapsedColumn())
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[facts]}"),
            *(wide if console.width >= _WIDE else ()),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self.progress.add_task(
            "jobs", total=self._most, facts="Beginning"
        )

    def update(self, run: Json, jobs: int, used: Json) -> None:
        """Show a look at the run; `used` are the metrics of its jobs."""
        best = _best_line(run)
        most = f"/{self._most:,}" if self._most else ""
        cost = words.money(used["totalCost"], used["currency"])
        facts = f"{best} · {jobs:,}{most} jobs · {cost}"
        self.progress.update(self._task, completed=jobs, facts=facts)
        if self.progress.disable and best != self._said:
            self._said = best
            say(self._console, facts)


@contextlib.contextmanager
def run_display(run: Json, console: Console) -> Iterator[RunDisplay]:
    """Show a display while the block runs."""
    display = RunDisplay(run, console)
    with display.progress:
        yield display


def _best_line(run: Json) -> str:
    count = run.get("candidateCount") or 0
    candidates = f"{count:,} candidate{'' if count == 1 else 's'}"
    known = [
        each["best"]["validation"]
        for each in run.get("modelResults") or ()
        if each["best"]["validation"] is not None
    ]
    if not known:
        return candidates
    best = max(known, key=lambda each: float(each["score"]))
    return f"{candidates} · best {_score(best)} ({_interval(best)})"


def show(run: Json, console: Console) -> None:
    """Print what a run has found."""
    read = Run.model_validate(run)
    if read.baseline is not None and read.best is not None:
        console.print(_table(run))
    found = words.headline(RunReport(read, datetime.now(UTC)))
    console.print(
        escape(f"{found.title}."), style=f"bold {_COLOURS[found.tone]}"
    )
    say(console, found.sentence.replace("\u00a0", " "))
    if reason := words.finish_reason(read):
        say(console, reason)
    for warning in read.warnings or ():
        say(console, f"Note: {warning}")


def _table(run: Json) -> Table:
    table = Table(title="Scores", box=ROUNDED, title_justify="left")
    for number, column in enumerate(
        ("prompt", "model", "validation", "95 %", "test", "95 %", "items")
    ):
        justify: Any = "left" if number < 2 else "right"  # noqa: PLR2004 - the texts
        table.add_column(column, justify=justify)
    for name in ("baseline", "best"):
        scores = run[name]
        sides = [scores[side] for side in ("validation", "test")]
        cells = [
            text for each in sides for text in (_score(each), _interval(each))
        ]
        count = sides[1]["count"] if sides[1] else 0
        table.add_row(name, escape(scores["model"]), *cells, f"{count:,}")
    return table


def _score(measured: Json | None) -> str:
    return "-" if measured is None else f"{100 * measured['score']:.1f} %"


def _interval(measured: Json | None) -> str:
    if measured is None:
        return "-"
    low, high = measured["interval"]
    return f"{100 * low:.1f} to {100 * high:.1f}"
