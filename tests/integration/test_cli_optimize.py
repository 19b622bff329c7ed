"""`metasync optimize` and `report` as people start them."""

import json
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_dataset_runs import TASK, Rules
from tests.integration.test_workers import provider_model
from tests.support.api_user import ApiUser
from tests.support.fake_provider import FakeProvider
from tests.support.fork_server import CommandProcess
from tests.support.live_server import LiveServer
from tests.support.paths import ROOT
from tests.support.run_commands import Commands, Ended
from tests.support.waiting import eventually

PROMPT = "Answer the case."
RULE = "Rule hidden-"


def documented() -> list[str]:
    """Give the arguments of the command that the documentation shows."""
    page = (ROOT / "docs/optimizing.md").read_text(encoding="utf-8")
    command = page.partition("```sh\nmetasync ")[2].partition("```")[0]
    return shlex.split(command.replace("\\\n", " "))


class OptimizeCommands(Commands):
    """`metasync optimize reviews.jsonl` with a prompt."""

    options: tuple[str, ...] = ()

    def write(self) -> None:
        cases = [case for split in TASK.splits.values() for case in split]
        rows = [{"id": c, "case": c, "expected": "right"} for c in cases]
        lines = "".join(f"{json.dumps(each)}\n" for each in rows)
        (self.directory / "reviews.jsonl").write_text(lines)
        (self.directory / "prompt.txt").write_text(PROMPT)

    def start_optimize(self, *options: str) -> CommandProcess:
        return self.start(
            *("optimize", "reviews.jsonl", "--prompt", "prompt.txt"),
            *("--strategy", "reflective", "--target-score", "0.95"),
            *(*self.options, *options),
        )

    def optimize(self, *options: str) -> Ended:
        return self.ended(self.start_optimize(*options))

    def file(self, name: str) -> str:
        return (self.directory / name).read_text()


@pytest.fixture
def rules(provider: FakeProvider) -> Rules:
    rules = Rules()
    provider.handler = rules
    return rules


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[OptimizeCommands]:
    made = OptimizeCommands(tmp_path)
    made.variables = {"COLUMNS": "120"}
    made.write()
    yield made
    made.clean_up()


@pytest.fixture
def on_server(
    commands: OptimizeCommands,
    user: ApiUser,
    server: LiveServer,
    provider: FakeProvider,
) -> OptimizeCommands:
    commands.variables |= {
        "METASYNC_CLIENT_ID": user.client_id,
        "METASYNC_CLIENT_API_KEY": user.key,
    }
    model = provider_model(user, provider)
    commands.options = ("--model", model, "--server", server.url)
    return commands


def test_a_given_server(
    on_server: OptimizeCommands,
    user: ApiUser,
    server: LiveServer,
    rules: Rules,
) -> None:
    refused = on_server.optimize()
    assert refused.status == 2
    assert "No running worker" in refused.output
    done = on_server.optimize("--start-worker", "--publish")
    assert done.status == 0, done.output
    for words in (
        "│ baseline │",
        "│ best     │",
        "The best prompt is better.",
        "The target score was reached on validation.",
        "The best prompt: best_prompt.txt",
        "Published: ",
        "The report: report.html",
        " candidates · best ",
    ):
        assert words in done.output, done.output
    assert RULE in on_server.file("best_prompt.txt")
    assert "The best prompt is better" in on_server.file("report.html")
    (run,) = user.get("/runs")
    assert run["published"]
    asked = sum(rules.asked.values())
    again = on_server.optimize("--concurrency", "20", "--output", "2.txt")
    assert again.status == 0, again.output
    assert f"Run {run['runId']} has this result already." in again.output
    assert sum(rules.asked.values()) == asked
    assert on_server.file("2.txt") == on_server.file("best_prompt.txt")
    page = on_server.run(
        *("report", run["runId"], "--server", server.url),
        *("--output", "page.html"),
    )
    assert page.status == 0, page.output
    assert "The best prompt is better" in on_server.file("page.html")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--max-cost", "1"), "needs prices"),
        (("--output", "prompt.txt"), "must not be the prompt"),
        (("--report", "reviews.jsonl"), "must not be the prompt"),
        (("--metric", "magic"), "must be one of exact"),
    ],
)
def test_what_cannot_be_begun(
    commands: OptimizeCommands, options: tuple[str, ...], words: str
) -> None:
    ended = commands.optimize("--model", "m", *options)
    assert ended.status == 2
    assert words in " ".join(ended.output.split())
    assert commands.file("prompt.txt") == PROMPT


@pytest.mark.long
def test_a_private_instance_goes_on_where_it_was_stopped(
    commands: OptimizeCommands, provider: FakeProvider, rules: Rules
) -> None:
    commands.variables |= {"OPENAI_API_KEY": "sk-of-the-user"}
    command = (
        *(*documented(), "--endpoint", provider.url, "--concurrency", "4"),
        *("--input-price", "1000", "--output-price", "1000"),
    )
    provider.delay = 0.05
    started = commands.start(*command)
    eventually(lambda: rules.were_asked(40), seconds=60)
    started.send_signal(signal.SIGINT)
    stopped = commands.ended(started)
    assert stopped.status == 130
    assert "The same command continues where it stopped." in stopped.output
    provider.delay = 0
    done = commands.run(*command)
    assert done.status == 0, done.output
    assert "Going on with run " in done.output
    assert "The best prompt is better." in done.output
    assert RULE in commands.file("best_prompt.txt")
    # Calls that the signal broke off are made again; answers are not.
    twice = sum(count - 1 for count in rules.asked.values())
    assert twice <= 4
    run_id = done.output.partition("Going on with run ")[2][:24]
    page = commands.run("report", run_id, "--data", "reviews.jsonl")
    assert page.status == 0, page.output
    assert commands.running() == []
    gone = commands.run("report", run_id, "--data", "else.csv")
    assert gone.status == 2
    assert "nothing was run there" in gone.output
    neither = commands.run("report", run_id)
    assert "exactly one of" in neither.output
