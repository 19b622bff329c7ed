"""`metasync run`: options in, results file and exit status out."""

import contextlib
import functools
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx2
from filelock import FileLock, Timeout
from pydantic import SecretStr
from rich.console import Console

from cli import setup
from cli.answers_memory import take_known
from cli.answers_options import WITHOUT_CACHE, CacheOptions, run_salt
from cli.batch_run import BatchRun, Tally, tally_of_kept
from cli.display import failure_lines, progress_display, summary_table
from cli.errors import CommandError, reason
from cli.input_file import Item, Question, read_items
from cli.input_rows import Fields, Kind
from cli.private_instance import private_instance
from cli.rest_client import RestClient, ServerRefusedError
from cli.results_file import ResultsFile, Row
from cli.results_table import (
    check_columns,
    check_table,
    is_table,
    rows_beside,
    write_table,
)
from cli.service_access import (
    CLIENT_ID_VARIABLE,
    CLIENT_KEY_VARIABLE,
    given_client,
)
from cli.terminal import say
from config import (
    KEY_PREFIXES,
    MissingModelKeyError,
    ModelKeys,
    RefusedModelKeyError,
    key_variable,
)
from llm_sdks.base_sdk import BaseLLMSDK, LLMConfig
from llm_sdks.credentials.exchanged import sent_for
from llm_sdks.errors import ConfigurationError
from llm_sdks.registry import SdkRegistry

# Workers read a model again after a shorter time.
_MODEL_CHANGE_SECONDS = 2.5
_LIMIT_FIELD = "max_completion_tokens"
_BAD_REQUEST = (400, 422)


@dataclass(frozen=True)
class RunOptions:
    """The options of `metasync run`."""

    sources: Sequence[Path]
    out: Path
    model: setup.ModelOptions
    prompt: str
    user: str | None = None
    is_template: bool = False
    kind: Kind | None = None
    # The input's columns in a table of answers; None: all.
    columns: Sequence[str] | None = None
    temperature: float = 0.0
    form: Fields = field(default_factory=dict)
    concurrency: int = 50
    label_field: str | None = None
    server: str | None = None
    start_worker: bool = False
    try_other_limit_field: bool = False
    fail_fast: bool = False
    cache: CacheOptions = WITHOUT_CACHE

    @property
    def question(self) -> Question:
        """What is asked of every line."""
        return Question(
            self.model.name,
            self.model.sdk,
            self.prompt,
            self.temperature,
            self.form,
            self.user,
            self.is_template,
        )

    @property
    def rows(self) -> Path:
        """The file of rows: the results, or what their table is made of."""
        return rows_beside(self.out)

    @property
    def private_directory(self) -> Path:
        """Where a private instance keeps its data until all is done."""
        return self.out.with_name(f".{self.out.name}.metasync")


def run(options: RunOptions, console: Console) -> int:
    """Run the file; returns the exit status: 0, or 1 if a job failed.

    Raises:
        CommandError: it could not be run.
    """
    _check_paths(options)
    items = read_items(
        options.sources,
        options.question,
        label_field=options.label_field,
        kind=options.kind,
    )
    check_columns(items, options.columns or ())
    items = options.cache.sampled(items)
    with _alone(options):
        tally, failures = _answer_all(options, items, console)
        if is_table(options.out):
            with ResultsFile(options.rows, items) as results:
                rows = results.kept | {row["key"]: row for row in failures}
            write_table(
                options.out,
                items,
                rows,
                options.columns,
                are_texts=options.form.get("responseFormat") == "text",
            )
        if not failures:
            # All is in the results file; the private data was only for
            # going on after a stop.
            shutil.rmtree(options.private_directory, ignore_errors=True)
    console.print(summary_table(tally))
    return _report(failures, options, console)


def model_variables(model: setup.ModelOptions) -> dict[str, str]:
    """Find the variables that a private instance needs for the model.

    Raises:
        CommandError: the provider's key is not set; said before a
            thousand jobs fail for it.
    """
    variable = key_variable(model.key_variable)
    try:
        # Whoever gives the command may name any variable of its own.
        key = ModelKeys.load(also=[variable]).resolve(variable)
    except RefusedModelKeyError as error:
        raise CommandError(str(error)) from None
    except MissingModelKeyError as error:
        if not _plugin(model.sdk).needs_key:
            return {}
        raise CommandError(
            f"{error.variable} is not set: give it the provider's key (in "
            "the environment or in .env), or name another variable with "
            "--key-env"
        ) from None
    _check_settings(model, key)
    return {variable: key.get_secret_value(), KEY_PREFIXES: variable}


def _check_settings(model: setup.ModelOptions, key: SecretStr) -> None:
    try:
        config = LLMConfig(
            model.name,
            model.endpoint,
            api_version=model.api_version,
            deployment=model.deployment,
            api_key=sent_for(key),
            max_completion_token=model.max_tokens,
        )
        _plugin(model.sdk).validate_config(config)
    except ConfigurationError as error:
        raise CommandError(f"{model.sdk}: {error}") from None


def usual_key_variable(sdk: str) -> str:
    """Name the variable in which a provider's users keep their key.

    Raises:
        CommandError: there is no such plug-in.
    """
    return _plugin(sdk).usual_key_variable


@functools.cache
def _plugin(sdk: str) -> BaseLLMSDK:
    try:
        return SdkRegistry.discover().create(sdk)
    except ConfigurationError as error:
        raise CommandError(f"--sdk: {error}") from None


def _check_paths(options: RunOptions) -> None:
    if is_table(options.out):
        check_table(options.out)
    out = options.out.resolve()
    if any(out == source.resolve() for source in options.sources):
        raise CommandError(
            "--out is the input itself; choose another file for the results"
        )


@contextlib.contextmanager
def _alone(options: RunOptions) -> Iterator[None]:
    """Be the only run that writes these results."""
    directory = options.private_directory
    lock = FileLock(directory / "run.lock", blocking=False)
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock.acquire()
    except Timeout:
        raise CommandError(
            f"Another `metasync run` is writing {options.out}: wait for its "
            "end, or choose another --out"
        ) from None
    except OSError as error:
        raise CommandError(
            f"Cannot write {options.out}: {reason(error)}"
        ) from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if [path.name for path in directory.iterdir()] == ["run.lock"]:
                shutil.rmtree(directory)
        lock.release()


@dataclass(frozen=True, slots=True)
class _Server:
    """A server that is ready for the run.

    `use_old_limit_field` changes the model, where that is the command's.
    """

    api: RestClient
    use_old_limit_field: Callable[[], None] | None = None


def _answer_all(
    options: RunOptions, items: list[Item], console: Console
) -> tuple[Tally, list[Row]]:
    with ResultsFile(options.rows, items) as results:
        if len(results.kept) == len(items):
            say(
                console,
                f"Every line is answered in {options.out} already. To ask "
                "again, choose another --out.",
            )
            _open(results, console)
            return tally_of_kept(items, results), []
    connect = _private_server if options.server is None else _given_server
    with connect(options, console) as server:
        tally, failures = _run_batch(options, items, server.api, console)
        change = server.use_old_limit_field
        if change is None or not limit_field_refused(failures):
            return tally, failures
        say(
            console,
            f"The provider may not support `{_LIMIT_FIELD}`: next try with "
            "`max_tokens`. (--max-tokens-field max_tokens uses it at once.)",
        )
        change()
        return _run_batch(options, items, server.api, console)


def _run_batch(
    options: RunOptions, items: list[Item], api: RestClient, console: Console
) -> tuple[Tally, list[Row]]:
    prompt_id = setup.ensure_prompt(api, options.prompt)
    with ResultsFile(options.rows, items) as results:
        _open(results, console)
        if options.cache.takes_answers:
            known = take_known(api, options, prompt_id, items, results)
            if known:
                say(console, f"{known:,} rows from memory.")
        with progress_display(console) as display:
            batch = BatchRun(
                api,
                options.question,
                prompt_id,
                results,
                display,
                cache=options.cache,
                salt=run_salt(options.private_directory),
                fail_fast=options.fail_fast,
            )
            return batch.execute(items)


def limit_field_refused(failures: Sequence[Row]) -> bool:
    """Tell whether calls failed for the name of the token limit's field.

    Some servers know `max_tokens` only. Their refusal names the field, or
    says nothing but its status.
    """
    errors = [row.get("error") or {} for row in failures]
    refused = [e for e in errors if e.get("httpStatus") in _BAD_REQUEST]
    if any(_LIMIT_FIELD in str(error.get("message")) for error in refused):
        return True
    says_nothing = [
        error
        for error in refused
        if error.get("message") == f"HTTP {error['httpStatus']}"
    ]
    return bool(errors) and len(says_nothing) == len(errors)


def _open(results: ResultsFile, console: Console) -> None:
    if moved := results.open():
        say(
            console,
            f"{moved:,} answers to other lines or to another question were "
            f"moved to {results.earlier}.",
        )


@contextlib.contextmanager
def _private_server(
    options: RunOptions, console: Console
) -> Iterator[_Server]:
    instance = private_instance(
        options.private_directory, model_variables(options.model)
    )
    with contextlib.ExitStack() as stack:
        with console.status("Starting a private instance of the service"):
            admin, client = stack.enter_context(instance)
            setup.ensure_model(admin, options.model)
            setup.ensure_worker(client, options.concurrency)

        def use_old_limit_field() -> None:
            model = replace(options.model, old_limit_field=True)
            setup.ensure_model(admin, model)
            time.sleep(_MODEL_CHANGE_SECONDS)

        change = use_old_limit_field if options.try_other_limit_field else None
        with _last_word("Stopping; waiting for running calls ...", console):
            yield _Server(client, change)


@contextlib.contextmanager
def _given_server(options: RunOptions, console: Console) -> Iterator[_Server]:
    with given_client(str(options.server)) as client:
        check_model(client, options.model.name)
        if options.start_worker:
            setup.ensure_worker(client, options.concurrency)
        else:
            setup.check_worker(client, options.model.name)
        with _last_word("The server continues with its jobs.", console):
            yield _Server(client)


@contextlib.contextmanager
def _last_word(text: str, console: Console) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        say(console, text)
        raise


def check_model(client: RestClient, name: str) -> None:
    """Make sure that the server has the model, and knows the client.

    Raises:
        CommandError: it does not.
    """
    try:
        setup.check_model(client, name)
    except ServerRefusedError as error:
        if error.status != httpx2.codes.UNAUTHORIZED:
            raise
        raise CommandError(
            f"{error}. Check {CLIENT_ID_VARIABLE} and {CLIENT_KEY_VARIABLE}"
        ) from None


def _report(failures: list[Row], options: RunOptions, console: Console) -> int:
    say(console, f"Results: {options.out}")
    if not failures:
        return 0
    console.print(f"{len(failures):,} failed:", style="bold red")
    for line in failure_lines(failures):
        say(console, f"  {line}")
    say(console, "Run the same command again to try them once more.")
    return 1
