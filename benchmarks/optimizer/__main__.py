"""Measures the optimizer: `make bench-optimizer`."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.optimizer import local_model, no_effect, simulated
from benchmarks.optimizer.hidden_rules import Settings
from llm_optimizers.strategies.session import STRATEGIES

# What can be measured by itself.
_PARTS = ("simulated", "no-effect", *local_model.DATASETS)
_ADDS = "Who reflects adds a rule at the end; one in five is wrong."
_REWRITES = "Who reflects also writes all rules anew, in another order."


def main(
    seeds: Annotated[int, typer.Option(min=1)] = 3,
    runs: Annotated[int, typer.Option(min=1)] = 100,
    rules: Annotated[int, typer.Option(min=1)] = 12,
    items: Annotated[
        int, typer.Option(min=10, help="For training, and to validate.")
    ] = 80,
    calls: Annotated[
        int, typer.Option(min=100, help="Of a search with the local model.")
    ] = 150,
    dev: Annotated[
        int, typer.Option(min=10, help="Items that score what it finds.")
    ] = 60,
    only: Annotated[
        list[str] | None, typer.Option(help=f"One of {', '.join(_PARTS)}.")
    ] = None,
) -> None:
    """Measure and print tables."""
    console = Console()
    parts = only or _PARTS
    if unknown := set(parts) - set(_PARTS):
        raise typer.BadParameter(f"There is no {', '.join(sorted(unknown))}")
    if "simulated" in parts:
        _hidden_rules(console, seeds, rules, items)
    if "no-effect" in parts:
        console.print(_no_effect(runs))
    for name in local_model.DATASETS:
        if name in parts:
            real = local_model.Settings(calls=calls, dev=dev)
            console.print(local_model.table(name, seeds, real, console))


def _hidden_rules(
    console: Console, seeds: int, rules: int, items: int
) -> None:
    for rewrites in (False, True):
        settings = Settings(
            rules=rules, train=items, validation=items, rewrites=rewrites
        )
        console.print(_REWRITES if rewrites else _ADDS)
        console.print(simulated.table(seeds, settings))


def _no_effect(runs: int) -> Table:
    table = Table(title=f"No prompt can help: verdicts of {runs} runs each")
    table.add_column("strategy")
    for verdict in ("improved", "no difference", "worse"):
        table.add_column(verdict, justify="right")
    for name, strategies in (
        ("all in turn", tuple(STRATEGIES)),
        *((each, (each,)) for each in STRATEGIES),
    ):
        found = no_effect.verdicts(runs, strategies)
        counts = (found["improved"], found["no difference"], found["worse"])
        table.add_row(name, *map(str, counts))
    return table


if __name__ == "__main__":
    typer.run(main)
