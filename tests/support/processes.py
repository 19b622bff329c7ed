"""The service as a process of its own, to be killed."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from tests.support.fork_server import ForkedProcess, fork_server
from tests.support.live_server import ADMIN_KEY, DOCS_SECRET, free_port
from tests.support.waiting import eventually


class ServiceProcess:
    """`metasync serve` on a port of its own; can be started again."""

    def __init__(self, data_dir: Path, **variables: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._http = httpx2.Client(base_url=self.url, timeout=5)
        self.log = data_dir.parent / f"service-{self.port}.log"
        self._environment = {
            **os.environ,
            "ADMIN_API_KEY": ADMIN_KEY,
            "API_KEY_PEPPER": "the-pepper",
            "DOCS_SECRET": DOCS_SECRET,
            "DB_CONNECTION_STRING": "",
            "DATA_DIR": str(data_dir),
            "PORT": str(self.port),
            "LOG_FORMAT": "json",
            "STOP_GRACE_SECONDS": "1",
            **variables,
        }
        self.process: ForkedProcess | None = None

    def start(self, *command: str) -> None:
        """Start it and wait until it is ready."""
        self.spawn(*command)
        eventually(self.is_ready, seconds=30, what="readiness")

    def spawn(self, *command: str) -> None:
        """Start it without waiting."""
        with self.log.open("ab") as log:
            self.process = fork_server.start(
                command or ("serve",),
                self._environment,
                # Not where a developer's own .env may lie.
                self.log.parent,
                log.fileno(),
            )

    def is_ready(self) -> bool:
        """Tell whether it can work."""
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self._http.get("/health/ready").is_success
        except httpx2.TransportError:
            return False

    def kill(self) -> None:
        """`kill -9`."""
        self.end(signal.SIGKILL)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; return the status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(30)


@contextmanager
def service_process(
    data_dir: Path, **variables: str
) -> Iterator[ServiceProcess]:
    """Run the service until the block ends."""
    service = ServiceProcess(data_dir, **variables)
    service.start()
    try:
        yield service
    finally:
        service.end()
