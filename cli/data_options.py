"""The options that commands on data share."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import CommandError
from cli.text_file import read_text

if TYPE_CHECKING:
    from cli.setup import ModelOptions

WITH_SERVER = "With a running Metasync"
WITHOUT_SERVER = "Without --server: the models of the private instance"

Data = Annotated[
    Path,
    typer.Argument(
        metavar="DATA", help="The items: a .jsonl, .csv or .parquet file."
    ),
]
ModelNames = Annotated[
    list[str], typer.Option(help="A model's name; also several times.")
]
Metrics = Annotated[
    list[str] | None,
    typer.Option(
        help="How answers are scored: exact (default), contains, f1, "
        "regex:PATTERN, jsonField:PATH, numeric:TOLERANCE, schema:FILE, "
        "judge:PROMPT_FILE:MODEL, entryPoint:NAME, or a JSON object. "
        "Of several, the mean counts."
    ),
]
InputColumns = Annotated[
    str | None,
    typer.Option(
        help="The columns that the model gets, with commas between; by "
        "default all but the two below."
    ),
]
ExpectedColumn = Annotated[
    str | None,
    typer.Option(
        "--expected-column",
        "--expected",
        help="The right answer. Default: `expected`.",
    ),
]
IdColumn = Annotated[
    str | None, typer.Option(help="The items' ids. Default: `id`.")
]
Temperature = Annotated[float, typer.Option(min=0, max=2)]
Text = Annotated[
    bool,
    typer.Option("--text", help="Accept answers of any text, not only JSON."),
]
Schema = Annotated[
    Path | None,
    typer.Option(help="A file with the JSON Schema of every answer."),
]
Concurrency = Annotated[
    int, typer.Option(min=1, max=5000, help="Calls at once.")
]
Sdk = Annotated[
    str,
    typer.Option(
        help="The provider's plug-in.", rich_help_panel=WITHOUT_SERVER
    ),
]
Endpoint = Annotated[
    str,
    typer.Option(
        help="The base URL, if it is not the provider's default.",
        rich_help_panel=WITHOUT_SERVER,
    ),
]
ApiVersion = Annotated[
    str,
    typer.Option(
        help="The version of the provider's interface, if required.",
        rich_help_panel=WITHOUT_SERVER,
    ),
]
KeyEnv = Annotated[
    str | None,
    typer.Option(
        help="The variable with the provider's key. Default: the "
        "provider's usual one, such as OPENAI_API_KEY.",
        rich_help_panel=WITHOUT_SERVER,
    ),
]
MaxTokens = Annotated[
    int,
    typer.Option(
        min=1,
        help="The token limit of an answer.",
        rich_help_panel=WITHOUT_SERVER,
    ),
]
InputPrice = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="USD per million input tokens. Default: the published price, "
        "if the model is known.",
        rich_help_panel=WITHOUT_SERVER,
    ),
]
OutputPrice = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="USD per million output tokens.",
        rich_help_panel=WITHOUT_SERVER,
    ),
]
Server = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Its address. METASYNC_CLIENT_ID and "
        "METASYNC_CLIENT_API_KEY must be set.",
        rich_help_panel=WITH_SERVER,
    ),
]
StartWorker = Annotated[
    bool,
    typer.Option(
        "--start-worker",
        help="Start a worker, which keeps running afterwards.",
        rich_help_panel=WITH_SERVER,
    ),
]


def models_of(
    names: Iterable[str],
    sdk: str,
    endpoint: str,
    api_version: str,
    key_variable: str,
    max_tokens: int,
    prices: tuple[float | None, float | None],
) -> "list[ModelOptions]":
    """Give the models by their names, each once."""
    from cli.setup import ModelOptions  # noqa: PLC0415 - takes a second

    input_price, output_price = prices
    return [
        ModelOptions(
            name=name,
            sdk=sdk,
            endpoint=endpoint,
            deployment=name,
            api_version=api_version,
            key_variable=key_variable,
            max_tokens=max_tokens,
            input_price=input_price,
            output_price=output_price,
        )
        for name in dict.fromkeys(names)
    ]


def key_of(key_env: str | None, sdk: str, server: str | None) -> str:
    """Name the variable with the key; a server has its own keys."""
    from cli.model_settings import usual_key_variable  # noqa: PLC0415 - as above

    return key_env or (usual_key_variable(sdk) if server is None else "")


def read_prompt(file: Path) -> str:
    """Read a file with a system prompt.

    Raises:
        CommandError: it cannot be read, or has no text.
    """
    text = read_text(file)
    if not text.strip():
        raise CommandError(f"{file} is empty: say what to do with an item")
    return text


def columns_of(
    input_columns: str | None,
    expected_column: str | None,
    id_column: str | None,
) -> dict[str, str]:
    """Give the columns as they are uploaded with."""
    columns = {
        "inputColumns": input_columns,
        "expectedColumn": expected_column,
        "idColumn": id_column,
    }
    return {k: v for k, v in columns.items() if v is not None}
