"""`metasync optimize`: its options and its help."""

from enum import StrEnum
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
    from cli.optimize_command import OptimizeOptions

_LIMITS = "Limits, over all calls"
_CURRENCY = "USD"


class StrategyChoice(StrEnum):
    """How better prompts are looked for."""

    METAPROMPT = "metaprompt"
    FEWSHOT = "fewshot"
    REFLECTIVE = "reflective"
    AUTO = "auto"


def optimize_file(
    data: Data,
    prompt: Annotated[
        Path, typer.Option(help="A file with the system prompt to improve.")
    ],
    model: ModelNames,
    metric: Metrics = None,
    strategy: Annotated[
        StrategyChoice,
        typer.Option(
            help="One suggestion after the other; worked examples; rules "
            "from failures, many at once; or all in turn."
        ),
    ] = StrategyChoice.AUTO,
    meta_model: Annotated[
        str | None,
        typer.Option(
            help="The model that writes prompts. Default: the model itself."
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option(help="The file for the best prompt.")
    ] = Path("best_prompt.txt"),
    report: Annotated[
        Path, typer.Option(help="The file for the page about the run.")
    ] = Path("report.html"),
    publish: Annotated[
        bool,
        typer.Option(
            "--publish", help="Publish the best prompt if it is better."
        ),
    ] = False,
    target_score: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Stop at this score.", rich_help_panel=_LIMITS
        ),
    ] = None,
    max_jobs: Annotated[
        int | None, typer.Option(min=1, rich_help_panel=_LIMITS)
    ] = None,
    max_cost: Annotated[
        float | None,
        typer.Option(
            min=0, help="USD; needs prices.", rich_help_panel=_LIMITS
        ),
    ] = None,
    max_iterations: Annotated[
        int,
        typer.Option(
            min=1,
            max=100,
            help="Rounds, for each model.",
            rich_help_panel=_LIMITS,
        ),
    ] = 20,
    patience: Annotated[
        int,
        typer.Option(
            min=1,
            max=100,
            help="Rounds without anything better.",
            rich_help_panel=_LIMITS,
        ),
    ] = 3,
    input_columns: InputColumns = None,
    expected_column: ExpectedColumn = None,
    id_column: IdColumn = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Of the split and of every choice.")
    ] = 0,
    temperature: Temperature = 0.0,
    text: Text = False,
    schema: Schema = None,
    cache: Annotated[
        bool, typer.Option(help="Use answers of earlier commands.")
    ] = True,
    concurrency: Concurrency = 50,
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
    """Improve a prompt on data, and test whether it is better.

    Prompts are looked for on one part of the data, chosen by a second one
    (validation), and compared with yours on a third one (test), once. At
    the end are the best prompt and a page about the run, as files.

    The same command continues where it stopped and asks nothing twice.
    Without --server, answers are kept in a hidden directory beside DATA.

    Example: metasync optimize reviews.csv --prompt prompt.txt --model
    gpt-4o-mini --metric jsonField:sentiment --max-jobs 2000
    """
    from cli.metric_spec import read_metrics  # noqa: PLC0415 - takes a second
    from cli.optimize_command import OptimizeOptions  # noqa: PLC0415 - as above

    prices = (input_price, output_price)
    if max_cost is not None and server is None and not any(prices):
        raise CommandError(
            "--max-cost needs prices: --input-price and --output-price"
        )
    limits = {
        "targetScore": target_score,
        "maxJobs": max_jobs,
        "maxCost": max_cost and {"amount": max_cost, "currency": _CURRENCY},
    }
    options = OptimizeOptions(
        data=data,
        prompt=read_prompt(prompt),
        models=models_of(
            model,
            sdk,
            endpoint,
            api_version,
            key_of(key_env, sdk, server),
            max_tokens,
            prices,
        ),
        metrics=read_metrics(metric or ["exact"]),
        columns=columns_of(input_columns, expected_column, id_column),
        fields={
            "strategy": strategy.value,
            "maxIterations": max_iterations,
            "patience": patience,
            "seed": seed,
            "temperature": temperature,
            "cache": cache,
            **{k: v for k, v in limits.items() if v is not None},
            **answer_form(schema, text=text),
        },
        concurrency=concurrency,
        server=server,
        start_worker=start_worker,
        meta_model=meta_model,
        output=output,
        report=report,
        publish=publish,
    )
    _run(options, prompt)


def _run(options: "OptimizeOptions", prompt: Path) -> None:
    from cli.optimize_command import optimize  # noqa: PLC0415 - as above

    inputs = {prompt.resolve(), options.data.resolve()}
    if inputs & {options.output.resolve(), options.report.resolve()}:
        raise CommandError(
            "--output and --report must not be the prompt or the data"
        )
    run_in_session(lambda console: optimize(options, console))
