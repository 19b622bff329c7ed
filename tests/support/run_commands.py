"""`metasync run` as a process in a directory, and providers for it."""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.support.fake_provider import Body, FakeProvider, failure
from tests.support.fork_server import CommandProcess, start_command

SECONDS = 60
KEY = "sk-of-the-user"
PROMPT = "Answer as JSON."
# What a developer's own environment may hold.
NOT_PASSED_ON = (
    "ADMIN_API_KEY",
    "API_KEY_PEPPER",
    "DB_CONNECTION_STRING",
    "DEMO_LLM",
    "DOCS_SECRET",
    "METASYNC_CLIENT_API_KEY",
    "METASYNC_CLIENT_ID",
    "OPENAI_API_KEY",
)

Row = dict[str, Any]


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it printed."""

    status: int
    output: str


class Commands:
    """Runs `metasync` in a directory; cleans up what a test leaves."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.variables: dict[str, str] = {}
        self._started: list[CommandProcess] = []

    def start(
        self,
        *arguments: str,
        program: Sequence[str] = ("-m", "cli"),
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.STDOUT,
    ) -> CommandProcess:
        """Start it without waiting; `program` is what Python is to run."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name not in NOT_PASSED_ON
        }
        process = start_command(
            [*program, *arguments],
            self.directory,
            {**inherited, "COLUMNS": "80", **self.variables},
            stdout,
            stderr,
        )
        self._started.append(process)
        return process

    def run(
        self, *arguments: str, program: Sequence[str] = ("-m", "cli")
    ) -> Ended:
        """Run it to its end."""
        return self.ended(self.start(*arguments, program=program))

    @staticmethod
    def ended(process: CommandProcess) -> Ended:
        """Wait for the end."""
        output, _ = process.communicate(timeout=SECONDS)
        assert process.returncode is not None
        return Ended(process.returncode, output)

    def running(self) -> list[int]:
        """Find processes that know the directory, whoever started them."""
        mine = os.fsencode(self.directory)
        return [pid for pid in _processes() if mine in _known_to(pid)]

    def clean_up(self) -> None:
        """Leave nothing running."""
        for process in self._started:
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()
        for pid in self.running():
            os.kill(pid, signal.SIGKILL)


def _processes() -> list[int]:
    names = (path.name for path in Path("/proc").iterdir())
    return [int(name) for name in names if name.isdigit()]


def _known_to(pid: int) -> bytes:
    proc = Path(f"/proc/{pid}")
    try:
        return b"".join(
            [
                (proc / "environ").read_bytes(),
                (proc / "cmdline").read_bytes(),
                os.fsencode((proc / "cwd").readlink()),
            ]
        )
    except OSError:
        return b""


class RunCommands(Commands):
    """`metasync run in.jsonl` with the arguments that every run needs."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.model = "gpt"
        self.options: list[str] = []

    def write(self, lines: Sequence[object], name: str = "in.jsonl") -> None:
        """Write the input."""
        text = "".join(f"{json.dumps(line)}\n" for line in lines)
        (self.directory / name).write_text(text)

    def start_run(
        self, *options: str, source: str = "in.jsonl", **streams: Any
    ) -> CommandProcess:
        """Start a run without waiting."""
        needed = ("run", source, "--model", self.model, "--prompt", PROMPT)
        return self.start(*needed, *self.options, *options, **streams)

    def run_file(self, *options: str, source: str = "in.jsonl") -> Ended:
        """Run to the end."""
        return self.ended(self.start_run(*options, source=source))

    def rows(self, name: str = "results.jsonl") -> list[Row]:
        """Read results that a run has finished or is writing."""
        path = self.directory / name
        lines = path.read_text().split("\n")[:-1] if path.exists() else []
        return [json.loads(line) for line in lines]

    def files(self) -> set[str]:
        """Name all that lies in the directory."""
        return {path.name for path in self.directory.iterdir()}


def numbered(count: int) -> list[Row]:
    return [{"id": f"r-{n}", "n": n} for n in range(1, count + 1)]


def asked(provider: FakeProvider) -> list[int]:
    """Give the numbers of the lines that the provider was asked, so far."""
    bodies = list(provider.requests)
    return [json.loads(b["messages"][-1]["content"])["n"] for b in bodies]


class Refusing:
    """A provider that does not take some lines."""

    def __init__(self, provider: FakeProvider, *numbers: int) -> None:
        self.numbers = set(numbers)
        self._echo = provider.echo
        provider.handler = self.answer

    async def answer(self, body: Body) -> web.StreamResponse:
        line = json.loads(body["messages"][-1]["content"])
        if line["n"] in self.numbers:
            return failure(400, "we do not like this one")
        return await self._echo(body)


class Holding:
    """A provider that leaves calls unanswered while it is told so."""

    def __init__(self, provider: FakeProvider) -> None:
        self.after = 1_000_000
        self._provider = provider
        provider.handler = self.answer

    async def answer(self, body: Body) -> web.StreamResponse:
        number = len(self._provider.requests)
        while number > self.after:  # noqa: ASYNC110 - a thread changes it
            await asyncio.sleep(0.01)
        return await self._provider.echo(body)
