"""The commands, their options and their help."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from api.core.logging import configure_logging
from cli.demo import DemoLLM, demo
from cli.errors import CommandError, reason
from cli.private_instance import end_with_stdin
from cli.run_command import RunOptions, run, usual_key_variable
from cli.secrets_file import ensure_secrets_file, missing_secrets
from cli.setup import ModelOptions
from cli.simulate import simulate
from cli.stopping import stoppable
from config import VERSION
from utilities import payload

app = typer.Typer(
    name="metasync",
    help="Run large amounts of LLM work: queue, workers, prompts.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
console = Console()
errors = Console(stderr=True)
_WITH_SERVER = "With a Metasync that runs already"
_WITHOUT_SERVER = "Without --server: the model of the private instance"


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
    path: Annotated[
        Path, typer.Argument(metavar="FILE", help="Where to write.")
    ] = Path(".env"),
) -> None:
    """Write a .env with fresh random secrets, if there is none."""
    if ensure_secrets_file(path):
        _say(f"Wrote {path} with fresh secrets (mode 0600).")
    elif missing := missing_secrets(path):
        raise CommandError(
            f"{path} is there and was left as it is, but it does not set "
            f"{', '.join(missing)}. `metasync init FILE` writes fresh ones "
            "to another file, to copy from"
        )
    _say(f"Admin key:  grep ADMIN_API_KEY {path}")


@app.command()
def serve(
    workers: Annotated[
        bool,
        typer.Option(help="Run workers in this process, beside the API."),
    ] = True,
    with_stdin: Annotated[
        bool,
        typer.Option(
            "--end-with-stdin", help="End when stdin ends.", hidden=True
        ),
    ] = False,
) -> None:
    """Run the service (the same as `python main_app.py`)."""
    from cli import service  # noqa: PLC0415 - see there

    if with_stdin:
        end_with_stdin()
    service.serve(run_workers=workers)


@app.command()
def worker() -> None:
    """Run workers only; the API runs in another process.

    Both need one database: set DB_CONNECTION_STRING.
    """
    from cli import service  # noqa: PLC0415 - see there

    service.work()


@app.command(name="run")
def run_file(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT.jsonl", help="One JSON object a line: one job each."
        ),
    ],
    model: Annotated[str, typer.Option(help="The model's name.")],
    prompt: Annotated[
        str | None, typer.Option(help="The system prompt.")
    ] = None,
    prompt_file: Annotated[
        Path | None, typer.Option(help="A file with the system prompt.")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Where results go, one JSON object a line.")
    ] = Path("results.jsonl"),
    label_field: Annotated[
        str | None,
        typer.Option(
            help="The field with the right answer: hidden from the model, "
            "compared with the first value of its answer."
        ),
    ] = None,
    temperature: Annotated[float, typer.Option(min=0, max=1)] = 0.0,
    text: Annotated[
        bool,
        typer.Option("--text", help="Answers are any text, not JSON."),
    ] = False,
    schema: Annotated[
        Path | None,
        typer.Option(help="A file with the JSON Schema of every answer."),
    ] = None,
    concurrency: Annotated[
        int, typer.Option(min=1, max=10_000, help="Calls at once.")
    ] = 50,
    sdk: Annotated[
        str,
        typer.Option(
            help="The provider's plug-in.", rich_help_panel=_WITHOUT_SERVER
        ),
    ] = "OpenAI",
    endpoint: Annotated[
        str,
        typer.Option(
            help="The provider's base URL, if not its own.",
            rich_help_panel=_WITHOUT_SERVER,
        ),
    ] = "",
    deployment: Annotated[
        str,
        typer.Option(
            help="What the provider calls the model, if not by its name.",
            rich_help_panel=_WITHOUT_SERVER,
        ),
    ] = "",
    api_version: Annotated[
        str,
        typer.Option(
            help="Of the provider's interface, where it wants one (Azure).",
            rich_help_panel=_WITHOUT_SERVER,
        ),
    ] = "",
    key_env: Annotated[
        str | None,
        typer.Option(
            help="The variable that holds the provider's key; left out, the "
            "provider's usual one, such as OPENAI_API_KEY.",
            rich_help_panel=_WITHOUT_SERVER,
        ),
    ] = None,
    max_tokens: Annotated[
        int,
        typer.Option(
            min=1,
            help="The longest answer.",
            rich_help_panel=_WITHOUT_SERVER,
        ),
    ] = 1024,
    input_price: Annotated[
        float,
        typer.Option(
            min=0,
            help="USD for a million tokens in.",
            rich_help_panel=_WITHOUT_SERVER,
        ),
    ] = 0.0,
    output_price: Annotated[
        float,
        typer.Option(
            min=0,
            help="USD for a million tokens out.",
            rich_help_panel=_WITHOUT_SERVER,
        ),
    ] = 0.0,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Its address. METASYNC_CLIENT_ID and "
            "METASYNC_CLIENT_API_KEY must be set.",
            rich_help_panel=_WITH_SERVER,
        ),
    ] = None,
    start_worker: Annotated[
        bool,
        typer.Option(
            "--start-worker",
            help="Start a worker, and leave it running.",
            rich_help_panel=_WITH_SERVER,
        ),
    ] = False,
) -> None:
    """Run a file of inputs and write each answer as it comes.

    The model gets the prompt and the line without its `id`. Its answer
    must be JSON, so the prompt should say which, or --schema; unless
    --text is given.

    Stop it at any time; the same command again goes on where it was and
    asks for no answer that it has. (Calls that are under way get five
    seconds to end.) Ends with status 1 if any line failed.

    A private instance of the service does the work and ends with the
    command, unless --server names one that runs.

    Example: OPENAI_API_KEY=... metasync run in.jsonl --model gpt-4o-mini
    --prompt 'Is the writer happy? Answer as JSON: {"happy": true or false}'
    """
    options = RunOptions(
        source=source,
        out=out,
        model=ModelOptions(
            name=model,
            sdk=sdk,
            endpoint=endpoint,
            deployment=deployment or model,
            api_version=api_version,
            # Of no use to a server, which has its own models and keys.
            key_variable=key_env
            or (usual_key_variable(sdk) if server is None else ""),
            max_tokens=max_tokens,
            input_price=input_price,
            output_price=output_price,
        ),
        prompt=_prompt(prompt, prompt_file),
        temperature=temperature,
        form=_form(schema, text=text),
        concurrency=concurrency,
        label_field=label_field,
        server=server,
        start_worker=start_worker,
    )
    configure_logging("WARNING", "console")
    with stoppable(errors, "The same command again goes on where it was."):
        raise typer.Exit(run(options, console))


@app.command(name="demo")
def run_demo(
    llm: Annotated[
        DemoLLM,
        typer.Option(
            envvar="DEMO_LLM",
            help="Who answers: a small model on this machine, OpenAI (needs "
            "OPENAI_API_KEY), or an echo.",
        ),
    ] = DemoLLM.LOCAL,
) -> None:
    """Show the whole way of a job on real input; needs no account."""
    configure_logging("WARNING", "console")
    with stoppable(errors, "Nothing is left running."):
        raise typer.Exit(demo(llm, console))


app.command(name="simulate")(simulate)


def main() -> None:
    """Run a command; expected failures are one message and status 2."""
    try:
        app()
    except CommandError as error:
        errors.print(
            f"Error: {error}",
            style="red",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        sys.exit(2)


def _prompt(text: str | None, file: Path | None) -> str:
    if (text is None) == (file is None):
        raise CommandError("Give either --prompt or --prompt-file")
    if file is not None:
        text = _read(file)
    if not (text or "").strip():
        raise CommandError("The prompt is empty: say what to do with a line")
    return str(text)


def _form(schema: Path | None, *, text: bool) -> dict[str, Any]:
    if schema is None:
        return {"responseFormat": "text"} if text else {}
    if text:
        raise CommandError("Give either --text or --schema")
    try:
        fields = payload.load(_read(schema))
    except ValueError as error:
        raise CommandError(f"{schema} is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise CommandError(f"{schema} must have a JSON object: a JSON Schema")
    return {"responseSchema": fields}


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"Cannot read {file}: {reason(error)}") from None


def _say(text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
