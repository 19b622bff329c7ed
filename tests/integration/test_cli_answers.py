"""`metasync run` with earlier answers of other files, as people run it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.test_workers import provider_model
from tests.support.api_user import ApiUser
from tests.support.fake_provider import FakeProvider
from tests.support.live_server import LiveServer
from tests.support.run_commands import RunCommands, asked, numbered


@dataclass
class Setting:
    """A directory, a client on a server with a worker, and a provider."""

    commands: RunCommands
    user: ApiUser
    provider: FakeProvider

    def run(self, out: str, *options: str, source: str = "in.jsonl") -> str:
        ended = self.commands.run_file("--out", out, *options, source=source)
        assert ended.status == 0, ended.output
        return ended.output

    def calls(self) -> int:
        return len(self.provider.requests)


@pytest.fixture
def setting(
    tmp_path: Path, server: LiveServer, user: ApiUser, provider: FakeProvider
) -> Iterator[Setting]:
    commands = RunCommands(tmp_path)
    commands.variables = {
        "METASYNC_CLIENT_ID": user.client_id,
        "METASYNC_CLIENT_API_KEY": user.key,
    }
    commands.options = ["--server", server.url]
    commands.model = provider_model(user, provider)
    user.worker()
    commands.write(numbered(10))
    yield Setting(commands, user, provider)
    commands.clean_up()


def test_other_files_take_what_is_known(setting: Setting) -> None:
    setting.run("first.jsonl")
    more = [*reversed(numbered(12)), {"id": "same", "n": 3}]
    setting.commands.write(more, "more.jsonl")
    said = setting.run("second.csv", source="more.jsonl")
    assert "11 rows from memory." in said
    assert sorted(asked(setting.provider)) == list(range(1, 13))
    rows = setting.commands.rows("second.csv.rows.jsonl")
    assert len(rows) == 13
    known = [row for row in rows if "cachedFrom" in row]
    assert len(known) == 11
    assert {row["metrics"]["totalTokens"] for row in known} == {0}
    assert all(row["response"]["echo"]["n"] for row in rows)
    assert setting.user.get("/usage")["total"]["cachedAnswers"] == 11


@pytest.mark.parametrize(
    ("option", "mode"),
    [
        pytest.param("--fresh", "fresh", id="fresh"),
        pytest.param("--no-cache", None, id="no cache"),
    ],
)
def test_rows_are_asked_anew(
    setting: Setting, option: str, mode: str | None
) -> None:
    setting.run("first.jsonl")
    said = setting.run("second.jsonl", option)
    assert "from memory" not in said
    assert setting.calls() == 20
    # Also once more: the option is about this run, not about the rows.
    setting.run("third.jsonl", option)
    assert setting.calls() == 30
    newest = setting.user.get("/jobs", sort="-createdAt", limit=1)[0]
    assert newest.get("cache") == mode


def test_another_prompt_or_model_is_asked(
    setting: Setting, user: ApiUser
) -> None:
    setting.run("first.jsonl")
    setting.run("first.jsonl", "--temperature", "0.5")
    assert setting.calls() == 20
    setting.commands.model = provider_model(
        user, setting.provider, maxToken=99
    )
    setting.run("first.jsonl")
    assert setting.calls() == 30


def test_a_changed_column_asks_what_changed(setting: Setting) -> None:
    setting.run("first.jsonl")
    changed = [*numbered(9), {"id": "r-10", "n": 77}]
    setting.commands.write(changed, "changed.jsonl")
    said = setting.run("second.jsonl", source="changed.jsonl")
    assert "9 rows from memory." in said
    assert asked(setting.provider)[10:] == [77]


def test_each_sample_is_asked_and_known(setting: Setting) -> None:
    setting.commands.write(numbered(4))
    setting.run("first.jsonl", "--samples", "3")
    assert setting.calls() == 12
    rows = setting.commands.rows("first.jsonl")
    assert Counter((row["id"], row["sample"]) for row in rows) == {
        (f"r-{n}", sample): 1 for n in range(1, 5) for sample in range(3)
    }
    said = setting.run("second.jsonl", "--samples", "4")
    assert "12 rows from memory." in said
    assert setting.calls() == 16
    # The first sample is what is asked without samples.
    setting.run("third.jsonl")
    assert setting.calls() == 16


def test_options_that_do_not_go_together(setting: Setting) -> None:
    ended = setting.commands.run_file("--fresh", "--no-cache")
    assert ended.status == 2
    assert "only one of" in ended.output
