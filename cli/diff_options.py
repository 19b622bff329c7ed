"""`metasync diff`: its options and its help."""

from pathlib import Path
from typing import Annotated

import typer

from cli.run_options import Format
from cli.session import run_in_session


def diff_files(
    first: Annotated[Path, typer.Argument(metavar="A")],
    second: Annotated[Path, typer.Argument(metavar="B")],
    *,
    by: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="The columns that tell rows apart. Default: `id`; without "
            "ids, the columns of the input.",
        ),
    ] = None,
    input_format: Annotated[
        Format | None,
        typer.Option(help="How rows are written, if not by the names."),
    ] = None,
    most: Annotated[
        int,
        typer.Option("--limit", min=0, help="Rows of each kind to be shown."),
    ] = 20,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, for programs.")
    ] = False,
) -> None:
    """Show which rows of two results files differ: JSON Lines or tables.

    The exit status is 0 if none does, 1 if some do, 2 for trouble.

    Example: metasync diff monday.jsonl friday.jsonl
    """
    from cli.diff_command import run_diff  # noqa: PLC0415 - takes a second
    from cli.input_rows import Kind  # noqa: PLC0415 - as above

    names = [each.strip() for each in (by or "").split(",")]
    run_in_session(
        lambda console: run_diff(
            first,
            second,
            console,
            by=[each for each in names if each],
            kind=None if input_format is None else Kind(input_format),
            most=most,
            as_json=as_json,
        ),
        "Nothing was changed.",
    )
