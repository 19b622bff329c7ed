"""`metasync batch` as people start it: a process in a directory."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from provider_simulator.running import Simulator
from tests.support.batch_user import line, lines_of, read_lines
from tests.support.gateway_user import GatewayUser
from tests.support.live_server import LiveServer
from tests.support.run_commands import Commands, Ended
from tests.support.waiting import eventually

KEY = "sk-of-the-user"


class BatchCommands(Commands):
    """`metasync batch in.jsonl --out out.jsonl` in a directory."""

    def write(self, rows: list[Any], name: str = "in.jsonl") -> None:
        (self.directory / name).write_bytes(lines_of(rows))

    def arguments(self, *options: str) -> tuple[str, ...]:
        return ("batch", "in.jsonl", "--out", "out.jsonl", *options)

    def batch(self, *options: str) -> Ended:
        return self.run(*self.arguments(*options))

    def rows(self) -> list[Any]:
        path = self.directory / "out.jsonl"
        return read_lines(path.read_bytes()) if path.exists() else []

    def files(self) -> set[str]:
        return {path.name for path in self.directory.iterdir()}


@pytest.fixture
def simulator(shared_simulator: Simulator) -> Simulator:
    return shared_simulator


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[BatchCommands]:
    made = BatchCommands(tmp_path)
    yield made
    made.clean_up()


@pytest.fixture
def given(commands: BatchCommands, user: GatewayUser) -> BatchCommands:
    """Commands of a client of the running service."""
    commands.variables |= {
        "METASYNC_CLIENT_ID": user.client_id,
        "METASYNC_CLIENT_API_KEY": user.key,
    }
    return commands


@pytest.fixture
def user(http: httpx2.Client) -> GatewayUser:
    return GatewayUser(http)


def model_at(
    user: GatewayUser, simulator: Simulator, sdk: str = "OpenAI", **fields: Any
) -> str:
    return user.model(
        sdk=sdk,
        endpoint=simulator.base_urls[sdk],
        key="PROVIDER-KEY",
        deployment="x",
        **fields,
    )


def message(custom_id: str, model: str) -> Any:
    said = {"role": "user", "content": "Hello"}
    params = {"model": model, "max_tokens": 20, "messages": [said]}
    return {"custom_id": custom_id, "params": params}


def test_a_file_of_openai_runs_on_a_private_instance(
    commands: BatchCommands, simulator: Simulator
) -> None:
    commands.variables["OPENAI_API_KEY"] = KEY
    commands.write([line("a", "gpt-one"), line("b", "gpt-two")])
    ended = commands.batch("--endpoint", simulator.base_urls["OpenAI"])
    assert ended.status == 0, ended.output
    rows = commands.rows()
    assert [each["custom_id"] for each in rows] == ["a", "b"]
    models = [each["response"]["body"]["model"] for each in rows]
    assert models == ["gpt-one", "gpt-two"]
    # Nothing is left beside the results, and nothing is asked again.
    assert commands.files() == {"in.jsonl", "out.jsonl"}
    again = commands.batch()
    assert again.status == 0
    assert "answered in out.jsonl already" in again.output


def test_a_file_of_anthropic_runs_on_a_server(
    given: BatchCommands,
    user: GatewayUser,
    server: LiveServer,
    simulator: Simulator,
) -> None:
    claude = model_at(user, simulator, "Anthropic")
    given.write([message("a", claude), message("b", claude)])
    ended = given.batch("--server", server.url)
    assert ended.status == 0, ended.output
    assert [each["result"]["type"] for each in given.rows()] == [
        "succeeded",
        "succeeded",
    ]


def test_failed_lines_are_tried_once_more_and_no_others(
    given: BatchCommands,
    user: GatewayUser,
    server: LiveServer,
    simulator: Simulator,
) -> None:
    gpt = model_at(user, simulator)
    claude = model_at(user, simulator, "Anthropic")
    bad = line("bad", claude)
    bad["body"]["n"] = 2
    given.write([line("a", gpt), bad])
    ended = given.batch("--server", server.url)
    assert ended.status == 1, ended.output
    assert "line 2 (bad): " in ended.output
    asked = simulator.stats()["requests"]
    again = given.batch("--server", server.url)
    assert again.status == 1
    assert simulator.stats()["requests"] == asked
    rows = given.rows()
    assert sorted(each["custom_id"] for each in rows) == ["a", "bad"]
    # Another input does not go into the same results.
    given.write([line("a", claude), bad])
    changed = given.batch("--server", server.url)
    assert changed.status == 2
    assert "has changed" in changed.output


def test_a_command_that_was_stopped_goes_on(
    given: BatchCommands,
    user: GatewayUser,
    server: LiveServer,
    simulator: Simulator,
) -> None:
    simulator.configure(latency_ms=300)
    slow = model_at(user, simulator, limits={"maxConcurrency": 4})
    given.write([line(f"r{i}", slow) for i in range(40)])
    process = given.start(*given.arguments("--server", server.url))
    eventually(lambda: simulator.stats()["requests"] >= 4)
    process.send_signal(signal.SIGINT)
    stopped = given.ended(process)
    assert stopped.status == 130, stopped.output
    assert "The server continues with the batch" in stopped.output
    simulator.configure(latency_ms=0)
    ended = given.batch("--server", server.url)
    assert ended.status == 0, ended.output
    assert "Going on with batch_" in ended.output
    assert len(given.rows()) == 40
    # There was one batch.
    assert len(list(user.openai().batches.list())) == 1


def test_a_private_instance_that_was_killed_goes_on(
    commands: BatchCommands, simulator: Simulator
) -> None:
    simulator.configure(latency_ms=1000)
    commands.variables |= {"OPENAI_API_KEY": KEY, "BATCH_CONCURRENCY": "5"}
    commands.write([line(f"r{i}", "gpt", f"say r{i}.") for i in range(30)])
    options = ("--endpoint", simulator.base_urls["OpenAI"])
    process = commands.start(*commands.arguments(*options))
    eventually(lambda: simulator.stats()["requests"] >= 10, seconds=40)
    process.kill()
    commands.ended(process)
    simulator.configure(latency_ms=0)
    ended = commands.batch(*options)
    assert ended.status == 0, ended.output
    assert "Going on with batch_" in ended.output
    assert {each["custom_id"] for each in commands.rows()} == {
        f"r{i}" for i in range(30)
    }
    # Answers that were stored were not asked for again.
    assert simulator.stats()["requests"] < 60
    assert commands.files() == {"in.jsonl", "out.jsonl"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(b'{"a": 1}\n', "neither OpenAI's format", id="other"),
        pytest.param(
            lines_of([line("a", "m"), line("a", "m"), {"custom_id": "b"}])
            + b"{]\n",
            "line 2: custom_id a is that of line 1, too\n"
            "  line 3: url is not /v1/chat/completions, as in the first line\n"
            "  line 4: is no JSON object",
            id="lines",
        ),
    ],
)
def test_what_cannot_be_sent_is_said_before(
    commands: BatchCommands, content: bytes, said: str
) -> None:
    (commands.directory / "in.jsonl").write_bytes(content)
    ended = commands.batch()
    assert ended.status == 2
    assert said in ended.output
    assert commands.files() == {"in.jsonl"}


def test_what_the_service_refuses_is_said_by_line(
    given: BatchCommands,
    user: GatewayUser,
    server: LiveServer,
    simulator: Simulator,
) -> None:
    gpt = model_at(user, simulator)
    streamed = line("b", gpt)
    streamed["body"]["stream"] = True
    given.write([line("a", gpt), streamed, line("c", "none")])
    ended = given.batch("--server", server.url)
    assert ended.status == 2
    assert "line 2: A request of a batch cannot be streamed" in ended.output
    assert "line 3: The model 'none' does not exist" in ended.output
    assert given.rows() == []


def test_other_files_are_not_written_over(commands: BatchCommands) -> None:
    commands.variables["OPENAI_API_KEY"] = KEY
    commands.write([line("a", "m")])
    out = commands.directory / "out.jsonl"
    for content in ("my thesis\n", json.dumps({"custom_id": "x"}) + "\n"):
        out.write_text(content)
        ended = commands.batch()
        assert ended.status == 2
        assert "choose another --out" in ended.output
        assert out.read_text() == content
