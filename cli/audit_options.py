"""`metasync audit`: its command and help."""

import typer

app = typer.Typer(
    name="audit",
    help="Who has changed what; `GET /audit` lists it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def _root() -> None:
    # So that `verify` stays a command of its own.
    pass


@app.command()
def verify() -> None:
    """Check that no entry was changed or removed; status 1 if one was.

    It needs the settings of the service, and reads its database. The
    service may run meanwhile.
    """
    from cli.audit_command import verify_audit  # noqa: PLC0415 - takes a moment

    raise typer.Exit(verify_audit())
