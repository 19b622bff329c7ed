"""What an evaluation has found, as tables."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.box import ROUNDED
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.rest_client import Json
from cli.terminal import say

# More labels do not fit beside each other.
_WIDEST_CONFUSION = 12
# From this width on, there is space for every column.
_WIDE = 110


def show(done: Json, prompts: Mapping[str, str], console: Console) -> None:
    """Print the results; `prompts` are the names of the prompts' ids."""
    if done["status"] != "COMPLETED":
        why = done["failureReason"] or "it was cancelled"
        say(console, f"The evaluation is {done['status']}: {why}")
        return
    results = done["results"]
    is_wide = console.width >= _WIDE
    console.print(_overview(results, prompts, is_wide=is_wide))
    for result in results:
        _show_classes(result, prompts, console)
    if done["comparisons"]:
        console.print(_comparisons(done["comparisons"], prompts))
    for line in _errors(results, prompts):
        say(console, line)


def _table(title: str, *columns: str, left: int = 1) -> Table:
    table = Table(title=title, box=ROUNDED, title_justify="left")
    for number, column in enumerate(columns):
        justify: Any = "left" if number < left else "right"
        table.add_column(escape(column), justify=justify)
    return table


def _overview(
    results: Iterable[Json], prompts: Mapping[str, str], *, is_wide: bool
) -> Table:
    table = _table(
        "Results",
        *("prompt", "model", "score", "95 % interval", "items", "errors"),
        *("cost", "p50"),
        *(("p95", "cached", "tokens") if is_wide else ()),
        left=2,
    )
    for each in results:
        metrics, latency = each["processingMetrics"], each["latency"] or {}
        table.add_row(
            escape(prompts[each["promptId"]]),
            escape(each["model"]),
            _percent(each["score"]),
            _range(each["interval"]),
            f"{each['count']:,}",
            f"{each['errors']:,}",
            _cost(metrics),
            _seconds(latency.get("p50")),
            *(_more(each) if is_wide else ()),
        )
    return table


def _more(result: Json) -> tuple[str, str, str]:
    return (
        _seconds((result["latency"] or {}).get("p95")),
        f"{result['cachedAnswers']:,}",
        f"{result['processingMetrics']['totalTokens']:,}",
    )


def _show_classes(
    result: Json, prompts: Mapping[str, str], console: Console
) -> None:
    if not result["classes"]:
        return
    name = _name(result, prompts)
    classes = _table(
        f"{name}: by class", "label", "items", "precision", "recall", "F1"
    )
    for each in result["classes"]:
        classes.add_row(
            escape(each["label"]),
            f"{each['count']:,}",
            *(_percent(each[name]) for name in ("precision", "recall", "f1")),
        )
    console.print(classes)
    confusion = result["confusion"]
    if len(confusion["columns"]) > _WIDEST_CONFUSION:
        return
    table = _table(
        f"{name}: expected (rows), answered (columns)",
        *("", *confusion["columns"]),
    )
    for label, counts in zip(
        confusion["rows"], confusion["counts"], strict=True
    ):
        table.add_row(escape(label), *(f"{count:,}" for count in counts))
    console.print(table)


def _comparisons(found: Iterable[Json], prompts: Mapping[str, str]) -> Table:
    table = _table(
        "Second against first, on the same items",
        *("first", "second", "difference", "95 % interval", "p", "verdict"),
        left=2,
    )
    for each in found:
        low, high = each["interval"]
        table.add_row(
            escape(_name(each["first"], prompts)),
            escape(_name(each["second"], prompts)),
            _points(each["difference"]),
            f"{_points(low)} to {_points(high)}",
            f"{each['adjustedPValue']:.3g}",
            each["verdict"],
        )
    return table


def _errors(
    results: Iterable[Json], prompts: Mapping[str, str]
) -> Iterable[str]:
    for each in results:
        kinds = sorted(each["errorTypes"].items())
        if kinds:
            counts = ", ".join(f"{count:,} {kind}" for kind, count in kinds)
            yield f"Errors of {_name(each, prompts)}: {counts}"


def _name(cell: Json, prompts: Mapping[str, str]) -> str:
    return f"{prompts[cell['promptId']]} · {cell['model']}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"


def _range(interval: list[float]) -> str:
    low, high = interval
    return f"{100 * low:.1f} to {100 * high:.1f}"


def _cost(metrics: Json) -> str:
    cost = metrics["totalCost"]
    return "-" if cost is None else f"{cost:.4f} {metrics['currency']}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"
