"""`metasync evaluate`: data and prompts in, tables out."""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

from cli import setup
from cli.errors import CommandError, reason
from cli.evaluate_report import show
from cli.metric_spec import Judge
from cli.private_instance import private_instance
from cli.rest_client import Json, RestClient
from cli.run_command import check_model, given_client, model_variables
from cli.terminal import say

_OPERATION = "evaluate"
# One look at the progress lasts until the end, but not for longer.
_WAIT_SECONDS = 1
_MEDIA_TYPES: Mapping[str, str] = {
    ".jsonl": "application/jsonl",
    ".ndjson": "application/jsonl",
    ".csv": "text/csv",
    ".parquet": "application/vnd.apache.parquet",
}


@dataclass(frozen=True)
class EvaluateOptions:
    """The options of `metasync evaluate`.

    `prompts` are texts by the names they are shown with; `columns` and
    `fields` go into the requests as they are.
    """

    data: Path
    prompts: Mapping[str, str]
    models: Sequence[setup.ModelOptions]
    metrics: Sequence[Json | Judge]
    columns: Mapping[str, str] = field(default_factory=dict)
    fields: Json = field(default_factory=dict)
    concurrency: int = 50
    server: str | None = None
    start_worker: bool = False
    out: Path | None = None

    @property
    def private_directory(self) -> Path:
        """Where a private instance keeps the answers it has had."""
        return self.data.with_name(f".{self.data.name}.metasync")

    @property
    def every_model(self) -> Sequence[setup.ModelOptions]:
        """The models, and those of judges."""
        known = {model.name: model for model in self.models}
        for metric in self.metrics:
            if isinstance(metric, Judge) and metric.model not in known:
                name = metric.model
                known[name] = replace(
                    self.models[0], name=name, deployment=name
                )
        return list(known.values())


def evaluate(options: EvaluateOptions, console: Console) -> int:
    """Evaluate; returns the exit status: 0, or 1 if it was not completed.

    Raises:
        CommandError: it could not be begun.
    """
    content = _content(options.data)
    connect = _private if options.server is None else _given
    with connect(options, console) as api:
        dataset_id = _dataset(api, options, content)
        prompt_ids = {
            setup.ensure_prompt(api, text): name
            for name, text in options.prompts.items()
        }
        made = api.post(
            "/evaluations", _request(api, options, dataset_id, prompt_ids)
        )
        done = _watch(api, str(made["evaluationId"]), options, console)
    show(done, prompt_ids, console)
    _write(options.out, done, console)
    return 0 if done["status"] == "COMPLETED" else 1


def _content(data: Path) -> bytes:
    if data.suffix.lower() not in _MEDIA_TYPES:
        known = ", ".join(_MEDIA_TYPES)
        raise CommandError(f"{data}: its name must end in one of {known}")
    try:
        return data.read_bytes()
    except OSError as error:
        raise CommandError(f"Cannot read {data}: {reason(error)}") from None


def _dataset(api: RestClient, options: EvaluateOptions, content: bytes) -> str:
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


def _request(
    api: RestClient,
    options: EvaluateOptions,
    dataset_id: str,
    prompt_ids: Mapping[str, str],
) -> Json:
    metrics = [_metric(api, metric) for metric in options.metrics]
    return {
        **options.fields,
        "datasetId": dataset_id,
        "promptIds": list(prompt_ids),
        "models": [model.name for model in options.models],
        "metric": metrics[0] if len(metrics) == 1 else metrics,
        "parallelism": max(2 * options.concurrency, 10),
    }


def _metric(api: RestClient, metric: Json | Judge) -> Json:
    if not isinstance(metric, Judge):
        return metric
    prompt_id = setup.ensure_prompt(api, metric.prompt)
    return {"type": "judge", "promptId": prompt_id, "model": metric.model}


def _watch(
    api: RestClient,
    evaluation_id: str,
    options: EvaluateOptions,
    console: Console,
) -> Json:
    """Show the progress until the end; return the evaluation."""
    try:
        return _watched(api, evaluation_id, console)
    except KeyboardInterrupt:
        if options.server is not None:
            say(
                console,
                f"The server continues with evaluation {evaluation_id}; POST "
                f"/evaluations/{evaluation_id}/cancel ends it.",
            )
        raise


def _watched(api: RestClient, evaluation_id: str, console: Console) -> Json:
    progress = Progress(
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[facts]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    path = f"/evaluations/{evaluation_id}"
    with progress:
        task = progress.add_task("items", total=None, facts="")
        while True:
            found: Json = api.get(path, wait=_WAIT_SECONDS)
            if found["status"] != "RUNNING":
                return found
            state: Any = found["progress"]
            progress.update(
                task,
                total=state["total"],
                completed=state["done"],
                facts=f"{state['errors']:,} errors",
            )


@contextlib.contextmanager
def _private(
    options: EvaluateOptions, console: Console
) -> Iterator[RestClient]:
    models = options.every_model
    instance = private_instance(
        options.private_directory, model_variables(models[0])
    )
    with contextlib.ExitStack() as stack:
        with console.status("Starting a private instance of the service"):
            admin, client = stack.enter_context(instance)
            for model in models:
                setup.ensure_model(admin, model)
            # What a stopped command left; its answers are kept.
            for left in client.pages("/evaluations", status="RUNNING"):
                client.post(f"/evaluations/{left['evaluationId']}/cancel")
            setup.ensure_worker(client, options.concurrency)
        yield client


@contextlib.contextmanager
def _given(options: EvaluateOptions, _: Console) -> Iterator[RestClient]:
    with given_client(str(options.server)) as client:
        names = [model.name for model in options.every_model]
        for name in names:
            check_model(client, name)
        if options.start_worker:
            setup.ensure_worker(client, options.concurrency)
        else:
            for name in names:
                setup.check_worker(client, name, _OPERATION)
        yield client


def _write(out: Path | None, done: Json, console: Console) -> None:
    if out is None:
        return
    try:
        out.write_text(
            json.dumps(done, indent=2, ensure_ascii=False) + "\n",
            encoding="utf-8",
        )
    except OSError as error:
        raise CommandError(f"Cannot write {out}: {reason(error)}") from None
    say(console, f"The whole result: {out}")
