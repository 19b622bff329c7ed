"""`metasync evaluate` as people start it: a process in a directory."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_evaluations import labelled
from tests.integration.test_workers import provider_model
from tests.support.api_user import ApiUser
from tests.support.fake_provider import FakeProvider
from tests.support.live_server import LiveServer
from tests.support.run_commands import Commands, Ended

LABELS = ("neg", "pos")


class EvaluateCommands(Commands):
    """`metasync evaluate data.csv` with two prompts."""

    options: tuple[str, ...] = ()

    def evaluate(self, *options: str) -> Ended:
        data = "".join(f"{n},{LABELS[n % 2]}\n" for n in range(20))
        (self.directory / "data.csv").write_text(f"n,expected\n{data}")
        for name in ("bad", "good"):
            (self.directory / f"{name}.txt").write_text(name)
        return self.run(
            *("evaluate", "data.csv", "--prompt", "bad.txt"),
            *("--prompt", "good.txt", "--out", "out.json"),
            *(*self.options, *options),
        )

    def result(self) -> Any:
        return json.loads((self.directory / "out.json").read_text())


@pytest.fixture
def commands(
    tmp_path: Path, provider: FakeProvider
) -> Iterator[EvaluateCommands]:
    provider.handler = labelled
    made = EvaluateCommands(tmp_path)
    # Tables of their whole width.
    made.variables = {"COLUMNS": "140"}
    yield made
    made.clean_up()


@pytest.mark.long
def test_a_private_instance_evaluates_and_keeps_the_answers(
    commands: EvaluateCommands, provider: FakeProvider
) -> None:
    commands.variables |= {"OPENAI_API_KEY": "sk-of-the-user"}
    commands.options = (
        *("--model", "m", "--endpoint", provider.url),
        *("--input-price", "1000", "--output-price", "1000"),
    )
    done = commands.evaluate()
    assert done.status == 0, done.output
    for words in (
        "│ bad.txt  │ m     │  20.0 % │",
        "│ good.txt │ m     │ 100.0 % │",
        "good.txt · m: by class",
        "│ improved │",
        "The whole result: out.json",
    ):
        assert words in done.output, done.output
    assert commands.result()["results"][1]["score"] == 1
    assert len(provider.requests) == 40
    again = commands.evaluate("--metric", "contains")
    assert again.status == 0, again.output
    assert len(provider.requests) == 40
    assert commands.result()["results"][0]["cachedAnswers"] == 20
    assert commands.running() == []


def test_a_given_server(
    commands: EvaluateCommands,
    user: ApiUser,
    server: LiveServer,
    provider: FakeProvider,
) -> None:
    model = provider_model(user, provider)
    commands.variables |= {
        "METASYNC_CLIENT_ID": user.client_id,
        "METASYNC_CLIENT_API_KEY": user.key,
    }
    commands.options = ("--model", model, "--server", server.url)
    refused = commands.evaluate()
    assert refused.status == 2
    assert "No running worker" in refused.output
    (commands.directory / "judge.txt").write_text("judge")
    done = commands.evaluate(
        *("--start-worker", "--metric", f"judge:judge.txt:{model}"),
        *("--metric", "exact", "--split", "test"),
    )
    assert done.status == 0, done.output
    result = commands.result()
    assert result["results"][1]["score"] == 1
    assert result["results"][0]["count"] == 5
    assert len(user.get("/datasets")) == 1
