"""`metasync report`: its options and its help."""

from pathlib import Path
from typing import Annotated, Any

import typer


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
    from api.core.logging import configure_logging  # noqa: PLC0415 - takes a second
    from cli.report_command import report  # noqa: PLC0415 - as above
    from cli.stopping import stoppable  # noqa: PLC0415 - as above
    from cli.terminal import Terminal  # noqa: PLC0415 - as above

    configure_logging("WARNING", "console")
    terminal: Any = Terminal(stderr=True)
    with stoppable(terminal, "Nothing was changed."):
        report(run_id, output, Terminal(), server=server, data=data)
