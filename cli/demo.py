"""`metasync demo`: the whole way of a job, on real input, without a key.

The demo is a user: it talks to a private service over its REST interface
and does nothing that you could not do with curl.
"""

import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.columns import Columns
from rich.console import Console

from api.core.logging import configure_logging
from cli import setup
from cli.batch_run import BatchRun
from cli.demo_report import (
    accuracy_table,
    answers_table,
    demo_progress,
    save_picture,
)
from cli.display import failure_lines, summary_table
from cli.examples import example
from cli.input_file import Item, Question, read_items
from cli.local_llm import CACHE, LocalLLM, LocalLLMError
from cli.model_settings import model_variables
from cli.private_instance import private_instance
from cli.rest_client import RestClient
from cli.results_file import ResultsFile, Row
from cli.stopping import stoppable
from cli.tally import Tally
from cli.terminal import Terminal, say
from config import KEY_PREFIXES
from utilities import payload

_INPUT = "reviews.jsonl"
_PROMPT = "sentiment_prompt.txt"
_CLOUD_MODEL = "gpt-4o-mini"
_ECHO_SDK = "test"
_LOCAL_KEY = "LOCAL_LLM_KEY"
_PICTURE_WIDTH = 84


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """Who answers (`local`, `openai`, `test`), and how it is shown."""

    llm: str
    seed: int | None = None
    picture: Path | None = None


@dataclass(frozen=True, slots=True)
class _Brain:
    """A model to ask, how much at once, and what its server must know."""

    options: setup.ModelOptions
    concurrency: int
    variables: dict[str, str]


def run_on_terminal(options: DemoOptions) -> int:
    """Run the demo on this process's terminal; return the exit status."""
    configure_logging("WARNING", "console")
    console = Terminal()
    if options.picture is not None:
        console = Terminal(
            record=True,
            width=_PICTURE_WIDTH,
            force_terminal=True,
            color_system="truecolor",
        )
    with stoppable(Terminal(stderr=True), "Nothing is left running."):
        status = demo(options, console)
    if options.picture is not None:
        save_picture(console, options.picture)
    return status


def demo(demo_options: DemoOptions, console: Console) -> int:
    """Run the demo; returns the exit status.

    Raises:
        CommandError: it could not be run.
    """
    example(_INPUT)
    console.rule("[bold]Metasync demo")
    with contextlib.ExitStack() as stack:
        brain = stack.enter_context(_brain(demo_options.llm, console))
        directory = Path(
            stack.enter_context(tempfile.TemporaryDirectory("-metasync"))
        )
        tally, rows, failures = _run(brain, directory, console)
    console.print()
    console.print(answers_table(rows, _texts(), demo_options.seed))
    if brain.options.sdk == _ECHO_SDK:
        console.print("An echo is not a model: none of its answers is right.")
    figures = summary_table(tally, cost_name="Cost (estimated)")
    console.print(Columns([accuracy_table(rows), figures], padding=(0, 2)))
    if tally.cost:
        console.print(f"[dim]{_price(brain.options)}[/]", highlight=False)
    for line in failure_lines(failures):
        say(console, f"  {line}")
    _say_what_next(console)
    return 1 if failures else 0


def _price(model: setup.ModelOptions) -> str:
    prices = f"{model.input_price or 0:.2f} and {model.output_price or 0:.2f}"
    words = f"At {prices} {model.currency} for a million tokens in and out"
    if model.key_variable == _LOCAL_KEY:
        return f"{words}, as in a cloud; here it is free."
    return f"{words}."


def _run(
    brain: _Brain, directory: Path, console: Console
) -> tuple[Tally, list[Row], list[Row]]:
    prompt = example(_PROMPT).read_text(encoding="utf-8").strip()
    question = Question(brain.options.name, brain.options.sdk, prompt, 0.0)
    items = read_items(example(_INPUT), question, label_field="label")
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
        f"[green]✓[/] {len(items)} reviews from examples/{_INPUT}: is "
        "the writer happy?"
    )
    with (
        ResultsFile(out, items) as results,
        demo_progress(console) as display,
    ):
        results.open()
        run = BatchRun(client, question, prompt_id, results, display)
        return run.execute(items)


@contextlib.contextmanager
def _brain(llm: str, console: Console) -> Iterator[_Brain]:
    if llm == "openai":
        yield _cloud()
        return
    if llm == "local":
        started = time.monotonic()
        local = LocalLLM(cache_dir=CACHE)
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
    variables = {_LOCAL_KEY: "none", KEY_PREFIXES: _LOCAL_KEY}
    return _Brain(options, concurrency=8, variables=variables)


def _echo() -> _Brain:
    options = setup.ModelOptions("echo", sdk=_ECHO_SDK, max_tokens=64)
    return _Brain(options, concurrency=32, variables={})


def _texts() -> dict[int, str]:
    lines = enumerate(
        example(_INPUT).read_text(encoding="utf-8").split("\n"), 1
    )
    return {n: payload.load(line)["text"] for n, line in lines if line}


def _done(console: Console, what: str, started: float) -> None:
    seconds = time.monotonic() - started
    console.print(f"[green]✓[/] {what} [dim]({seconds:.1f} s)[/]")


def _say_what_next(console: Console) -> None:
    program = _program()
    run = "make run" if program != "metasync" else "metasync serve"
    console.print(
        "\n[bold]Next[/]\n"
        f"  {run:<21} the service on port 8001, data in ./data\n"
        f"  {program} local-llm\n"
        "                        the same small model, for jobs of your own\n"
        f"  {program} doctor\n"
        "                        checks a set-up, and says what to do\n"
        "  docs/getting-started.md",
        highlight=False,
    )


def _program() -> str:
    # As the reader would type it: a checkout has it in its own .venv.
    in_checkout = Path(".venv/bin/metasync")
    if in_checkout.exists() and Path(sys.prefix).name == ".venv":
        return str(in_checkout)
    return "metasync"
