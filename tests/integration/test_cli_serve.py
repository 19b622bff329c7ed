"""The long-running commands, and the small ones, as real processes."""

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest

from config import VERSION
from tests.support.api_user import ADMIN, ApiUser
from tests.support.fake_provider import FakeProvider
from tests.support.fork_server import CommandProcess
from tests.support.live_server import ADMIN_KEY, DOCS_SECRET, free_port
from tests.support.run_commands import Commands
from tests.support.waiting import eventually

MAIN_APP = str(Path(__file__).resolve().parents[2] / "main_app.py")
SERVE = ("-m", "cli", "serve")
WORKER = ("-m", "cli", "worker")
SECRETS = {
    "ADMIN_API_KEY": ADMIN_KEY,
    "API_KEY_PEPPER": "the-pepper",
    "DOCS_SECRET": DOCS_SECRET,
}
Process = CommandProcess


class ServeCommands(Commands):
    """A service in a directory, on a port of its own."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.http = httpx2.Client(base_url=self.url, timeout=5)
        self.variables = {
            **SECRETS,
            "PORT": str(self.port),
            "STOP_GRACE_SECONDS": "1",
        }

    def serve(
        self, *options: str, program: tuple[str, ...] = SERVE
    ) -> Process:
        """Start it and wait until it is ready."""
        process = self.start(*options, program=program)
        eventually(lambda: self._ready(process), seconds=30, what="readiness")
        return process

    def _ready(self, process: Process) -> bool:
        assert process.poll() is None, process.communicate()[0]
        try:
            return self.http.get("/health/ready").is_success
        except httpx2.TransportError:
            return False

    def check_end(self, process: Process, number: signal.Signals) -> str:
        """Send the signal: it ends soon and well, with all it started."""
        started = time.monotonic()
        process.send_signal(number)
        ended = self.ended(process)
        assert ended.status == 0, ended.output
        # A call that does not end would be waited for a minute.
        assert time.monotonic() - started < 45
        assert "Traceback" not in ended.output
        assert self.running() == []
        return ended.output


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[ServeCommands]:
    made = ServeCommands(tmp_path)
    yield made
    made.clean_up()
    made.http.close()


class TestSettings:
    def test_all_that_is_missing_or_wrong_is_one_message(
        self, commands: ServeCommands
    ) -> None:
        commands.variables = {
            "ADMIN_API_KEY": "the-secret",
            "PORT": "eighty",
            "LEASE_SECONDS": "-5",
        }
        expected = {SERVE: 2, WORKER: 2, (MAIN_APP,): 1}
        started = {p: commands.start(program=p) for p in expected}
        for program, process in started.items():
            ended = commands.ended(process)
            assert ended.status == expected[program]
            assert "Traceback" not in ended.output
            assert "Not set: API_KEY_PEPPER, DOCS_SECRET" in ended.output
            for name in ("PORT", "LEASE_SECONDS"):
                assert f"Not valid: {name}:" in ended.output
            for secret in ("the-secret", "eighty"):
                assert secret not in ended.output
        assert list(commands.directory.iterdir()) == []

    def test_init_says_what_an_env_file_lacks(
        self, commands: ServeCommands
    ) -> None:
        env_file = commands.directory / ".env"
        env_file.write_text("OPENAI_API_KEY=x\n")
        ended = commands.run("init")
        assert ended.status == 2
        assert "ADMIN_API_KEY, API_KEY_PEPPER, DOCS_SECRET" in ended.output
        assert "metasync init FILE" in ended.output
        assert env_file.read_text() == "OPENAI_API_KEY=x\n"


def _are_free(first: int) -> bool:
    with socket.socket() as one, socket.socket() as other:
        try:
            one.bind(("127.0.0.1", first))
            other.bind(("127.0.0.1", first + 1))
        except OSError:
            return False
    return True


@pytest.mark.long
class TestProcesses:
    """`--processes`: one service, whatever ends of it."""

    def test_share_the_port_and_are_started_again(
        self, commands: ServeCommands
    ) -> None:
        self._take_ports(commands)
        process = commands.serve("--processes", "2")
        eventually(lambda: len(self._starts()) == 2, seconds=60)
        # A scrape would be told the figures of now this one, now that one.
        refused = commands.http.get("/metrics", headers=ADMIN)
        assert refused.status_code == 404
        assert "METRICS_PORT" in refused.text
        before = self._starts()
        os.kill(self._serving(commands)[0], signal.SIGKILL)
        eventually(
            lambda: len(set(self._starts()) - set(before)) == 1,
            seconds=60,
            what="another one instead of the one that was killed",
        )
        assert len(set(self._starts()) & set(before)) == 1
        assert len(self._serving(commands)) == 2
        commands.check_end(process, signal.SIGTERM)

    def test_all_end_when_the_command_is_killed(
        self, commands: ServeCommands
    ) -> None:
        process = commands.start("--processes", "2", program=SERVE)
        eventually(lambda: len(self._serving(commands)) == 2, seconds=60)
        process.kill()
        eventually(lambda: commands.running() == [], seconds=60)

    def test_one_that_cannot_start_says_why_and_ends_all(
        self, commands: ServeCommands
    ) -> None:
        self._take_ports(commands)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", self.port + 1))
            taken.listen()
            ended = commands.run("--processes", "2", program=SERVE)
        assert ended.status == 2
        assert f"{self.port + 1} on 127.0.0.1 cannot be used" in ended.output
        assert "Traceback" not in ended.output
        assert commands.running() == []

    def _take_ports(self, commands: ServeCommands) -> None:
        # Each test process has ports of its own: what is free now may be
        # taken by a test beside this one.
        number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
        first = 20_001 + 1000 * number
        self.port = next(
            port for port in range(first, first + 1000, 2) if _are_free(port)
        )
        commands.variables |= {"METRICS_PORT": str(self.port)}

    def _starts(self) -> list[str]:
        """Return when those were started that answer to a scrape."""
        found = []
        for port in (self.port, self.port + 1):
            with suppress(httpx2.TransportError):
                url = f"http://127.0.0.1:{port}/metrics"
                page = httpx2.get(url, headers=ADMIN).text
                found += re.findall(r"process_start_time_seconds [\d.]+", page)
        return found

    def _serving(self, commands: ServeCommands) -> list[int]:
        return [
            pid
            for pid in commands.running()
            if b"--shared-port" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]


class TestServe:
    def test_runs_on_what_init_wrote_and_has_its_data_alone(
        self, commands: ServeCommands
    ) -> None:
        commands.variables = {"PORT": str(commands.port)}
        secrets = self._init(commands)
        process = commands.serve()
        assert commands.http.get("/clients").status_code == 401
        assert len(commands.running()) == 2
        commands.variables["PORT"] = str(free_port())
        second = commands.run(program=SERVE)
        assert second.status == 2
        assert "Traceback" not in second.output
        assert f"in use by process {process.pid}" in second.output
        assert "DATA_DIR" in second.output
        assert commands.http.get("/health/ready").is_success
        output = commands.check_end(process, signal.SIGINT)
        assert not any(secret in output for secret in secrets)
        assert not (commands.directory / "data" / "metasync.pid").exists()

    @staticmethod
    def _init(commands: ServeCommands) -> list[str]:
        """Run `metasync init`, twice; give the secrets it wrote once."""
        ended = commands.run("init")
        assert ended.status == 0
        assert "ADMIN_API_KEY" in ended.output
        env_file = commands.directory / ".env"
        assert stat.S_IMODE(env_file.stat().st_mode) == 0o600
        text = env_file.read_text()
        assert commands.run("init").status == 0
        assert env_file.read_text() == text
        return re.findall("[0-9a-f]{32,}", text)

    def test_main_app_is_the_same(self, commands: ServeCommands) -> None:
        process = commands.serve(program=(MAIN_APP,))
        commands.check_end(process, signal.SIGTERM)

    def test_ends_on_a_signal_while_it_starts(
        self, commands: ServeCommands
    ) -> None:
        process = commands.start(program=SERVE)
        database_log = commands.directory / "data" / "database.log"
        eventually(database_log.exists, seconds=30, what="a database")
        process.send_signal(signal.SIGTERM)
        assert commands.ended(process).status == 0
        # A database that was just starting ends with its input.
        eventually(lambda: not commands.running(), seconds=10, what="its end")

    def test_a_port_that_is_taken(self, commands: ServeCommands) -> None:
        with socket.create_server(("127.0.0.1", commands.port)):
            ended = commands.run(program=SERVE)
        assert ended.status not in (0, None)
        assert "address already in use" in ended.output
        assert commands.running() == []


class TestOneLineSaysWhatToDo:
    @pytest.mark.parametrize(
        ("address", "words"),
        [
            ("postgres://x", "must begin with mongodb://"),
            ("mongodb://u:p@w@127.0.0.1/", "percent-encoded"),
        ],
    )
    def test_an_address_that_is_no_mongodbs(
        self, commands: ServeCommands, address: str, words: str
    ) -> None:
        commands.variables["DB_CONNECTION_STRING"] = address
        self._check(commands, words)

    def test_a_file_of_settings_in_utf_16(
        self, commands: ServeCommands
    ) -> None:
        env_file = commands.directory / ".env"
        env_file.write_text("PORT=1\n", encoding="utf-16")
        self._check(commands, "Save it as UTF-8")

    @staticmethod
    def _check(commands: ServeCommands, words: str) -> None:
        ended = commands.run(program=SERVE)
        assert ended.status == 2
        (line,) = ended.output.splitlines()
        assert line.startswith("Error: ")
        assert words in line

    def test_a_file_of_settings_with_a_mark_that_others_can_read(
        self, commands: ServeCommands
    ) -> None:
        commands.variables = {"PORT": str(commands.port)}
        lines = [f"{name}={value}" for name, value in SECRETS.items()]
        env_file = commands.directory / ".env"
        env_file.write_text("\n".join(lines), encoding="utf-8-sig")
        env_file.chmod(0o644)
        data = commands.directory / "data"
        data.mkdir(mode=0o755)
        process = commands.serve()
        output = commands.check_end(process, signal.SIGTERM)
        assert "other users of this machine can read .env" in output
        modes = {
            path.name: stat.S_IMODE(path.stat().st_mode)
            for path in [data, *data.rglob("*")]
        }
        assert {mode & 0o077 for mode in modes.values()} == {0}, modes


class TestTwoProcesses:
    def test_a_worker_does_what_the_api_takes(
        self, commands: ServeCommands, database: str, provider: FakeProvider
    ) -> None:
        commands.variables |= {
            "DB_CONNECTION_STRING": database,
            "DB_NAME": f"two-processes-{commands.port}",
            "PROVIDER_KEY": "sk-two",
        }
        api = commands.serve("--no-workers")
        with httpx2.Client(base_url=commands.url, timeout=30) as http:
            user = ApiUser(http)
            model = user.model(
                sdk="OpenAI", endpoint=provider.url, key="PROVIDER_KEY"
            )
            job = user.job(model, user.prompt())
            user.worker(pollInterval=1)
            worker = commands.start(program=WORKER)
            ended = user.ended(job["jobId"], seconds=30)
        assert ended["status"] == "PROCESSED"
        assert provider.authorizations == ["Bearer sk-two"]
        self._check_end(commands, worker, signal.SIGINT)
        self._check_end(commands, api, signal.SIGTERM)
        assert commands.running() == []

    @staticmethod
    def _check_end(
        commands: ServeCommands, process: Process, number: signal.Signals
    ) -> None:
        process.send_signal(number)
        ended = commands.ended(process)
        assert ended.status == 0, ended.output
        assert "Traceback" not in ended.output

    def test_a_worker_without_a_database_to_share(
        self, commands: ServeCommands
    ) -> None:
        ended = commands.run(program=WORKER)
        assert ended.status == 2
        assert "Set DB_CONNECTION_STRING" in ended.output


class TestDemo:
    def test_on_the_test_plug_in(self, commands: ServeCommands) -> None:
        # Nothing of the user's own settings matters, nor is it touched.
        (commands.directory / ".env").write_text("PORT=1\nADMIN_API_KEY=x\n")
        commands.variables = {"TMPDIR": str(commands.directory)}
        ended = commands.run("demo", "--llm", "test")
        assert ended.status == 0, ended.output
        assert "64 reviews" in ended.output
        assert "Some answers" in ended.output
        assert "Answered" in ended.output
        assert "nothing is left running" in ended.output
        assert max(map(len, ended.output.split("\n"))) <= 80
        left = [path.name for path in commands.directory.iterdir()]
        assert left == [".env"]
        assert commands.running() == []

    def test_it_draws_itself(self, commands: ServeCommands) -> None:
        options = ("--llm=test", "--seed=1", "--picture=demo.svg")
        ended = commands.run("demo", *options)
        assert ended.status == 0, ended.output
        picture = (commands.directory / "demo.svg").read_text()
        for words in ("64/64", "Accuracy", "make", "at random"):
            assert words in picture.replace("&#160;", " ")
        assert "http" not in picture.replace("http://www.w3.org/2000/svg", "")

    def test_openai_without_a_key(self, commands: ServeCommands) -> None:
        commands.variables = {"DEMO_LLM": "openai"}
        ended = commands.run("demo")
        assert ended.status == 2
        assert "OPENAI_API_KEY is not set" in ended.output


def test_help_and_version(commands: ServeCommands) -> None:
    lines = {
        (): "run",
        ("init",): "Write a .env",
        ("serve",): "--no-workers",
        ("worker",): "DB_CONNECTION_STRING",
        ("run",): "--label-field",
        ("demo",): "DEMO_LLM",
    }
    started = {
        words: commands.start(*command, "--help")
        for command, words in lines.items()
    }
    version = commands.start("--version")
    for words, process in started.items():
        ended = commands.ended(process)
        assert ended.status == 0
        assert words in ended.output
        assert max(map(len, ended.output.split("\n"))) <= 80
        assert "--end-with-stdin" not in ended.output
    assert commands.ended(version).output == f"metasync {VERSION}\n"


def test_without_a_command_it_shows_the_commands(
    commands: ServeCommands,
) -> None:
    ended = commands.run()
    assert "Usage" in ended.output
    assert "demo" in ended.output


def test_an_unknown_command(commands: ServeCommands) -> None:
    ended = commands.run("surve")
    assert ended.status == 2
    assert "surve" in ended.output


def test_the_installed_command(commands: ServeCommands) -> None:
    program = Path(sys.executable).with_name("metasync")
    process = subprocess.run(
        [program, "--version"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        cwd=commands.directory,
    )
    assert process.stdout == f"metasync {VERSION}\n"
