"""`metasync evaluate`: its options and its help."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.data_options import (
    ApiVersion,
    Concurrency,
    Data,
    Endpoint,
    ExpectedColumn,
    IdColumn,
    InputColumns,
    InputPrice,
    KeyEnv,
    MaxTokens,
    Metrics,
    ModelNames,
    OutputPrice,
    Schema,
    Sdk,
    Server,
    StartWorker,
    Temperature,
    Text,
    columns_of,
    key_of,
    models_of,
    read_prompt,
)
from cli.errors import CommandError
from cli.run_options import answer_form
from cli.session import run_in_session

if TYPE_CHECKING:
    from cli.evaluate_command import EvaluateOptions


def evaluate_file(
    data: Data,
    prompt: Annotated[
        list[Path],
        typer.Option(help="A file with a system prompt; also several times."),
    ],
    model: ModelNames,
    metric: Metrics = None,
    input_columns: InputColumns = None,
    expected_column: ExpectedColumn = None,
    id_column: IdColumn = None,
    split: Annotated[
        str,
        typer.Option(help="all, train, validation or test: 50, 25 and 25 %."),
    ] = "all",
    seed: Annotated[int, typer.Option(min=0, help="Of the split.")] = 0,
    temperature: Temperature = 0.0,
    text: Text = False,
    schema: Schema = None,
    cache: Annotated[
        bool, typer.Option(help="Use answers of earlier evaluations.")
    ] = True,
    concurrency: Concurrency = 50,
    out: Annotated[
        Path | None,
        typer.Option(help="A file for the whole result, as JSON."),
    ] = None,
    sdk: Sdk = "OpenAI",
    endpoint: Endpoint = "",
    api_version: ApiVersion = "",
    key_env: KeyEnv = None,
    max_tokens: MaxTokens = 1024,
    input_price: InputPrice = None,
    output_price: OutputPrice = None,
    server: Server = None,
    start_worker: StartWorker = False,
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

    models = models_of(
        model,
        sdk,
        endpoint,
        api_version,
        key_of(key_env, sdk, server),
        max_tokens,
        (input_price, output_price),
    )
    options = EvaluateOptions(
        data=data,
        prompts=_prompts(prompt),
        models=models,
        metrics=read_metrics(metric or ["exact"]),
        columns=columns_of(input_columns, expected_column, id_column),
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
        texts[name] = read_prompt(file)
    if len(set(texts.values())) < len(files):
        raise CommandError("Each --prompt must have a text of its own")
    return texts


def _run(options: "EvaluateOptions") -> None:
    from cli.evaluate_command import evaluate  # noqa: PLC0415 - as above

    run_in_session(lambda console: evaluate(options, console))
