"""`metasync report`: its options and its help."""

from pathlib import Path
from typing import Annotated

import typer

from cli.session import run_in_session


def report_run(
    run_id: Annotated[str, typer.Argument(metavar="RUN_ID")],
    output: Annotated[
        Path, typer.Option(help="The file of HTML to write.")
    ] = Path("report.html"),
    server: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="A running Metasync. METASYNC_CLIENT_ID and "
            "METASYNC_CLIENT_API_KEY must be set.",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="The data of a `metasync optimize` without --server."
        ),
    ] = None,
) -> None:
    """Write the page about a run, also while it is running.

    One file of HTML that loads nothing else: it can be kept, sent and
    printed.

    Example: metasync report 665f1c2ab7e4d90012345678 --data reviews.csv
    """
    from cli.report_command import report  # noqa: PLC0415 - takes a second

    run_in_session(
        lambda console: report(
            run_id, output, console, server=server, data=data
        ),
        "Nothing was changed.",
    )
