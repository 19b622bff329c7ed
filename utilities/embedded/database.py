"""Runs the embedded database as a child process of this one. POSIX only."""

import os
import threading
import time
from pathlib import Path
from typing import Self

import structlog
from filelock import FileLock, Timeout

from utilities.private_files import make_private
from utilities.server_process import ServerProcess, ServerStartError

_LOG = structlog.get_logger(__name__)

_FIRST_DELAY, _LONGEST_DELAY = 0.05, 5.0
# A child that lived this long was well: the next delay is short again.
_WELL_SECONDS = 60.0


class EmbeddedDatabaseError(Exception):
    """The embedded database cannot do what was asked."""


class EmbeddedDatabaseStartError(EmbeddedDatabaseError):
    """The database's process, or its directory, did not come up."""


class DataDirectoryInUseError(EmbeddedDatabaseError):
    """Another process, or another object, uses the data directory."""

    def __init__(self, data_dir: Path, pid: int | None) -> None:
        holder = "another process" if pid is None else f"process {pid}"
        super().__init__(
            f"The data directory {data_dir} is in use by {holder}. Stop that "
            f"process, or choose another DATA_DIR for this one, or let this "
            f"one use a database server: set DB_CONNECTION_STRING."
        )
        self.pid = pid


class _Directory:
    """The data directory, which one process at a time may use."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Not thread-local: `stop` may run on another thread than `start`.
        # Not soft: a soft lock would outlive a holder that was killed.
        self._lock = FileLock(
            path / "metasync.lock",
            mode=0o600,
            thread_local=False,
            fallback_to_soft=False,
        )
        self._pid_file = path / "metasync.pid"
        self.log = path / "database.log"

    def take(self) -> None:
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock.acquire(blocking=False)
            for file in (self._pid_file, self.log):
                file.touch(mode=0o600)
            self._pid_file.write_text(f"{os.getpid()}\n")
        except Timeout:
            raise DataDirectoryInUseError(self.path, self._holder()) from None

    def leave(self) -> None:
        if self._lock.is_locked:
            self._pid_file.unlink(missing_ok=True)
            self._lock.release()

    def _holder(self) -> int | None:
        try:
            return int(self._pid_file.read_text())
        except (OSError, ValueError):
            return None


class EmbeddedDatabase:
    """A MongoDB-compatible server that lives as long as this process.

    `restarts` counts how often it died and was started again.
    """

    def __init__(
        self, data_dir: Path, *, port: int = 0, start_timeout: float = 30.0
    ) -> None:
        """Take the settings; `port` 0 is a free one, the timeout in s."""
        self.restarts = 0
        self._directory = _Directory(data_dir.absolute())
        self._port = port
        self._start_timeout = start_timeout
        self._child: ServerProcess | None = None
        self._child_lock = threading.Lock()
        self._stopping = threading.Event()
        self._watchdog: threading.Thread | None = None

    @property
    def connection_string(self) -> str:
        """Address for a client; stays the same when the server restarts.

        Raises:
            EmbeddedDatabaseError: `start` has not given it a port yet.
        """
        if not self._port:
            raise EmbeddedDatabaseError("The database has no port yet.")
        # One server without a replica set has no retryable writes.
        return (
            f"mongodb://127.0.0.1:{self._port}/"
            f"?directConnection=true&retryWrites=false"
        )

    @property
    def alive(self) -> bool:
        """Whether the server accepts connections."""
        child = self._child
        return bool(child and child.ready and child.process.poll() is None)

    def start(self) -> None:
        """Start the server and return when it accepts connections.

        Raises:
            DataDirectoryInUseError: the directory is taken.
            EmbeddedDatabaseStartError: says why, with the end of the log.
            EmbeddedDatabaseError: it is started already.
        """
        if self._child:
            raise EmbeddedDatabaseError("The database is already started.")
        self._stopping.clear()
        try:
            self._directory.take()
            make_private(self._directory.path)
            self._launch()
        except OSError as error:
            self.stop()
            raise EmbeddedDatabaseStartError(
                f"The data directory {self._directory.path} cannot be used: "
                f"{error}. Choose a DATA_DIR that this user can write to."
            ) from error
        except BaseException:
            self.stop()
            raise
        self._watchdog = threading.Thread(
            target=self._keep_alive, name="embedded-database", daemon=True
        )
        self._watchdog.start()

    def stop(self) -> None:
        """End the server and free the directory; again does no harm."""
        self._stopping.set()
        with self._child_lock:
            child, self._child = self._child, None
        if child:
            child.end()
        if self._watchdog:
            self._watchdog.join()
        self._directory.leave()

    def _launch(self) -> None:
        with self._child_lock:
            if self._stopping.is_set():
                raise EmbeddedDatabaseStartError("The database is stopping.")
            child = self._child = self._new_child()
        try:
            self._port = child.accepting(self._start_timeout)
        except ServerStartError as error:
            raise EmbeddedDatabaseStartError(
                f"The embedded database {error}"
            ) from None

    def _new_child(self) -> ServerProcess:
        path = self._directory.path
        return ServerProcess(
            "utilities.embedded.server",
            ["--data-dir", str(path), "--port", str(self._port)],
            self._directory.log,
        )

    def _keep_alive(self) -> None:
        delay = _FIRST_DELAY
        while child := self._child:
            began = time.monotonic()
            code = child.process.wait()
            if time.monotonic() - began > _WELL_SECONDS:
                delay = _FIRST_DELAY
            if self._stopping.wait(delay):
                return
            delay = min(2 * delay, _LONGEST_DELAY)
            try:
                self._launch()
            except (EmbeddedDatabaseStartError, OSError) as error:
                if not self._stopping.is_set():
                    _LOG.error("embedded_database_failed", error=str(error))
            else:
                self.restarts += 1
                _LOG.warning("embedded_database_restarted", exit_code=code)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
