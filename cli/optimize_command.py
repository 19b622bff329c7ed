"""`metasync optimize`: data and a prompt in, a better prompt out."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from api.models.optimization_models import DatasetRunCreate
from cli import setup
from cli.data_session import (
    DataOptions,
    connected,
    ensure_dataset,
    ensure_metric,
    read_content,
    told_of_the_rest,
    write_file,
)
from cli.optimize_display import RunDisplay, run_display, show
from cli.rest_client import Json, RestClient
from cli.terminal import say

_OPERATIONS = ("evaluate", "reflect")
# Looks at a run: at first often, as a small one ends soon.
_FIRST_LOOK_SECONDS, _LAST_LOOK_SECONDS = 0.2, 2.0
_GOING_ON = ("PENDING", "RUNNING", "PAUSED")
_STOPPED = ("PAUSED", "FAILED")
_CANCELLED = "CANCELLED"
# What decides how fast a run is, but not what it finds.
_OF_NO_ACCOUNT = frozenset({"parallelism", "priority"})


@dataclass(frozen=True, kw_only=True)
class OptimizeOptions(DataOptions):
    """The options of `metasync optimize`.

    `output` gets the best prompt, `report` the page about the run.
    """

    prompt: str
    meta_model: str | None = None
    output: Path = Path("best_prompt.txt")
    report: Path = Path("report.html")
    publish: bool = False

    @property
    def operations(self) -> Sequence[str]:
        """The operations of the jobs that a worker must take."""
        return _OPERATIONS

    @property
    def further_models(self) -> Sequence[str]:
        """The names of models that are asked for something else."""
        judges = super().further_models
        return [self.meta_model, *judges] if self.meta_model else judges


def optimize(options: OptimizeOptions, console: Console) -> int:
    """Improve the prompt; returns the exit status: 1 if it was not ended.

    Raises:
        CommandError: it could not be begun.
    """
    content = read_content(options.data)
    with connected(options, console) as api:
        request = _request(api, options, content)
        run = _begin(api, request, console)
        run_id = run["runId"]
        ending = f"PATCH /runs/{run_id}/cancel"
        with told_of_the_rest(options, f"run {run_id}", ending, console):
            done = _watch(api, run, console)
        show(done, console)
        _write(api, options, done, console)
    return 0 if done["status"] == "COMPLETED" else 1


def _request(
    api: RestClient, options: OptimizeOptions, content: bytes
) -> Json:
    fields: Json = {
        **options.fields,
        "datasetId": ensure_dataset(api, options, content),
        "metric": ensure_metric(api, options),
        "initialWorkingPromptIds": [setup.ensure_prompt(api, options.prompt)],
        "workingModels": [model.name for model in options.models],
        "parallelism": min(options.parallelism, 500),
    }
    if options.meta_model is not None:
        fields["metaModel"] = options.meta_model
    return fields


def _begin(api: RestClient, request: Json, console: Console) -> Json:
    """Begin the run, or go on with the one that was asked for before."""
    run = _same_run(api, request)
    if run is None:
        made: Json = api.post("/runs", request)
        return made
    if run["status"] == "COMPLETED":
        say(console, f"Run {run['runId']} has this result already.")
        return run
    say(console, f"Going on with run {run['runId']}.")
    if run["status"] in _STOPPED:
        resumed: Json = api.patch(f"/runs/{run['runId']}/resume", None)
        return resumed
    return run


def _same_run(api: RestClient, request: Json) -> Json | None:
    """Find the latest run that was asked for the same."""
    wanted = _as_stored(request)
    found = None
    for run in api.pages("/runs"):
        if run["status"] != _CANCELLED and _is_same(wanted, run):
            found = run
    return found


def _as_stored(request: Json) -> Json:
    """Give a request with its defaults, as a run shows it."""
    read = DatasetRunCreate.model_validate(request)
    return read.model_dump(mode="json", by_alias=True)


def _is_same(wanted: Json, run: Json) -> bool:
    return all(
        run.get(name) == value
        for name, value in wanted.items()
        if name not in _OF_NO_ACCOUNT
    )


def _watch(api: RestClient, run: Json, console: Console) -> Json:
    """Show the progress until the end; return the run."""
    path, wait = f"/runs/{run['runId']}", _FIRST_LOOK_SECONDS
    with run_display(run, console) as display:
        while run["status"] in _GOING_ON:
            time.sleep(wait)
            wait = min(1.3 * wait, _LAST_LOOK_SECONDS)
            run = api.get(path)
            _show_progress(api, run, display)
    return run


def _show_progress(api: RestClient, run: Json, display: RunDisplay) -> None:
    jobs: Mapping[str, Any] = api.get("/jobs/summary", batchKey=run["runId"])
    waiting = jobs["PENDING"] + jobs["PROCESSING"]
    display.update(run, jobs["total"] - waiting, jobs["processingMetrics"])


def _write(
    api: RestClient, options: OptimizeOptions, run: Json, console: Console
) -> None:
    """Write the best prompt and the report; publish it if asked to."""
    best = run.get("bestPromptIds")
    if run["status"] == "COMPLETED" and best:
        texts = [api.get(f"/prompts/{each}")["prompt"] for each in best]
        text = "\n\n".join(texts)
        write_file(options.output, f"{text}\n", "The best prompt", console)
        if options.publish:
            _publish(api, run, console)
    page = api.text(f"/runs/{run['runId']}/report")
    write_file(options.report, page, "The report", console)


def _publish(api: RestClient, run: Json, console: Console) -> None:
    if run.get("verdict") != "improved":
        say(console, "It was not published: it is not shown to be better.")
        return
    published: Json = api.post(f"/runs/{run['runId']}/publish")
    ids = ", ".join(published["bestPromptIds"])
    say(console, f"Published: {ids}")
