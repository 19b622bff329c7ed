"""`metasync jobs`, `logs` and `top`: their options and their help."""

from typing import Annotated

import typer

from cli.session import run_in_session

_UNCHANGED = "Nothing was changed."
_Server = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="The running Metasync. Default: METASYNC_URL, or the one on "
        "this machine. METASYNC_TOKEN says which client you are; without "
        "it, ADMIN_API_KEY (also from .env) shows everybody's.",
    ),
]


def list_jobs(
    *,
    status: Annotated[
        str | None,
        typer.Option(help="PENDING, PROCESSED, ERROR_PROCESSING, ..."),
    ] = None,
    operation: Annotated[str | None, typer.Option()] = None,
    model: Annotated[str | None, typer.Option()] = None,
    error_type: Annotated[
        str | None, typer.Option(help="Such as RATE_LIMITED.")
    ] = None,
    batch_key: Annotated[str | None, typer.Option()] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="WHEN",
            help="Created in the last 90s, 15m, 24h or 7d, or since an ISO "
            "8601 date.",
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=1000, help="As many, the newest.")
    ] = 20,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, a job a line.")
    ] = False,
    server: _Server = None,
) -> None:
    """Show how many jobs there are, and the newest: why each waits or failed.

    Example: metasync jobs --status ERROR_PROCESSING --since 24h
    """
    from cli.watch_jobs import show_jobs  # noqa: PLC0415 - takes a second

    wanted = {
        "status": status,
        "operation": operation,
        "model": model,
        "errorType": error_type,
        "batchKey": batch_key,
    }
    chosen = {name: value for name, value in wanted.items() if value}
    run_in_session(
        lambda console: show_jobs(
            console,
            chosen,
            since=since,
            limit=limit,
            as_json=as_json,
            server=server,
        ),
        _UNCHANGED,
    )


def show_log(
    job_id: Annotated[str, typer.Argument(metavar="JOB")],
    *,
    server: _Server = None,
) -> None:
    """Tell one job's whole story: question, tries, answers, cost."""
    from cli.watch_job import show_job  # noqa: PLC0415 - as above

    run_in_session(
        lambda console: show_job(console, job_id, server=server), _UNCHANGED
    )


def watch(
    *,
    every: Annotated[
        float, typer.Option(min=0.5, max=60, help="Seconds between looks.")
    ] = 2.0,
    once: Annotated[
        bool, typer.Option("--once", help="Print one look and end.")
    ] = False,
    server: _Server = None,
) -> None:
    """Watch the queue live: rate, errors, waiting, spend by model and client.

    Ctrl-C ends it.
    """
    from cli.watch_top import show_top  # noqa: PLC0415 - as above

    run_in_session(
        lambda console: show_top(
            console, every=every, once=once, server=server
        ),
        _UNCHANGED,
    )
