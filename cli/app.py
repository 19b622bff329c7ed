"""The commands, their options and their help."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import main_app
from api.core.logging import configure_logging
from cli.demo import DemoLLM, demo
from cli.errors import CommandError
from cli.run_command import RunOptions, run
from cli.secrets_file import ensure_secrets_file
from cli.setup import ModelOptions
from config import VERSION, ModelKeys, Settings, SettingsError
from utilities.embedded_database import EmbeddedDatabaseError
from utilities.schema import DatabaseError

app = typer.Typer(
    name="metasync",
    help="Run large amounts of LLM work: queue, workers, prompts.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
console = Console(stderr=False)
_EXPECTED = (
    CommandError,
    SettingsError,
    EmbeddedDatabaseError,
    DatabaseError,
)
_INTERRUPTED = 130


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and end.")
    ] = False,
) -> None:
    if version:
        console.print(f"metasync {VERSION}")
        raise typer.Exit


@app.command()
def init(
    path: Annotated[Path, typer.Argument()] = Path(".env"),
) -> None:
    """Write a .env with fresh random secrets, if there is none."""
    if ensure_secrets_file(path):
        console.print(f"Wrote {path} with fresh secrets (mode 0600).")
    console.print(f"Admin key:  grep ADMIN_API_KEY {path}", highlight=False)


@app.command()
def serve(
    workers: Annotated[
        bool,
        typer.Option(help="Run workers in this process, beside the API."),
    ] = True,
) -> None:
    """Run the service (the same as `python main_app.py`)."""
    settings = _settings()
    main_app.serve(settings, ModelKeys.load(), run_workers=workers)


@app.command()
def worker() -> None:
    """Run workers only; the API runs in another process.

    Both need one database: set DB_CONNECTION_STRING.
    """
    main_app.work(_settings(), ModelKeys.load())


@app.command(name="run")
def run_file(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT.jsonl", help="One JSON object a line: one job each."
        ),
    ],
    model: Annotated[str, typer.Option(help="The model's name.")],
    out: Annotated[
        Path, typer.Option(help="Where results go, one JSON object a line.")
    ] = Path("results.jsonl"),
    prompt: Annotated[
        str | None, typer.Option(help="The system prompt.")
    ] = None,
    prompt_file: Annotated[
        Path | None, typer.Option(help="A file with the system prompt.")
    ] = None,
    temperature: Annotated[float, typer.Option(min=0, max=1)] = 0.0,
    concurrency: Annotated[
        int, typer.Option(min=1, max=10_000, help="Calls at once.")
    ] = 50,
    label_field: Annotated[
        str | None,
        typer.Option(
            help="A field with the right answer: kept from the model, "
            "compared with what it says."
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            help="A running Metasync; without it, a private one is started. "
            "Needs METASYNC_CLIENT_ID and METASYNC_CLIENT_API_KEY."
        ),
    ] = None,
    start_worker: Annotated[
        bool, typer.Option(help="With --server: start a worker if needed.")
    ] = False,
    sdk: Annotated[str, typer.Option(help="The provider's plug-in.")] = (
        "OpenAI"
    ),
    endpoint: Annotated[
        str, typer.Option(help="The provider's base URL, if not its own.")
    ] = "",
    key_env: Annotated[
        str, typer.Option(help="The variable that holds the provider's key.")
    ] = "OPENAI_API_KEY",
    max_tokens: Annotated[
        int, typer.Option(min=1, help="The longest answer.")
    ] = 1024,
    input_price: Annotated[
        float, typer.Option(min=0, help="For a million tokens in.")
    ] = 0.0,
    output_price: Annotated[
        float, typer.Option(min=0, help="For a million tokens out.")
    ] = 0.0,
) -> None:
    """Run a file of inputs and write each answer as it comes.

    Stop it at any time; the same command again goes on where it was and
    pays for nothing twice. Ends with status 1 if any line failed.

    Example: OPENAI_API_KEY=... metasync run in.jsonl --model gpt-4o-mini
    --prompt "Answer as JSON: is the review positive or negative?"
    """
    options = RunOptions(
        source=source,
        out=out,
        model=ModelOptions(
            name=model,
            sdk=sdk,
            endpoint=endpoint,
            key_variable=key_env,
            max_tokens=max_tokens,
            input_price=input_price,
            output_price=output_price,
        ),
        prompt=_prompt(prompt, prompt_file),
        temperature=temperature,
        concurrency=concurrency,
        label_field=label_field,
        server=server,
        start_worker=start_worker,
    )
    configure_logging("WARNING", "console")
    raise typer.Exit(run(options, console))


@app.command(name="demo")
def run_demo(
    llm: Annotated[
        DemoLLM,
        typer.Option(envvar="DEMO_LLM", help="Who answers."),
    ] = DemoLLM.LOCAL,
) -> None:
    """Show the whole way of a job on real input; needs no account."""
    configure_logging("WARNING", "console")
    raise typer.Exit(demo(llm, console))


def main() -> None:
    """Run a command; expected failures are one message and status 2."""
    try:
        app()
    except _EXPECTED as error:
        Console(stderr=True).print(
            f"Error: {error}", style="red", highlight=False, markup=False
        )
        sys.exit(2)
    except KeyboardInterrupt:
        Console(stderr=True).print("\nStopped; run it again to go on.")
        sys.exit(_INTERRUPTED)


def _settings() -> Settings:
    settings = Settings.load()
    configure_logging(settings.log_level, settings.log_format)
    return settings


def _prompt(text: str | None, file: Path | None) -> str:
    if (text is None) == (file is None):
        raise CommandError("Give either --prompt or --prompt-file")
    if text is not None:
        return text
    try:
        return Path(str(file)).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"Cannot read the prompt: {error}") from None
