"""`metasync model`: its commands, their options and help."""

from typing import Annotated

import typer

from cli.session import run_in_session

UNCHANGED = "Nothing was changed."
Server = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="The running Metasync. Default: METASYNC_URL, or the one on "
        "this machine. ADMIN_API_KEY is read from the environment or .env.",
    ),
]
ModelName = Annotated[str, typer.Argument(metavar="NAME")]

app = typer.Typer(
    name="model",
    help="Add models by name, list, test and remove them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def add(
    name: ModelName,
    *,
    sdk: Annotated[
        str | None, typer.Option(help="The plug-in, if not by the name.")
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(metavar="URL", help="Its base URL.")
    ] = None,
    deployment: Annotated[
        str | None,
        typer.Option(help="The provider's name of it. Default: NAME."),
    ] = None,
    api_version: Annotated[str, typer.Option(help="For Azure.")] = "",
    key_env: Annotated[
        str | None,
        typer.Option(
            metavar="VARIABLE",
            help="The variable of the service's environment that has the key.",
        ),
    ] = None,
    max_tokens: Annotated[
        int, typer.Option(min=1, help="The longest answer, in tokens.")
    ] = 4096,
    requests_per_minute: Annotated[
        int | None, typer.Option(min=1, help="A limit of all its calls.")
    ] = None,
    call: Annotated[
        bool, typer.Option(help="Make one small call to it.")
    ] = True,
    server: Server = None,
) -> None:
    """Add a model; common ones are known by their names.

    Examples: metasync model add gpt-4o-mini
    metasync model add claude-sonnet-4-5
    metasync model add groq/llama-3.3-70b-versatile
    metasync model add mine --sdk OpenAI --endpoint http://10.0.0.5:8000/v1
    """
    from cli.model_command import Added, add_model  # noqa: PLC0415 - takes a second

    added = Added(
        name,
        sdk,
        endpoint,
        deployment,
        api_version,
        key_env,
        max_tokens,
        requests_per_minute,
    )
    run_in_session(
        lambda console: add_model(added, console, server=server, call=call),
        UNCHANGED,
    )


@app.command(name="list")
def list_all(server: Server = None) -> None:
    """List the models: plug-in, price, limits, and what stops them."""
    from cli.model_command import list_models  # noqa: PLC0415 - as above

    run_in_session(
        lambda console: list_models(console, server=server), UNCHANGED
    )


@app.command(name="test")
def call_model(name: ModelName, server: Server = None) -> None:
    """Make one small call to a model; status 1 if it fails."""
    from cli.model_command import test_model  # noqa: PLC0415 - as above

    run_in_session(
        lambda console: test_model(name, console, server=server), UNCHANGED
    )


@app.command()
def remove(name: ModelName, server: Server = None) -> None:
    """Remove a model; its jobs that wait end with an error."""
    from cli.model_command import remove_model  # noqa: PLC0415 - as above

    run_in_session(
        lambda console: remove_model(name, console, server=server), UNCHANGED
    )
