"""The processes of the service, to be killed, frozen and started again."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.live_server import ADMIN_KEY, DOCS_SECRET
from utilities.server_process import ServerProcess

_START_SECONDS = 60.0
_STOP_SECONDS = 30.0


class Process:
    """One `python -m ...`; its output is appended to a file."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        variables: Mapping[str, str],
    ) -> None:
        self.name = name
        self._command = command
        self._log = log
        self._variables = variables
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        """Whether it runs, or is frozen."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, unless it runs."""
        if self.alive:
            return
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self._command],
                env={**os.environ, **self._variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=Path(__file__).resolve().parent.parent,
            )

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if there is somebody to get it."""
        if self._process is not None and self.alive:
            self._process.send_signal(number)

    def kill(self) -> None:
        """`kill -9`, and wait."""
        self.send(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(_STOP_SECONDS)

    def end(self) -> int:
        """Ask it to end, and wait; return its status."""
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        if self._process is None:
            return 0
        try:
            return self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return -signal.SIGKILL


class Database:
    """The embedded server, always on the same port with the same data."""

    def __init__(self, data_dir: Path) -> None:
        data_dir.mkdir(parents=True)
        self._data_dir = data_dir
        self.port = 0
        self._server: ServerProcess | None = None

    def start(self) -> None:
        """Start it, unless it runs; wait until it accepts connections."""
        if self._server is not None and self._server.process.poll() is None:
            return
        self._server = ServerProcess(
            "utilities.embedded.server",
            [f"--data-dir={self._data_dir}", f"--port={self.port}"],
            self._data_dir / "server.log",
        )
        self.port = self._server.accepting(_START_SECONDS)

    def kill(self) -> None:
        """`kill -9`, and wait."""
        if self._server is not None:
            self._server.process.kill()
            self._server.process.wait()

    def end(self) -> None:
        """Ask it to end, and wait."""
        if self._server is not None:
            self._server.end()


def address(port: int) -> str:
    """Give the connection string of a database on this machine."""
    return (
        f"mongodb://127.0.0.1:{port}/?directConnection=true&retryWrites=false"
    )


def variables(data_dir: Path, database: str, name: str) -> dict[str, str]:
    """Give the settings that all processes share."""
    return {
        "ADMIN_API_KEY": ADMIN_KEY,
        "API_KEY_PEPPER": "the-pepper",
        "DOCS_SECRET": DOCS_SECRET,
        "DB_CONNECTION_STRING": database,
        "DB_NAME": name,
        "DB_TIMEOUT_SECONDS": "2",
        "DATA_DIR": str(data_dir),
        "LEASE_SECONDS": "4",
        "LOG_FORMAT": "json",
        "NUM_LLM_WORKERS": "3",
        "PROVIDER_KEY": "sk-simulated",
        "STOP_GRACE_SECONDS": "1",
    }
