"""`metasync doctor` on a set-up as it is, running and stopped."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from aiohttp import web

from tests.integration.test_cli_serve import SECRETS, ServeCommands
from tests.support.api_user import ApiUser
from tests.support.fake_provider import Body, FakeProvider, completion
from tests.support.waiting import eventually

EVIL = "\x1b[2J"
KEY = "sk-nobody-may-see"

Report = dict[str, dict[str, Any]]


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[ServeCommands]:
    made = ServeCommands(tmp_path)
    yield made
    made.clean_up()
    made.http.close()


def examined(commands: ServeCommands, *options: str) -> tuple[int, Report]:
    """Run it; give its status and its findings by check."""
    ended = commands.run("doctor", "--json", *options)
    for secret in (KEY, *SECRETS.values()):
        assert secret not in ended.output
    assert ended.output.isascii()
    report = json.loads(ended.output)
    return ended.status, {each["check"]: each for each in report["checks"]}


def test_before_anything_is_there(commands: ServeCommands) -> None:
    status, report = examined(commands)
    assert status == 0
    assert "20 s" in report["database"]["message"]
    assert "is free" in report["port"]["message"]
    assert list(commands.directory.iterdir()) == []


def test_settings_that_are_wrong_and_open(commands: ServeCommands) -> None:
    commands.variables = {"PORT": "eighty"}
    env_file = commands.directory / ".env"
    env_file.write_text("ADMIN_API_KEY=the-admin-key\n")
    env_file.chmod(0o644)
    ended = commands.run("doctor")
    assert ended.status == 1
    assert "warn env-file: other users can read .env" in ended.output
    assert "chmod 600 .env." in ended.output
    assert "fail settings: Not set: API_KEY_PEPPER" in ended.output
    assert "fail settings: Not valid: PORT" in ended.output
    assert "eighty" not in ended.output


@pytest.mark.parametrize(
    ("address", "check", "words"),
    [
        ("postgres://x", "settings", "must begin with mongodb://"),
        ("mongodb://127.0.0.1:9/", "database", "cannot be used"),
        ("mongodb://u:p@w@127.0.0.1/", "database", "percent-encoded"),
    ],
)
def test_a_database_that_cannot_be_used(
    commands: ServeCommands, address: str, check: str, words: str
) -> None:
    commands.variables["DB_CONNECTION_STRING"] = address
    commands.variables["DB_TIMEOUT_SECONDS"] = "0.5"
    status, report = examined(commands)
    assert status == 1
    assert words in report[check]["message"]
    assert "DB_CONNECTION_STRING" in str(report[check])
    assert address not in str(report)


def test_no_service_at_the_url(commands: ServeCommands) -> None:
    status, report = examined(commands, "--url", commands.url)
    assert status == 1
    assert "no Metasync answers" in report["service"]["message"]
    ended = commands.run("doctor", "--url", "127.0.0.1")
    assert (ended.status, "needs a URL" in ended.output) == (2, True)


@pytest.fixture
def busy(commands: ServeCommands, provider: FakeProvider) -> ApiUser:
    """A service with three models, and a job that no worker takes."""
    commands.variables["PROVIDER_KEY"] = KEY
    process = commands.serve()
    with httpx2.Client(base_url=commands.url, timeout=30) as http:
        user = ApiUser(http)
        user.model(
            name="good",
            sdk="OpenAI",
            endpoint=provider.url,
            maxToken=9,
            key="PROVIDER-KEY",
        )
        user.model(name=f"keyless{EVIL}", sdk="OpenAI", key="KEY-NOT-SET")
        user.job("good", user.prompt(), operation="late")
        user.worker(operationFilter="early")
    commands.process = process  # type: ignore[attr-defined]  # for the tests here
    return user


class TestOfARunningService:
    @pytest.mark.usefixtures("busy")
    def test_it_asks_the_service(
        self, commands: ServeCommands, provider: FakeProvider
    ) -> None:
        status, found = examined(commands)
        assert status == 1
        assert found["service"]["status"] == "ok"
        assert found["port"]["message"].startswith("a Metasync answers")
        assert "takes 1 of client" in found["jobs"]["message"]
        assert found["model good"]["status"] == "ok"
        assert "KEY_NOT_SET" in found[f"model keyless{EVIL}"]["message"]
        assert provider.authorizations == [f"Bearer {KEY}"]
        # The client that it made for its calls is gone.
        headers = {"admin-api-key": SECRETS["ADMIN_API_KEY"]}
        names = [
            client["name"]
            for client in commands.http.get("/clients", headers=headers).json()
        ]
        assert "metasync-doctor" not in names

    @pytest.mark.usefixtures("busy")
    def test_without_calls_and_with_another_key(
        self, commands: ServeCommands, provider: FakeProvider
    ) -> None:
        status, found = examined(commands, "--no-calls")
        assert (status, provider.requests) == (1, [])
        assert "good" in found["models"]["message"]
        commands.variables["ADMIN_API_KEY"] = "another"
        status, found = examined(commands, "--url", commands.url)
        assert status == 1
        assert "ADMIN_API_KEY" in found["service"]["remedy"]

    @pytest.mark.usefixtures("busy")
    def test_nothing_steers_the_terminal(
        self, commands: ServeCommands
    ) -> None:
        ended = commands.run("doctor")
        assert "\x1b" not in ended.output
        assert r"keyless\x1b[2J" in ended.output


@pytest.mark.usefixtures("busy")
def test_of_a_stopped_service_it_asks_the_database(
    commands: ServeCommands, provider: FakeProvider
) -> None:
    async def answer(_body: Body) -> web.StreamResponse:
        return completion("OK")

    provider.handler = answer
    process = commands.process  # type: ignore[attr-defined]  # see `busy`
    commands.check_end(process, signal.SIGTERM)
    status, found = examined(commands)
    assert status == 1
    assert found["database-write"]["status"] == "ok"
    assert "differs from this machine's" in found["clock"]["message"]
    assert found["schema"]["status"] == "ok"
    assert "takes 1 of client" in found["jobs"]["message"]
    assert found["key PROVIDER_KEY"]["status"] == "ok"
    assert found["key KEY_NOT_SET"]["status"] == "fail"
    assert found["model good"]["status"] == "ok"
    assert provider.requests[0]["max_tokens"] == 9
    eventually(lambda: not commands.running(), seconds=10, what="its end")
    status, found = examined(commands, "--no-calls")
    assert "not called" in found["model good"]["message"]
    assert len(provider.requests) == 1
