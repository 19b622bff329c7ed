"""Few-shot search with a real model on this machine, beside DSPy."""

import contextlib
import dataclasses
import json
import os
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.optimizer.labelled_text import (
    Found,
    Search,
    Step,
    schema,
)
from cli import setup
from cli.local_llm import CACHE, LocalLLM
from cli.private_instance import private_instance
from cli.rest_client import Json, RestClient

DATA = Path("../shared/data")
DATASETS = ("reviews", "banking")
_PEER = Path(".venv/dspy/bin/python")
_KEY = "LOCAL_LLM_KEY"
_MOST_TOKENS = 64
# Metasync wants a part to test on; its calls are counted, too.
_SPLIT = {"train": 0.72, "validation": 0.24, "test": 0.04}
_QUESTIONS = {
    "reviews": "Say whether the review is positive or negative.",
    "banking": "Say what the customer of a bank asks about.",
}


@dataclass(frozen=True)
class Settings:
    """How much is measured: items to search with, and to score the result."""

    calls: int = 150
    items: int = 100
    dev: int = 60
    # More at once would fill the caches of more slots with each prompt.
    concurrency: int = 2


@dataclass(frozen=True)
class _Labelled:
    """A task: texts with labels."""

    name: str
    train: Sequence[tuple[str, str]]
    dev: Sequence[tuple[str, str]]

    @property
    def labels(self) -> Sequence[str]:
        return sorted({label for _, label in self.train})

    @property
    def instruction(self) -> str:
        """What a user would write who knows no more than the labels."""
        names = " or ".join(f'{{"label":"{each}"}}' for each in self.labels)
        return f"{_QUESTIONS[self.name]} Answer with JSON: {names}."


@dataclass(frozen=True)
class _Bench:
    """A running Metasync with the local model."""

    api: RestClient
    base_url: str
    settings: Settings

    def dataset(self, name: str, items: Sequence[tuple[str, str]]) -> str:
        """Upload items; return the dataset's id."""
        rows = [
            {"requestData": {"text": text}, "expected": {"label": label}}
            for text, label in items
        ]
        made = self.api.post("/datasets", {"name": name, "items": rows})
        return str(made["datasetId"])


def table(
    name: str, seeds: int, settings: Settings, console: Console
) -> Table | str:
    """Measure all on one set of data; without it, say what is missing."""
    if not (DATA / f"{name}_dev.jsonl").exists():
        return f"{DATA}/{name}_*.jsonl is not there: left out."
    task = _Labelled(
        name,
        _read(f"{name}_train"),
        _read(f"{name}_dev")[: settings.dev],
    )
    found: dict[str, list[Found]] = {}
    with _running(settings) as bench:
        dev = _Dev(bench, task)
        scores = {task.instruction: dev.score(task.instruction)}
        for seed in range(seeds):
            for who, each in _searches(bench, task, seed).items():
                found.setdefault(who, []).append(each)
                texts = [step.prompt for step in each.steps]
                scores |= {text: dev.score(text) for text in texts}
                _tell(console, f"{name}, seed {seed}, {who}", each, scores)
    return _table(task, found, scores)


def _tell(
    console: Console, what: str, found: Found, scores: Mapping[str, Json]
) -> None:
    steps = ", ".join(
        f"{scores[each.prompt]['score']:.1%} after {each.calls}"
        for each in found.steps
    )
    console.print(
        f"{what}: {steps}; {found.calls} calls, {found.seconds:.0f} s"
    )


def _read(name: str) -> list[tuple[str, str]]:
    lines = (DATA / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [(row["text"], row["label"]) for row in rows]


@contextlib.contextmanager
def _running(settings: Settings) -> Iterator[_Bench]:
    variables = {_KEY: "any", "MODEL_KEY_PREFIXES": _KEY}
    with (
        tempfile.TemporaryDirectory() as directory,
        LocalLLM(cache_dir=CACHE, parallel=settings.concurrency) as model,
        private_instance(Path(directory), variables) as (admin, api),
    ):
        options = setup.ModelOptions(
            model.model_name,
            endpoint=model.base_url,
            key_variable=_KEY,
            max_tokens=_MOST_TOKENS,
            old_limit_field=True,
        )
        setup.ensure_model(admin, options)
        setup.ensure_worker(api, settings.concurrency)
        yield _Bench(api, model.base_url, settings)


def _searches(bench: _Bench, task: _Labelled, seed: int) -> dict[str, Found]:
    """Search with the same items by both, one after the other."""
    items = random.Random(seed).sample(task.train, bench.settings.items)
    dataset = bench.dataset(f"{task.name}-{seed}", items)
    found = {"Metasync, fewshot": _ours(bench, task, dataset, seed)}
    if _PEER.exists():
        found["DSPy"] = _theirs(bench, task, dataset, seed)
    return found


def _ours(bench: _Bench, task: _Labelled, dataset: str, seed: int) -> Found:
    began = time.monotonic()
    run = bench.api.post(
        "/runs",
        {
            "datasetId": dataset,
            "metric": {"type": "jsonField", "path": "label"},
            "strategy": "fewshot",
            "initialWorkingPromptIds": [
                setup.ensure_prompt(bench.api, task.instruction)
            ],
            "workingModels": [LocalLLM.model_name],
            "maxJobs": bench.settings.calls,
            "split": _SPLIT,
            "seed": seed,
            "responseSchema": schema(task.labels),
            # Answers of other seeds to the same are paid for again.
            "cache": False,
        },
    )
    path = f"/runs/{run['runId']}"
    while (run := bench.api.get(path))["status"] in {"PENDING", "RUNNING"}:
        time.sleep(0.2)
    if run["status"] != "COMPLETED":
        raise RuntimeError(run.get("failureReason", run["status"]))
    seconds = time.monotonic() - began
    return Found(run["jobsUsed"], seconds, _steps(bench.api, run))


def _steps(api: RestClient, run: Json) -> list[Step]:
    """Give the best prompts of a run in turn; the last is its result."""
    ids = {
        each["number"]: each["promptIds"]
        for each in api.pages(f"/runs/{run['runId']}/candidates")
    }
    best = run["best"]
    steps = [
        Step(each["jobs"], each["score"], _text(api, ids[each["candidate"]]))
        for each in run["progress"]
    ]
    score, text = best["validation"]["score"], _text(api, best["promptIds"])
    if not steps or steps[-1].prompt != text:
        steps.append(Step(run["jobsUsed"], score, text))
    return steps


def _text(api: RestClient, prompt_ids: Sequence[str]) -> str:
    texts = [api.get(f"/prompts/{each}")["prompt"] for each in prompt_ids]
    return "\n\n".join(texts)


def _theirs(bench: _Bench, task: _Labelled, dataset: str, seed: int) -> Found:
    form = {"name": "answer", "strict": True, "schema": schema(task.labels)}
    given = Search(
        base_url=bench.base_url,
        model=LocalLLM.model_name,
        instruction=task.instruction,
        response_format={"type": "json_schema", "json_schema": form},
        train=_side(bench, dataset, "train", seed),
        validation=_side(bench, dataset, "validation", seed),
        calls=bench.settings.calls,
        concurrency=bench.settings.concurrency,
        most_tokens=_MOST_TOKENS,
    )
    done = subprocess.run(
        [str(_PEER), "-m", "benchmarks.optimizer.peer_dspy"],
        input=json.dumps(dataclasses.asdict(given)),
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ,
    )
    found = json.loads(done.stdout)
    steps = [Step(**each) for each in found["steps"]]
    return Found(found["calls"], found["seconds"], steps)


def _side(
    bench: _Bench, dataset: str, split: str, seed: int
) -> list[list[str]]:
    """Read the items of one side of the split that our run has used."""
    rows = bench.api.pages(
        f"/datasets/{dataset}/items",
        split=split,
        seed=seed,
        train=str(_SPLIT["train"]),
        validation=str(_SPLIT["validation"]),
    )
    return [
        [row["requestData"]["text"], row["expected"]["label"]] for row in rows
    ]


class _Dev:
    """Scores prompts on items that no search has seen, each once."""

    def __init__(self, bench: _Bench, task: _Labelled) -> None:
        self._api = bench.api
        self._dataset = bench.dataset(f"{task.name}-dev", task.dev)
        self._schema = schema(task.labels)

    def score(self, prompt: str) -> Json:
        """Return the result of an evaluation; answers are kept."""
        made = self._api.post(
            "/evaluations",
            {
                "datasetId": self._dataset,
                "promptIds": [setup.ensure_prompt(self._api, prompt)],
                "models": [LocalLLM.model_name],
                "metric": {"type": "jsonField", "path": "label"},
                "responseSchema": self._schema,
            },
        )
        path = f"/evaluations/{made['evaluationId']}"
        while (made := self._api.get(path, wait=20))["status"] == "RUNNING":
            pass
        result: Json = made["results"][0]
        return result


def _table(
    task: _Labelled,
    found: Mapping[str, Sequence[Found]],
    scores: Mapping[str, Json],
) -> Table:
    target = min(
        statistics.median_low(_final(each, scores) for each in searches)
        for searches in found.values()
    )
    made = Table(
        title=f"{task.name}, {len(task.dev)} items of dev: medians of "
        f"{len(next(iter(found.values())))} seeds"
    )
    made.add_column("")
    columns = ("dev", "95 % interval", "of each seed", "calls", "seconds")
    for heading in (*columns, f"calls to {target:.1%}"):
        made.add_column(heading, justify="right")
    plain = scores[task.instruction]
    made.add_row("plain instruction", *_score(plain), "", "0", "0", "")
    for who, searches in found.items():
        made.add_row(who, *_cells(searches, scores, target))
    return made


def _cells(
    searches: Sequence[Found], scores: Mapping[str, Json], target: float
) -> Sequence[str]:
    ranked = sorted(searches, key=lambda each: _final(each, scores))
    middle = ranked[(len(ranked) - 1) // 2]
    finals = [f"{_final(each, scores):.0%}" for each in searches]
    reached = statistics.median(_reached(e, scores, target) for e in searches)
    calls = statistics.median(each.calls for each in searches)
    seconds = statistics.median(each.seconds for each in searches)
    return (
        *_score(scores[middle.steps[-1].prompt]),
        " ".join(finals),
        f"{calls:,.0f}",
        f"{seconds:.0f}",
        "never" if reached == float("inf") else f"{reached:,.0f}",
    )


def _final(found: Found, scores: Mapping[str, Json]) -> float:
    return float(scores[found.steps[-1].prompt]["score"])


def _reached(found: Found, scores: Mapping[str, Json], target: float) -> float:
    """Give the calls until the best prompt is this good on dev."""
    return next(
        (
            float(step.calls)
            for step in found.steps
            if scores[step.prompt]["score"] >= target
        ),
        float("inf"),
    )


def _score(result: Json) -> tuple[str, str]:
    low, high = result["interval"]
    return f"{result['score']:.1%}", f"{low:.0%} to {high:.0%}"
