"""`metasync demo`: the whole way of a job, on real input, without a key.

The demo is a user: it talks to a private service over its REST interface
and does nothing that you could not do with curl.
"""

import contextlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli import setup
from cli.batch_run import BatchRun, Tally
from cli.display import failure_lines, progress_display, summary_table
from cli.errors import CommandError
from cli.input_file import Item, Question, read_items
from cli.local_llm import LocalLLM, LocalLLMError
from cli.private_instance import private_instance
from cli.rest_client import RestClient
from cli.results_file import PROCESSED, ResultsFile, Row
from cli.run_command import model_variables
from utilities import payload

_EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
_INPUT = _EXAMPLES / "reviews.jsonl"
_PROMPT = _EXAMPLES / "sentiment_prompt.txt"
_CACHE = Path.home() / ".cache" / "metasync"
_ANSWERS_SHOWN = 6
_ANSWER_LENGTH = 60
_CLOUD_MODEL = "gpt-4o-mini"
_ECHO_SDK = "test"
_LOCAL_KEY = "LOCAL_LLM_KEY"


class DemoLLM(StrEnum):
    """Who answers in the demo."""

    LOCAL = "local"
    OPENAI = "openai"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class _Brain:
    """A model to ask, how much at once, and what its server must know."""

    options: setup.ModelOptions
    concurrency: int
    variables: dict[str, str]


def demo(llm: DemoLLM, console: Console) -> int:
    """Run the demo; returns the exit status.

    Raises:
        CommandError: it could not be run.
    """
    if not _INPUT.exists():
        raise CommandError(
            f"The demo's input, {_INPUT}, is not there: run it from a "
            "checkout of the project"
        )
    console.rule("[bold]Metasync demo")
    with contextlib.ExitStack() as stack:
        brain = stack.enter_context(_brain(llm, console))
        directory = Path(
            stack.enter_context(tempfile.TemporaryDirectory("-metasync"))
        )
        tally, rows, failures = _run(brain, directory, console)
    console.print(answers_table(rows))
    if brain.options.sdk == _ECHO_SDK:
        console.print("An echo is no model: none of its answers is right.")
    console.print(summary_table(tally))
    for line in failure_lines(failures):
        console.print(f"  {line}", markup=False)
    _say_what_next(console)
    return 1 if failures else 0


def _run(
    brain: _Brain, directory: Path, console: Console
) -> tuple[Tally, list[Row], list[Row]]:
    prompt = _PROMPT.read_text(encoding="utf-8").strip()
    # The first way to be wrong is to be random.
    question = Question(brain.options.name, brain.options.sdk, prompt, 0.0)
    items = read_items(_INPUT, question, label_field="label")
    started = time.monotonic()
    with private_instance(directory, brain.variables) as (admin, client):
        _done(console, "service, embedded database, worker pool", started)
        prompt_id = _set_up(admin, client, brain, prompt, console)
        out = directory / "results.jsonl"
        tally, failures = _submit(
            client, question, prompt_id, items, out, console
        )
    console.print("[green]✓[/] stopped; nothing is left running")
    lines = out.read_text(encoding="utf-8").split("\n")
    rows = [payload.load(line) for line in lines if line]
    return tally, rows, failures


def _set_up(
    admin: RestClient,
    client: RestClient,
    brain: _Brain,
    prompt: str,
    console: Console,
) -> str:
    started = time.monotonic()
    setup.ensure_model(admin, brain.options)
    prompt_id = setup.ensure_prompt(client, prompt)
    setup.ensure_worker(client, brain.concurrency)
    _done(
        console,
        f"client, model [cyan]{brain.options.name}[/], prompt and worker, "
        "over REST",
        started,
    )
    return prompt_id


def _submit(
    client: RestClient,
    question: Question,
    prompt_id: str,
    items: list[Item],
    out: Path,
    console: Console,
) -> tuple[Tally, list[Row]]:
    console.print(
        f"[green]✓[/] {len(items)} reviews from examples/{_INPUT.name}: is "
        "the writer happy?"
    )
    with (
        ResultsFile(out, items) as results,
        progress_display(console) as display,
    ):
        results.open()
        run = BatchRun(client, question, prompt_id, results, display)
        return run.execute(items)


@contextlib.contextmanager
def _brain(llm: DemoLLM, console: Console) -> Iterator[_Brain]:
    if llm is DemoLLM.OPENAI:
        yield _cloud()
        return
    if llm is DemoLLM.LOCAL:
        started = time.monotonic()
        local = LocalLLM(cache_dir=_CACHE)
        try:
            local.start()
        except LocalLLMError as error:
            console.print(
                f"The local model cannot run here: {error}\n"
                "Going on with the `test` plug-in, which only echoes.",
                style="yellow",
                markup=False,
                highlight=False,
            )
        else:
            _done(console, "language model on this machine", started)
            with contextlib.ExitStack() as stack:
                stack.callback(local.stop)
                yield _local(local)
            return
    yield _echo()


def _cloud() -> _Brain:
    options = setup.ModelOptions(
        _CLOUD_MODEL, max_tokens=64, input_price=0.15, output_price=0.60
    )
    variables = model_variables(options)
    return _Brain(options, concurrency=32, variables=variables)


def _local(llm: LocalLLM) -> _Brain:
    # Priced like a small model in the cloud, to show where costs stand.
    options = setup.ModelOptions(
        llm.model_name,
        endpoint=llm.base_url,
        key_variable=_LOCAL_KEY,
        max_tokens=64,
        input_price=0.15,
        output_price=0.60,
    )
    return _Brain(options, concurrency=8, variables={_LOCAL_KEY: "none"})


def _echo() -> _Brain:
    options = setup.ModelOptions("echo", sdk=_ECHO_SDK, max_tokens=64)
    return _Brain(options, concurrency=32, variables={})


def answers_table(rows: list[Row]) -> Table:
    """Show some right answers and some wrong ones."""
    table = Table(title="Some answers", title_justify="left")
    for heading in ("Review", "Answer", "Label", ""):
        table.add_column(heading, overflow="fold")
    texts = _texts()
    for row in _some_of_each(rows):
        mark = "[green]✓[/]" if row["correct"] else "[red]✗[/]"
        answer = payload.dump(row["response"])
        if len(answer) > _ANSWER_LENGTH:
            answer = f"{answer[: _ANSWER_LENGTH - 1]}…"
        cells = (texts[row["line"]], answer, row["label"])
        table.add_row(*map(escape, cells), mark)
    return table


def _some_of_each(rows: list[Row]) -> list[Row]:
    """Pick right answers and wrong ones, half and half if there are."""
    good = [row for row in rows if row["status"] == PROCESSED]
    good.sort(key=lambda row: int(row["line"]))
    right = [row for row in good if row["correct"]]
    wrong = [row for row in good if not row["correct"]]
    half = _ANSWERS_SHOWN // 2
    wrong = wrong[: max(half, _ANSWERS_SHOWN - len(right))]
    return right[: _ANSWERS_SHOWN - len(wrong)] + wrong


def _texts() -> dict[int, str]:
    lines = enumerate(_INPUT.read_text(encoding="utf-8").split("\n"), 1)
    return {n: payload.load(line)["text"] for n, line in lines if line}


def _done(console: Console, what: str, started: float) -> None:
    seconds = time.monotonic() - started
    console.print(f"[green]✓[/] {what} [dim]({seconds:.1f} s)[/]")


def _say_what_next(console: Console) -> None:
    console.print(
        "\n[bold]Next[/]\n"
        "  make run              the service on port 8001, data in ./data\n"
        "  OPENAI_API_KEY=... .venv/bin/metasync run examples/reviews.jsonl "
        "\\\n"
        "    --model gpt-4o-mini --label-field label \\\n"
        "    --prompt-file examples/sentiment_prompt.txt\n"
        "  docs/getting-started.md",
        highlight=False,
    )
