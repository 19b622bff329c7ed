"""`--pilot`: a few rows first, and what the rest may cost and take."""

import hashlib
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich.box import ROUNDED
from rich.console import Console
from rich.markup import escape
from rich.prompt import Confirm
from rich.table import Table

from cli.cost_interval import Interval, mean_of_rest
from cli.input_file import Item
from cli.results_file import PROCESSED, Row
from cli.tally import row_cost
from cli.terminal import one_line, span
from utilities import payload

_SHOWN, _FAILED_SHOWN = 5, 3
_LONGEST = 70
_FEWEST = 2
_DIGITS = 2
_HIGHEST_FAILED = 0.2


def sample_of(items: Sequence[Item], count: int, seed: str) -> list[Item]:
    """Choose rows at random: the same ones for the same seed.

    They keep the input's order. A pilot that was stopped goes on with the
    rows that it began with.
    """
    digest = int(hashlib.sha256(seed.encode()).hexdigest()[:16], 16)
    draw = random.Random(digest)  # noqa: S311 - no secret
    places = draw.sample(range(len(items)), min(count, len(items)))
    return [items[place] for place in sorted(places)]


@dataclass(frozen=True, slots=True)
class PilotResult:
    """What a pilot has found.

    `cost` and `seconds` are of the rest, with intervals of 90 %; None where
    the rows say nothing of it.
    """

    answered: int
    failed: int
    spent: float
    currency: str | None
    rest: int
    cost: Interval | None
    seconds: Interval | None

    @property
    def most(self) -> float | None:
        """What everything may cost, this pilot included, if known."""
        return None if self.cost is None else self.spent + self.cost.high


def judge(rows: Sequence[Row], rest: int, *, concurrency: int) -> PilotResult:
    """Work out what the rest may cost and take from the pilot's rows."""
    metrics = [row.get("metrics") or {} for row in rows]
    costs = [row_cost(row) for row in rows]
    currencies = {each.get("currency") for each in metrics} - {None}
    durations = [float(each.get("duration") or 0) for each in metrics]
    at_once = min(concurrency, max(rest, 1))
    is_known = len(rows) >= _FEWEST and rest > 0
    return PilotResult(
        answered=sum(row["status"] == PROCESSED for row in rows),
        failed=sum(row["status"] != PROCESSED for row in rows),
        spent=sum(costs),
        currency=next(iter(currencies)) if len(currencies) == 1 else None,
        rest=rest,
        cost=mean_of_rest(costs, rest).times(rest)
        if is_known and len(currencies) == 1
        else None,
        seconds=mean_of_rest(durations, rest).times(rest / at_once)
        if is_known and any(durations)
        else None,
    )


def show(
    result: PilotResult,
    rows: Sequence[Row],
    items: Mapping[str, Item],
    console: Console,
) -> None:
    """Print some answers, and what the rest may cost and take."""
    console.print(_answers(rows, items))
    table = Table(
        title="Pilot", show_header=False, title_justify="left", box=ROUNDED
    )
    table.add_column(style="cyan")
    table.add_column(justify="right")
    asked = result.answered + result.failed
    table.add_row("Rows asked", f"{asked:,}")
    share = f" ({result.failed / asked:.0%})" if asked else ""
    table.add_row("Failed", f"{result.failed:,}{share}")
    table.add_row("Spent", money(result.spent, result.currency))
    table.add_row("Rows left", f"{result.rest:,}")
    if result.rest:
        cost = _range(result.cost, lambda each: money(each, result.currency))
        table.add_row("They cost", cost)
        table.add_row("They take", _range(result.seconds, span))
        table.add_row("", "[dim]in brackets: 90 % interval[/]")
    console.print(table)


def goes_on(
    result: PilotResult,
    console: Console,
    *,
    is_agreed: bool,
    max_cost: float | None,
) -> bool:
    """Tell whether the rest is to be asked: as agreed, or as answered.

    With `max_cost`, it is if the upper end of the interval is within it.
    """
    if not result.rest or is_agreed:
        return True
    if max_cost is not None and result.most is not None:
        if result.most <= max_cost:
            return True
        console.print(
            f"All may cost {money(result.most, result.currency)}, and "
            f"--max-cost is {money(max_cost, result.currency)}: the run "
            "would stop there.",
            highlight=False,
        )
    if not (console.is_terminal and sys.stdin.isatty()):
        console.print(
            "Stopped after the pilot. The same command with --yes asks the "
            "rest, and does not repeat these rows.",
            highlight=False,
        )
        return False
    if result.failed > _HIGHEST_FAILED * (result.answered + result.failed):
        console.print("[yellow]Many rows failed: see why first.[/]")
    question = f"Ask the other {result.rest:,} rows?"
    return Confirm.ask(question, console=console, default=False)


def money(amount: float, currency: str | None) -> str:
    """Write an amount; with a precision that tells small ones apart."""
    digits = _DIGITS if amount >= 1 else 2 * _DIGITS
    return f"{amount:,.{digits}f} {one_line(currency)}" if currency else "-"


def _range(found: Interval | None, write: Callable[[float], str]) -> str:
    if found is None:
        return "not known"
    low, high = write(found.low), write(found.high)
    return f"about {write(found.estimate)}  [dim]\\[{low} to {high}][/]"


def _answers(rows: Sequence[Row], items: Mapping[str, Item]) -> Table:
    table = Table(title="Some rows", title_justify="left", box=ROUNDED)
    table.add_column("Row", justify="right")
    table.add_column("Asked", overflow="fold")
    table.add_column("Answer", overflow="fold")
    for row in _shown(rows):
        item = items[row["key"]]
        table.add_row(
            str(row["line"]),
            escape(_brief(payload.dump(item.request_data))),
            _said(row),
        )
    return table


def _shown(rows: Sequence[Row]) -> list[Row]:
    """Choose the first rows that were answered, and that failed."""
    ordered = sorted(rows, key=lambda row: int(row["line"]))
    good = [row for row in ordered if row["status"] == PROCESSED]
    bad = [row for row in ordered if row["status"] != PROCESSED]
    return good[:_SHOWN] + bad[:_FAILED_SHOWN]


def _said(row: Row) -> str:
    if row["status"] == PROCESSED:
        return escape(_brief(payload.dump(row["response"])))
    error = row.get("error") or {}
    return f"[red]{escape(_brief(str(error.get('message', ''))))}[/]"


def _brief(text: str) -> str:
    text = one_line(text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
