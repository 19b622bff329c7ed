"""What commands on data share: the dataset, its metric, and a server."""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console

from cli import setup
from cli.errors import CommandError, reason
from cli.metric_spec import Judge
from cli.model_settings import check_model, model_variables
from cli.private_instance import private_instance
from cli.rest_client import Json, RestClient
from cli.service_access import given_client
from cli.terminal import say

_MEDIA_TYPES: Mapping[str, str] = {
    ".jsonl": "application/jsonl",
    ".ndjson": "application/jsonl",
    ".csv": "text/csv",
    ".parquet": "application/vnd.apache.parquet",
}


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """The options of every command on data.

    `columns` and `fields` go into the requests as they are.
    """

    data: Path
    models: Sequence[setup.ModelOptions]
    metrics: Sequence[Json | Judge]
    columns: Mapping[str, str] = field(default_factory=dict)
    fields: Json = field(default_factory=dict)
    concurrency: int = 50
    server: str | None = None
    start_worker: bool = False

    @property
    def private_directory(self) -> Path:
        """Where a private instance keeps the answers it has had."""
        return private_directory(self.data)

    @property
    def operations(self) -> Sequence[str]:
        """The operations of the jobs that a worker must take."""
        return ("evaluate",)

    @property
    def further_models(self) -> Sequence[str]:
        """The names of models that are asked for something else."""
        return [each.model for each in self.metrics if isinstance(each, Judge)]

    @property
    def every_model(self) -> Sequence[setup.ModelOptions]:
        """The models, and those that are asked for something else."""
        known = {model.name: model for model in self.models}
        for name in self.further_models:
            known.setdefault(
                name, replace(self.models[0], name=name, deployment=name)
            )
        return list(known.values())

    @property
    def parallelism(self) -> int:
        """How many jobs may be unfinished: some wait while others run."""
        return max(2 * self.concurrency, 10)


def private_directory(data: Path) -> Path:
    """Give the directory of the private instance of some data."""
    return data.with_name(f".{data.name}.metasync")


@contextlib.contextmanager
def connected(options: DataOptions, console: Console) -> Iterator[RestClient]:
    """Yield the client of a server that has all that the command needs.

    Raises:
        CommandError: there is no such server, or something is missing.
    """
    connect = _private if options.server is None else _given
    with connect(options, console) as api:
        yield api


@contextlib.contextmanager
def _private(options: DataOptions, console: Console) -> Iterator[RestClient]:
    models = options.every_model
    instance = private_instance(
        options.private_directory, model_variables(models[0])
    )
    with contextlib.ExitStack() as stack:
        with console.status("Starting a private instance of the service"):
            admin, client = stack.enter_context(instance)
            for model in models:
                setup.ensure_model(admin, model)
            _stop_what_is_left(client)
            setup.ensure_worker(client, options.concurrency)
        yield client


def _stop_what_is_left(client: RestClient) -> None:
    """Stop what an earlier command has left; its answers are kept."""
    for left in client.pages("/evaluations", status="RUNNING"):
        client.post(f"/evaluations/{left['evaluationId']}/cancel")
    for left in client.pages("/runs", status="RUNNING"):
        client.patch(f"/runs/{left['runId']}/pause", None)


@contextlib.contextmanager
def _given(options: DataOptions, _: Console) -> Iterator[RestClient]:
    with given_client(str(options.server)) as client:
        names = [model.name for model in options.every_model]
        for name in names:
            check_model(client, name)
        if options.start_worker:
            setup.ensure_worker(client, options.concurrency)
        else:
            for name in names:
                for operation in options.operations:
                    setup.check_worker(client, name, operation)
        yield client


@contextlib.contextmanager
def told_of_the_rest(
    options: DataOptions, what: str, ending: str, console: Console
) -> Iterator[None]:
    """When the command is stopped, say that a given server goes on.

    `what` is the work that it does, `ending` the request that ends it.
    """
    try:
        yield
    except KeyboardInterrupt:
        if options.server is not None:
            say(
                console,
                f"The server continues with {what}; {ending} ends it.",
            )
        raise


def read_content(data: Path) -> bytes:
    """Read a file of items.

    Raises:
        CommandError: it cannot be read, or its kind is not known.
    """
    if data.suffix.lower() not in _MEDIA_TYPES:
        known = ", ".join(_MEDIA_TYPES)
        raise CommandError(f"{data}: its name must end in one of {known}")
    try:
        return data.read_bytes()
    except OSError as error:
        raise CommandError(f"Cannot read {data}: {reason(error)}") from None


def ensure_dataset(
    api: RestClient, options: DataOptions, content: bytes
) -> str:
    """Return the id of the dataset with this content, once uploaded."""
    digest = hashlib.sha256(content)
    digest.update(json.dumps(sorted(options.columns.items())).encode())
    name = f"{options.data.name[:200]}-{digest.hexdigest()[:12]}"
    for known in api.pages("/datasets", name=name):
        return str(known["datasetId"])
    media_type = _MEDIA_TYPES[options.data.suffix.lower()]
    made = api.upload(
        "/datasets", content, media_type, name=name, **options.columns
    )
    return str(made["datasetId"])


def ensure_metric(api: RestClient, options: DataOptions) -> object:
    """Return the metric as it goes into a request."""
    metrics = [_metric(api, metric) for metric in options.metrics]
    return metrics[0] if len(metrics) == 1 else metrics


def _metric(api: RestClient, metric: Json | Judge) -> Json:
    if not isinstance(metric, Judge):
        return metric
    prompt_id = setup.ensure_prompt(api, metric.prompt)
    return {"type": "judge", "promptId": prompt_id, "model": metric.model}


def write_file(path: Path, text: str, what: str, console: Console) -> None:
    """Write a file of the command's, and say where.

    Raises:
        CommandError: it cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"Cannot write {path}: {reason(error)}") from None
    say(console, f"{what}: {path}")
