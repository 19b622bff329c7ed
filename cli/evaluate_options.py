"""`metasync evaluate`: its options and its help."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import CommandError
from cli.run_options import answer_form
from cli.text_file import read_text

if TYPE_CHECKING:
    from cli.evaluate_command import EvaluateOptions

_WITH_SERVER = "With a running Metasync"
_WITHOUT_SERVER = "Without --server: the models of the private instance"


def evaluate_file(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="The items: a .jsonl, .csv or .parquet file.",
        ),
    ],
    prompt: Annotated[
        list[Path],
        typer.Option(help="A file with a system prompt; also several times."),
    ],
    model: Annotated[
        list[str],
        typer.Option(help="A model's name; also several times."),
    ],
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="How answers are scored: exact (default), contains, f1, "
            "regex:PATTERN, jsonField:PATH, numeric:TOLERANCE, schema:FILE, "
            "judge:PROMPT_FILE:MODEL, entryPoint:NAME, or a JSON object. "
            "Of several, the mean counts."
        ),
    ] = None,
    input_columns: Annotated[
        str | None,
        typer.Option(
            help="The columns that the model gets, with commas between; by "
            "default all but the two below."
        ),
    ] = None,
    expected_column: Annotated[
        str | None,
        typer.Option(help="The right answer. Default: `expected`."),
    ] = None,
    id_column: Annotated[
        str | None, typer.Option(help="The items' ids. Default: `id`.")
    ] = None,
    split: Annotated[
        str,
        typer.Option(help="all, train, validation or test: 50, 25 and 25 %."),
    ] = "all",
    seed: Annotated[int, typer.Option(min=0, help="Of the split.")] = 0,
    temperature: Annotated[float, typer.Option(min=0, max=2)] = 0.0,
    text: Annotated[
        bool,
        typer.Option(
            "--text", help="Accept answers of any text, not only JSON."
        ),
    ] = False,
    schema: Annotated[
        Path | None,
        typer.Option(help="A file with the JSON Schema of every answer."),
    ] = None,
    cache: Annotated[
        bool, typer.Option(help="Use answers of earlier evaluations.")
    ] = True,
    concurrency: Annotated[
        int, typer.Option(min=1, max=5000, help="Calls at once.")
    ] = 50,
    out: Annotated[
        Path | None,
        typer.Option(help="A file for the whole result, as JSON."),
    ] = None,
    sdk: Annotated[
        str,
        typer.Option(
            help="The provider's plug-in.", rich_help_panel=_WITHOUT_SERVER
        ),
    ] = "OpenAI",
    endpoint: Annotated[
        str,
        typer.Option(
            help="The base URL, if it is not the provider's default.",
            rich_help_panel=_WITHOUT_SERVER,
        ),
    ] = "",
    api_version: Annotated[
        str,
        typer.Option(
            help="The version of the provider's interface, if required.",
            rich_help_panel=_WITHOUT_SERVER,
        ),
    ] = "",
    key_env: Annotated[
        str | None,
        typer.Option(
            help="The variable with the provider's key. Default: the "
            "provider's usual one, such as OPENAI_API_KEY.",
            rich_help_panel=_WITHOUT_SERVER,
        ),
    ] = None,
    max_tokens: Annotated[
        int,
        typer.Option(
            min=1,
            help="The token limit of an answer.",
            rich_help_panel=_WITHOUT_SERVER,
        ),
    ] = 1024,
    input_price: Annotated[
        float,
        typer.Option(
            min=0,
            help="USD per million input tokens.",
            rich_help_panel=_WITHOUT_SERVER,
        ),
    ] = 0.0,
    output_price: Annotated[
        float,
        typer.Option(
            min=0,
            help="USD per million output tokens.",
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
            help="Start a worker, which keeps running afterwards.",
            rich_help_panel=_WITH_SERVER,
        ),
    ] = False,
) -> None:
    """Score prompts and models on data, and compare them.

    Every prompt is tried with every model on the same items. The tables
    show scores with their intervals, precision and recall by class, cost
    and latency, and for each two whether their difference is more than
    chance.

    Answers are kept: the same command, or one with another metric or a
    further prompt, asks nothing twice. Without --server, they are kept in
    a hidden directory beside DATA.

    Example: metasync evaluate reviews.csv --prompt short.txt --prompt
    long.txt --model gpt-4o-mini --metric jsonField:sentiment
    """
    from cli.evaluate_command import EvaluateOptions  # noqa: PLC0415 - takes a second
    from cli.metric_spec import read_metrics  # noqa: PLC0415 - as above
    from cli.run_command import usual_key_variable  # noqa: PLC0415 - as above
    from cli.setup import ModelOptions  # noqa: PLC0415 - as above

    key = key_env or (usual_key_variable(sdk) if server is None else "")
    models = [
        ModelOptions(
            name=name,
            sdk=sdk,
            endpoint=endpoint,
            deployment=name,
            api_version=api_version,
            key_variable=key,
            max_tokens=max_tokens,
            input_price=input_price,
            output_price=output_price,
        )
        for name in dict.fromkeys(model)
    ]
    columns = {
        "inputColumns": input_columns,
        "expectedColumn": expected_column,
        "idColumn": id_column,
    }
    options = EvaluateOptions(
        data=data,
        prompts=_prompts(prompt),
        models=models,
        metrics=read_metrics(metric or ["exact"]),
        columns={k: v for k, v in columns.items() if v is not None},
        fields={
            "split": split,
            "seed": seed,
            "temperature": temperature,
            "cache": cache,
            **answer_form(schema, text=text),
        },
        concurrency=concurrency,
        server=server,
        start_worker=start_worker,
        out=out,
    )
    _run(options)


def _prompts(files: list[Path]) -> dict[str, str]:
    """Read the prompts, by the shortest names that tell them apart."""
    texts: dict[str, str] = {}
    for file in files:
        name = file.name if file.name not in texts else str(file)
        texts[name] = read_text(file)
        if not texts[name].strip():
            raise CommandError(f"{file} is empty: say what to do with an item")
    if len(set(texts.values())) < len(files):
        raise CommandError("Each --prompt must have a text of its own")
    return texts


def _run(options: "EvaluateOptions") -> None:
    from api.core.logging import configure_logging  # noqa: PLC0415 - as above
    from cli.evaluate_command import evaluate  # noqa: PLC0415 - as above
    from cli.stopping import stoppable  # noqa: PLC0415 - as above
    from cli.terminal import Terminal  # noqa: PLC0415 - as above

    configure_logging("WARNING", "console")
    advice = "The same command continues where it stopped."
    terminal: Any = Terminal(stderr=True)
    with stoppable(terminal, advice):
        raise typer.Exit(evaluate(options, Terminal()))
