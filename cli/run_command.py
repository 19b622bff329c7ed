"""`metasync run`: options in, results file and exit status out."""

import contextlib
import functools
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
from filelock import FileLock, Timeout
from pydantic import SecretStr
from rich.console import Console

from cli import setup
from cli.batch_run import BatchRun, Tally, tally_of_kept
from cli.display import failure_lines, progress_display, summary_table
from cli.errors import CommandError, reason
from cli.input_file import Fields, Item, Question, read_items
from cli.private_instance import private_instance
from cli.rest_client import RestClient, ServerRefusedError
from cli.results_file import ResultsFile, Row
from config import MissingModelKeyError, ModelKeys, key_variable
from llm_sdks.base_sdk import BaseLLMSDK, LLMConfig
from llm_sdks.errors import ConfigurationError
from llm_sdks.registry import SdkRegistry

CLIENT_ID_VARIABLE = "METASYNC_CLIENT_ID"
CLIENT_KEY_VARIABLE = "METASYNC_CLIENT_API_KEY"


@dataclass(frozen=True)
class RunOptions:
    """Everything `metasync run` was told."""

    source: Path
    out: Path
    model: setup.ModelOptions
    prompt: str
    temperature: float = 0.0
    form: Fields = field(default_factory=dict)
    concurrency: int = 50
    label_field: str | None = None
    server: str | None = None
    start_worker: bool = False

    @property
    def question(self) -> Question:
        """What is asked of every line."""
        return Question(
            self.model.name,
            self.model.sdk,
            self.prompt,
            self.temperature,
            self.form,
        )

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
        options.source, options.question, label_field=options.label_field
    )
    with _alone(options):
        with ResultsFile(options.out, items) as results:
            tally, failures = _answer_all(options, items, results, console)
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
    try:
        key = ModelKeys.load().resolve(model.key_variable)
    except MissingModelKeyError as error:
        if not _plugin(model.sdk).needs_key:
            return {}
        raise CommandError(
            f"{error.variable} is not set: give it the provider's key (in "
            "the environment or in .env), or name another variable with "
            "--key-env"
        ) from None
    _check_settings(model, key)
    return {key_variable(model.key_variable): key.get_secret_value()}


def _check_settings(model: setup.ModelOptions, key: SecretStr) -> None:
    config = LLMConfig(
        model.name,
        model.endpoint,
        api_version=model.api_version,
        deployment=model.deployment,
        api_key=key,
        max_completion_token=model.max_tokens,
    )
    try:
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
    if options.out.resolve() == options.source.resolve():
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


def _answer_all(
    options: RunOptions,
    items: list[Item],
    results: ResultsFile,
    console: Console,
) -> tuple[Tally, list[Row]]:
    if len(results.kept) == len(items):
        _say(
            console,
            f"Every line is answered in {options.out} already. To ask again, "
            "choose another --out.",
        )
        _open(results, console)
        return tally_of_kept(items, results), []
    connect = _private_server if options.server is None else _given_server
    with connect(options, console) as api:
        prompt_id = setup.ensure_prompt(api, options.prompt)
        _open(results, console)
        with progress_display(console) as display:
            batch = BatchRun(
                api, options.question, prompt_id, results, display
            )
            return batch.execute(items)


def _open(results: ResultsFile, console: Console) -> None:
    if moved := results.open():
        _say(
            console,
            f"{moved:,} answers to other lines or to another question were "
            f"moved to {results.earlier}.",
        )


@contextlib.contextmanager
def _private_server(
    options: RunOptions, console: Console
) -> Iterator[RestClient]:
    instance = private_instance(
        options.private_directory, model_variables(options.model)
    )
    with contextlib.ExitStack() as stack:
        with console.status("Starting a private instance of the service"):
            admin, client = stack.enter_context(instance)
            setup.ensure_model(admin, options.model)
            setup.ensure_worker(client, options.concurrency)
        with _last_word("Stopping; open calls may end ...", console):
            yield client


@contextlib.contextmanager
def _given_server(
    options: RunOptions, console: Console
) -> Iterator[RestClient]:
    client_id = os.environ.get(CLIENT_ID_VARIABLE)
    key = os.environ.get(CLIENT_KEY_VARIABLE)
    if not (client_id and key):
        raise CommandError(
            f"With --server, set {CLIENT_ID_VARIABLE} and "
            f"{CLIENT_KEY_VARIABLE} to the client's credentials"
        )
    url = str(options.server)
    if not url.startswith(("http://", "https://")):
        raise CommandError(
            "--server needs a URL, such as http://127.0.0.1:8001"
        )
    headers = {"client-id": client_id, "client-api-key": key}
    with RestClient(url, headers) as client:
        client.check()
        _check_model(client, options.model.name)
        if options.start_worker:
            setup.ensure_worker(client, options.concurrency)
        else:
            setup.check_worker(client, options.model.name)
        with _last_word("The server goes on with what it has.", console):
            yield client


@contextlib.contextmanager
def _last_word(text: str, console: Console) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        _say(console, text)
        raise


def _check_model(client: RestClient, name: str) -> None:
    try:
        setup.check_model(client, name)
    except ServerRefusedError as error:
        if error.status != httpx2.codes.UNAUTHORIZED:
            raise
        raise CommandError(
            f"{error}. Check {CLIENT_ID_VARIABLE} and {CLIENT_KEY_VARIABLE}"
        ) from None


def _report(failures: list[Row], options: RunOptions, console: Console) -> int:
    _say(console, f"Results: {options.out}")
    if not failures:
        return 0
    console.print(f"{len(failures):,} failed:", style="bold red")
    for line in failure_lines(failures):
        _say(console, f"  {line}")
    _say(console, "Run the same command again to try them once more.")
    return 1


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
