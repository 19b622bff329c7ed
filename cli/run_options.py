"""`metasync run`: its options and its help."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.answers_options import Cache, Fresh, Samples, cache_options
from cli.errors import CommandError
from cli.run_choices import (
    AnswerFieldOption,
    GiveUpOption,
    HtmlOption,
    InOrderOption,
    LimitOption,
    MaxCostOption,
    PilotOption,
    PlanOption,
    SeedOption,
    SkipFailedOption,
    YesOption,
)
from cli.session import run_in_session
from cli.text_file import read_text

if TYPE_CHECKING:
    from cli.run_settings import RunOptions

_WITH_SERVER = "With a running Metasync"
_WITHOUT_SERVER = "Without --server: the model of the private instance"


class Format(StrEnum):
    """The formats of rows."""

    JSONL = "jsonl"
    CSV = "csv"
    TSV = "tsv"
    PARQUET = "parquet"
    ARROW = "arrow"


class LimitField(StrEnum):
    """The field of a call in which the longest answer is given."""

    AUTO = "auto"
    MAX_COMPLETION_TOKENS = "max_completion_tokens"
    MAX_TOKENS = "max_tokens"


def run_file(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT...",
            help="JSON Lines, CSV, TSV, Parquet or Arrow, texts also as .gz "
            "or .zst; names with * for several; - for standard input. Each "
            "row becomes a job.",
        ),
    ],
    model: Annotated[str, typer.Option(help="The model's name.")],
    prompt: Annotated[
        str | None,
        typer.Option(
            help="What to do with a row; {{column}} stands for its value."
        ),
    ] = None,
    prompt_file: Annotated[
        Path | None, typer.Option(help="A file with the prompt.")
    ] = None,
    user_file: Annotated[
        Path | None,
        typer.Option(
            "--user",
            metavar="FILE",
            help="A file with the user's message, with {{column}}s; the "
            "prompt is the system text then.",
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            help="The file for results: .jsonl (as they come), or a table "
            "with the input's columns: .csv, .tsv, .parquet, .arrow; texts "
            "also as .gz or .zst."
        ),
    ] = Path("results.jsonl"),
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Of the input's columns, only these in the table.",
        ),
    ] = None,
    out_format: Annotated[
        Format | None,
        typer.Option(
            "--format", help="How results are written, if not by --out."
        ),
    ] = None,
    input_format: Annotated[
        Format | None,
        typer.Option(help="How rows are written, if not by the names."),
    ] = None,
    template: Annotated[
        bool | None,
        typer.Option(
            help="Whether {{column}} is filled in. Default: if the prompt "
            "has one.",
        ),
    ] = None,
    label_field: Annotated[
        str | None,
        typer.Option(
            help="The field with the right answer: hidden from the model, "
            "compared with the first value of its answer."
        ),
    ] = None,
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
    reasks: Annotated[
        int,
        typer.Option(
            min=0,
            max=5,
            help="How often the model is asked again, with what is wrong, "
            "for an answer that cannot be used.",
        ),
    ] = 0,
    ladder: Annotated[
        list[str] | None,
        typer.Option(
            help="With --server: a model that is asked where the one before "
            "gave no usable answer; several times for several.",
        ),
    ] = None,
    concurrency: Annotated[
        int, typer.Option(min=1, max=10_000, help="Calls at once.")
    ] = 50,
    fail_fast: Annotated[
        bool,
        typer.Option(
            "--fail-fast",
            help="End when the provider's account is stopped (no credit, a "
            "refused key), and do not wait until it is open again.",
        ),
    ] = False,
    plan: PlanOption = False,
    limit: LimitOption = None,
    seed: SeedOption = None,
    pilot: PilotOption = None,
    yes: YesOption = False,
    max_cost: MaxCostOption = None,
    give_up_after: GiveUpOption = 20,
    skip_failed: SkipFailedOption = False,
    answer_field: AnswerFieldOption = None,
    in_order: InOrderOption = False,
    html: HtmlOption = None,
    cache: Cache = True,
    fresh: Fresh = False,
    samples: Samples = 1,
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
    deployment: Annotated[
        str,
        typer.Option(
            help="The provider's name of the model, if it is different.",
            rich_help_panel=_WITHOUT_SERVER,
        ),
    ] = "",
    api_version: Annotated[
        str,
        typer.Option(
            help="The version of the provider's interface, if required "
            "(Azure).",
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
    limit_field: Annotated[
        LimitField,
        typer.Option(
            "--max-tokens-field",
            help="The field for --max-tokens. auto: max_completion_tokens, "
            "or max_tokens if that is refused.",
            rich_help_panel=_WITHOUT_SERVER,
        ),
    ] = LimitField.AUTO,
    input_price: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="USD per million input tokens. Default: the published "
            "price, if the model is known.",
            rich_help_panel=_WITHOUT_SERVER,
        ),
    ] = None,
    output_price: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="USD per million output tokens.",
            rich_help_panel=_WITHOUT_SERVER,
        ),
    ] = None,
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
    """Run a prompt over rows; write each answer as soon as it is received.

    The model gets the prompt, and the row without its `id`; or the prompt
    alone, if it names columns with {{column}}. Its answer must be JSON,
    unless --text is given; describe the JSON in the prompt or with
    --schema.

    You can stop the command at any time (running calls get five seconds):
    the same command continues where it stopped and does not repeat
    answered lines. The exit status is 1 if any line failed.

    The command starts a private instance of the service and stops it at
    the end, unless --server names a running service.

    Example: OPENAI_API_KEY=... metasync run in.jsonl --model gpt-4o-mini
    --prompt 'Is the writer happy? Answer as JSON: {"happy": true or false}'
    """
    from cli.attachments import check_places  # noqa: PLC0415 - takes a second
    from cli.input_rows import Kind, expanded  # noqa: PLC0415 - as above
    from cli.model_settings import usual_key_variable  # noqa: PLC0415 - as above
    from cli.run_settings import RunOptions  # noqa: PLC0415 - as above
    from cli.setup import ModelOptions  # noqa: PLC0415 - as above
    from cli.templates import is_template  # noqa: PLC0415 - as above

    text_of_prompt = _prompt(prompt, prompt_file)
    user = None if user_file is None else read_text(user_file)
    if template is None:
        template = user is not None or is_template(text_of_prompt)
    if user is not None and not template:
        raise CommandError("--user is a template: leave out --no-template")
    check_places(text_of_prompt, user)
    if seed is not None and limit is None:
        raise CommandError("--seed is for --limit: say how many rows")
    if answer_field is not None and label_field is None:
        raise CommandError("--answer-field needs --label-field")
    options = RunOptions(
        sources=expanded(sources),
        user=user,
        is_template=template,
        kind=None if input_format is None else Kind(input_format),
        out_kind=None if out_format is None else Kind(out_format),
        columns=None if columns is None else _listed(columns),
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
            old_limit_field=limit_field is LimitField.MAX_TOKENS,
            input_price=input_price,
            output_price=output_price,
        ),
        prompt=text_of_prompt,
        temperature=temperature,
        form=answer_form(schema, text=text)
        | _retry_on_invalid(reasks, ladder or [], server),
        concurrency=concurrency,
        label_field=label_field,
        server=server,
        start_worker=start_worker,
        try_other_limit_field=limit_field is LimitField.AUTO,
        fail_fast=fail_fast,
        skip_failed=skip_failed,
        give_up_after=give_up_after,
        plan=plan,
        limit=limit,
        seed=seed,
        pilot=pilot,
        yes=yes,
        max_cost=max_cost,
        answer_field=answer_field,
        in_order=in_order,
        html=html,
        cache=cache_options(cache=cache, fresh=fresh, samples=samples),
    )
    _run(options)


def _listed(columns: str) -> list[str]:
    names = [each.strip() for each in columns.split(",")]
    return [each for each in names if each]


def _run(options: "RunOptions") -> None:
    from cli.run_command import run  # noqa: PLC0415 - as above

    run_in_session(lambda console: run(options, console))


def _prompt(text: str | None, file: Path | None) -> str:
    if (text is None) == (file is None):
        raise CommandError("Give exactly one of --prompt and --prompt-file")
    if file is not None:
        text = read_text(file)
    if not (text or "").strip():
        raise CommandError("The prompt is empty: say what to do with a line")
    return str(text)


def _retry_on_invalid(
    reasks: int, ladder: list[str], server: str | None
) -> dict[str, Any]:
    if ladder and server is None:
        raise CommandError(
            "--ladder needs --server: a private instance has one model"
        )
    if not (reasks or ladder):
        return {}
    return {"retryOnInvalid": {"maxReasks": reasks, "ladder": ladder}}


def answer_form(schema: Path | None, *, text: bool) -> dict[str, Any]:
    """Give a job's fields for the form of its answer.

    Raises:
        CommandError: both are given, or the file has no JSON Schema.
    """
    from utilities import payload  # noqa: PLC0415 - imports pydantic

    if schema is None:
        return {"responseFormat": "text"} if text else {}
    if text:
        raise CommandError("Give only one of --text and --schema")
    try:
        fields = payload.load(read_text(schema))
    except ValueError as error:
        raise CommandError(f"{schema} is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise CommandError(f"{schema} must have a JSON object: a JSON Schema")
    return {"responseSchema": fields}
