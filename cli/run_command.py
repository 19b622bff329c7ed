"""`metasync run`: options in, results file and exit status out."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from cli import setup
from cli.batch_run import BatchRun, Tally
from cli.display import failure_lines, progress_display, summary_table
from cli.errors import CommandError
from cli.input_file import Item, Question, read_items
from cli.private_instance import private_instance
from cli.rest_client import RestClient
from cli.results_file import ResultsFile, Row

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
    concurrency: int = 50
    label_field: str | None = None
    server: str | None = None
    start_worker: bool = False

    @property
    def question(self) -> Question:
        """What is asked of every line."""
        return Question(self.model.name, self.prompt, self.temperature)

    @property
    def private_directory(self) -> Path:
        """Where a private instance keeps its data until all is done."""
        return self.out.with_name(f".{self.out.name}.metasync")


def run(options: RunOptions, console: Console) -> int:
    """Run the file; returns the exit status: 0, or 1 if a job failed.

    Raises:
        CommandError: it could not be run.
    """
    items = read_items(
        options.source, options.question, label_field=options.label_field
    )
    with ResultsFile(options.out) as results:
        if all(item.key in results.kept for item in items):
            console.print(f"Every line is answered in {options.out} already.")
            return 0
        tally, failures = _on_some_server(options, items, results, console)
    console.print(summary_table(tally))
    console.print(f"Results: {options.out}")
    return _report(failures, options, console)


def _on_some_server(
    options: RunOptions,
    items: list[Item],
    results: ResultsFile,
    console: Console,
) -> tuple[Tally, list[Row]]:
    connect = _private_server if options.server is None else _given_server
    with connect(options) as api:
        prompt_id = setup.ensure_prompt(api, options.prompt)
        with progress_display(console) as display:
            batch = BatchRun(
                api, options.question, prompt_id, results, display
            )
            return batch.execute(items)


@contextlib.contextmanager
def _private_server(options: RunOptions) -> Iterator[RestClient]:
    _check_key(options.model)
    with private_instance(options.private_directory) as (admin, client):
        setup.ensure_model(admin, options.model)
        setup.ensure_worker(client, options.concurrency)
        yield client


@contextlib.contextmanager
def _given_server(options: RunOptions) -> Iterator[RestClient]:
    client_id = os.environ.get(CLIENT_ID_VARIABLE)
    key = os.environ.get(CLIENT_KEY_VARIABLE)
    if not (client_id and key):
        raise CommandError(
            f"With --server, set {CLIENT_ID_VARIABLE} and "
            f"{CLIENT_KEY_VARIABLE} to the client's credentials"
        )
    headers = {"client-id": client_id, "client-api-key": key}
    with RestClient(str(options.server), headers) as client:
        setup.check_model(client, options.model.name)
        if options.start_worker:
            setup.ensure_worker(client, options.concurrency)
        else:
            setup.check_worker(client, options.model.name)
        yield client


def _check_key(model: setup.ModelOptions) -> None:
    # Said before a thousand jobs fail for it. The server reads .env too.
    in_file = Path(".env").exists()
    if model.sdk == "test" or in_file or os.environ.get(model.key_variable):
        return
    raise CommandError(
        f"Set {model.key_variable} to the provider's key, or name another "
        "variable with --key-env"
    )


def _report(failures: list[Row], options: RunOptions, console: Console) -> int:
    if not failures:
        # All is in the results file; the private data was only for
        # going on after a stop.
        shutil.rmtree(options.private_directory, ignore_errors=True)
        return 0
    console.print(f"{len(failures)} failed:", style="bold red")
    for line in failure_lines(failures):
        console.print(f"  {line}", markup=False)
    console.print("Run the same command again to try them once more.")
    return 1
