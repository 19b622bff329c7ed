"""`metasync credentials`: its command, its options and help."""

from pathlib import Path
from typing import Annotated

import typer

from cli.model_options import UNCHANGED, Server
from cli.session import run_in_session

app = typer.Typer(
    name="credentials",
    help="Credentials of OAuth clients, for models with several of them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def _root() -> None:
    # So that `import` stays a command of its own.
    pass


@app.command(name="import")
def import_file(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="JSON or JSONL: clientId, clientSecret, tenant or "
            "tokenUrl, and name, agent, scope, audience.",
        ),
    ],
    *,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The model whose `keys` they become."
        ),
    ] = None,
    env_file: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="The file from which the service reads its keys.",
        ),
    ] = Path(".env"),
    server: Server = None,
) -> None:
    """Write credentials into .env, and give them to a model.

    Those that are there already are left as they are. The service reads
    the file when it starts.
    """
    from cli.credentials_command import import_credentials  # noqa: PLC0415 - takes a second

    run_in_session(
        lambda console: import_credentials(
            path, console, model=model, env_file=env_file, server=server
        ),
        UNCHANGED,
    )
