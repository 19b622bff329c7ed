"""`metasync model`, `jobs`, `logs` and `top` on a running service."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.support.api_user import ApiUser, unique
from tests.support.fake_provider import FakeProvider
from tests.support.live_server import ADMIN_KEY, LiveServer
from tests.support.run_commands import Commands

EVIL = "\x1b[2J"


@pytest.fixture
def commands(tmp_path: Path, server: LiveServer) -> Iterator[Commands]:
    made = Commands(tmp_path)
    made.variables = {
        "METASYNC_URL": server.url,
        "ADMIN_API_KEY": ADMIN_KEY,
        "COLUMNS": "200",
    }
    yield made
    made.clean_up()


def as_client(commands: Commands, user: ApiUser) -> None:
    del commands.variables["ADMIN_API_KEY"]
    token = f"{user.client_id}:{user.key}"
    commands.variables["METASYNC_TOKEN"] = token


def test_a_model_is_added_called_listed_and_removed(
    commands: Commands, provider: FakeProvider
) -> None:
    name = unique("gpt-4o-mini")
    added = commands.run(
        *("model", "add", name, "--endpoint", provider.url),
        *("--key-env", "PROVIDER_KEY"),
    )
    assert added.status == 0, added.output
    assert f"Added {name}: OpenAI at {provider.url}" in added.output
    assert "read from PROVIDER_KEY" in added.output
    assert "ok: answered within" in added.output
    asked = provider.requests[-1]
    assert asked["model"] == name
    again = commands.run("model", "add", name)
    assert again.status == 2
    assert "already exists" in again.output
    assert name in commands.run("model", "list").output
    assert commands.run("model", "remove", name).status == 0
    gone = commands.run("model", "test", name)
    assert gone.status == 2
    assert f"There is no model '{name}'" in gone.output


def test_what_cannot_be_called_says_why(commands: Commands) -> None:
    name = unique("mine")
    unknown = commands.run("model", "add", name)
    assert unknown.status == 2
    assert "--sdk" in unknown.output
    assert "groq/" in unknown.output
    added = commands.run(
        *("model", "add", name, "--sdk", "OpenAI"),
        *("--endpoint", "http://127.0.0.1:9/v1", "--key-env", "PROVIDER_KEY"),
    )
    assert added.status == 1
    assert "fail: " in added.output
    assert commands.run("model", "remove", name).status == 0


def test_jobs_tell_why_they_wait_and_failed(
    commands: Commands, user: ApiUser, provider: FakeProvider
) -> None:
    model = user.model(sdk="OpenAI", endpoint=provider.url, key="PROVIDER-KEY")
    waiting = user.job(model, user.prompt(), operation=f"{EVIL}evil")
    as_client(commands, user)
    listed = commands.run("jobs")
    assert listed.status == 0, listed.output
    assert "1 jobs: 1 PENDING" in listed.output
    assert "NO_WORKER" in listed.output
    assert "\x1b[2J" not in listed.output
    told = commands.run("logs", waiting["jobId"])
    assert "waits: NO_WORKER" in told.output
    assert "\x1b[2J" not in told.output
    user.worker()
    failed = user.job(
        model, user.prompt(), responseSchema={"required": ["never"]}
    )
    user.ended(failed["jobId"])
    user.ended(waiting["jobId"])
    listed = commands.run("jobs", "--status", "ERROR_PROCESSING", "--json")
    (job,) = map(json.loads, listed.output.splitlines())
    assert job["jobId"] == failed["jobId"]
    told = commands.run("logs", failed["jobId"])
    for words in (
        "submitted",
        "claimed by worker",
        "failed: SCHEMA_MISMATCH",
        "what the model said",
        "7 tokens in, 3 out",
    ):
        assert words in told.output
    assert "answer:" in commands.run("logs", waiting["jobId"]).output


def test_the_view_has_queue_errors_spend_and_workers(
    commands: Commands, user: ApiUser, provider: FakeProvider
) -> None:
    model = user.model(sdk="OpenAI", endpoint=provider.url, key="PROVIDER-KEY")
    user.worker()
    job = user.job(model, user.prompt(), responseSchema={"required": ["no"]})
    user.ended(job["jobId"])
    as_client(commands, user)
    seen = commands.run("top", "--once")
    assert seen.status == 0, seen.output
    for words in (
        "1 jobs: 1 ERROR_PROCESSING",
        "SCHEMA_MISMATCH",
        "Today, by client and model",
        model,
        "Workers",
        "running",
    ):
        assert words in seen.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("jobs", "--since", "yesterday"), "24h"),
        (("logs", "665f1c2ab7e4d90012345678"), "There is no job"),
        (("logs", "../clients"), "is no id"),
        (("jobs", "--status", "LOST"), "status"),
    ],
)
def test_what_is_wrong_is_said(
    commands: Commands, arguments: tuple[str, ...], said: str
) -> None:
    ended = commands.run(*arguments)
    assert ended.status == 2
    assert said in ended.output
    assert "Traceback" not in ended.output


def test_without_credentials_it_says_what_to_set(commands: Commands) -> None:
    del commands.variables["ADMIN_API_KEY"]
    assert "METASYNC_TOKEN" in commands.run("jobs").output
    assert "ADMIN_API_KEY" in commands.run("model", "list").output


def test_imported_credentials_become_a_models_keys(
    commands: Commands, http: httpx2.Client
) -> None:
    name = ApiUser(http).model(sdk="OpenAI", key="PROVIDER-KEY")
    source = commands.directory / "creds.json"
    made = [
        {"clientId": each, "clientSecret": "hide-me", "tenant": "t"}
        for each in ("one", "two")
    ]
    source.write_text(json.dumps(made))
    ended = commands.run("credentials", "import", str(source), "--model", name)
    assert ended.status == 0, ended.output
    assert "MODEL_CREDENTIAL_ONE: written" in ended.output
    assert "hide-me" not in ended.output
    unknown = commands.run(
        *("credentials", "import", str(source), "--model", "nobody")
    )
    assert (unknown.status, "There is no model" in unknown.output) == (2, True)
