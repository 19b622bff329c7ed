"""Runs a command's work: what every one that can be stopped has around it."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console

CONTINUES = "The same command continues where it stopped."


def run_in_session(
    work: "Callable[[Console], int | None]", advice: str = CONTINUES
) -> None:
    """Do the work, and end the command with the status that it returns.

    It gets the console for its output; a signal stops it with `advice`.

    Raises:
        typer.Exit: always.
    """
    from api.core.logging import configure_logging  # noqa: PLC0415 - takes a second
    from cli.stopping import stoppable  # noqa: PLC0415 - as above
    from cli.terminal import Terminal  # noqa: PLC0415 - as above

    configure_logging("WARNING", "console")
    with stoppable(Terminal(stderr=True), advice):
        raise typer.Exit(work(Terminal()) or 0)
