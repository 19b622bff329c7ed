"""`metasync evaluate`: data and prompts in, tables out."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
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
from cli.data_session import (
    DataOptions,
    connected,
    ensure_dataset,
    ensure_metric,
    read_content,
    told_of_the_rest,
    write_file,
)
from cli.evaluate_report import show
from cli.rest_client import Json, RestClient

# One look at the progress lasts until the end, but not for longer.
_WAIT_SECONDS = 1


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(DataOptions):
    """The options of `metasync evaluate`.

    `prompts` are texts by the names they are shown with.
    """

    prompts: Mapping[str, str]
    out: Path | None = None


def evaluate(options: EvaluateOptions, console: Console) -> int:
    """Evaluate; returns the exit status: 0, or 1 if it was not completed.

    Raises:
        CommandError: it could not be begun.
    """
    content = read_content(options.data)
    with connected(options, console) as api:
        dataset_id = ensure_dataset(api, options, content)
        prompt_ids = {
            setup.ensure_prompt(api, text): name
            for name, text in options.prompts.items()
        }
        made = api.post(
            "/evaluations", _request(api, options, dataset_id, prompt_ids)
        )
        made_id = made["evaluationId"]
        what, path = f"evaluation {made_id}", f"/evaluations/{made_id}"
        ending = f"POST {path}/cancel"
        with told_of_the_rest(options, what, ending, console):
            done = _watch(api, path, console)
    show(done, prompt_ids, console)
    if options.out is not None:
        text = json.dumps(done, indent=2, ensure_ascii=False)
        write_file(options.out, f"{text}\n", "The whole result", console)
    return 0 if done["status"] == "COMPLETED" else 1


def _request(
    api: RestClient,
    options: EvaluateOptions,
    dataset_id: str,
    prompt_ids: Mapping[str, str],
) -> Json:
    return {
        **options.fields,
        "datasetId": dataset_id,
        "promptIds": list(prompt_ids),
        "models": [model.name for model in options.models],
        "metric": ensure_metric(api, options),
        "parallelism": options.parallelism,
    }


def _watch(api: RestClient, path: str, console: Console) -> Json:
    """Show the progress until the end; return the evaluation."""
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
