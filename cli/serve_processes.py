"""`metasync serve --processes N`: the service in several processes.

Each is a whole service, as on a host of its own, and all listen on the same
port: the kernel gives every new connection to one of them (SO_REUSEPORT).
The command itself only holds the port and the embedded database, if there
is one, and starts a process again that has ended.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

import structlog

import main_app
from api.core.http_server import bound_sockets
from config import Settings

_LOOK_SECONDS = 0.2
_FIRST_DELAY, _LONGEST_DELAY = 0.5, 30.0
# One that ran this long was well: the next delay is short again, and what
# ended it is not what all would meet.
_WELL_SECONDS = 10.0
# Beyond the time that a process gives its calls to end.
_STOP_SECONDS = 10.0
# The exit status of a command that cannot run: its log says what to do.
_CANNOT_RUN = 2

log = structlog.get_logger(__name__)


def serve_processes(
    settings: Settings, count: int, options: Sequence[str]
) -> int:
    """Run `count` services until stopped; return the exit status.

    `options` are those of `metasync serve` for each of them. If one ends
    with an error while it starts, all are ended: its log says why.
    """
    stopped = _stopped_by_signals()
    with (
        _shared_port(settings) as port,
        main_app.database_of(settings) as address,
    ):
        children = [
            _Child(options, _variables(settings, number, port, address))
            for number in range(count)
        ]
        log.info("processes_started", count=count, port=port)
        try:
            return _watch(children, stopped)
        finally:
            _stop(children, settings.stop_grace_seconds + _STOP_SECONDS)


class _Child:
    """One of the processes, whichever run of it."""

    def __init__(
        self, options: Sequence[str], variables: Mapping[str, str]
    ) -> None:
        self._options = options
        self._variables = variables
        self._delay = _FIRST_DELAY
        self._has_been_well = False
        self._is_first = True
        self._ended: float | None = None
        self._start()

    def look(self) -> int | None:
        """Start it again where that is due.

        Returns the exit status of one that could not start.
        """
        status, now = self.process.poll(), time.monotonic()
        if status is None:
            self._has_been_well |= now - self._started >= _WELL_SECONDS
            return None
        if self._could_not_start(status):
            return status
        if self._ended is None:
            self._ended = now
            self._grow_delay(now - self._started)
            log.warning(
                "process_ended", status=status, startsAfter=self._delay
            )
        elif now - self._ended >= self._delay:
            self._is_first = False
            self._start()
        return None

    def _could_not_start(self, status: int) -> bool:
        # On a busy machine the first start alone takes longer than that.
        if self._is_first and status == _CANNOT_RUN:
            return True
        return status > 0 and not self._has_been_well

    def _grow_delay(self, lived: float) -> None:
        if lived >= _WELL_SECONDS:
            self._delay = _FIRST_DELAY
        else:
            self._delay = min(self._delay * 2, _LONGEST_DELAY)

    def _start(self) -> None:
        self._started, self._ended = time.monotonic(), None
        # It ends when its stdin does, however this process ends. -P: not
        # from the working directory.
        self.process = subprocess.Popen(  # noqa: S603 - our own program
            [
                *(sys.executable, "-P", "-m", "cli", "serve"),
                *("--shared-port", "--end-with-stdin", *self._options),
            ],
            env=self._variables,
            stdin=subprocess.PIPE,
            # Ctrl-C reaches it by way of this process.
            start_new_session=True,
        )


def _watch(children: Sequence[_Child], stopped: threading.Event) -> int:
    while not stopped.wait(_LOOK_SECONDS):
        for child in children:
            if (status := child.look()) is not None:
                return status
    return 0


def _stop(children: Sequence[_Child], seconds: float) -> None:
    running = [child.process for child in children]
    for process in running:
        process.terminate()
    until = time.monotonic() + seconds
    for process in running:
        try:
            process.wait(max(until - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _stopped_by_signals() -> threading.Event:
    stopped = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopped.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    return stopped


@contextmanager
def _shared_port(settings: Settings) -> Iterator[int]:
    """Hold the port without listening on it: no connection comes here."""
    # Without sharing first: another program may have it.
    _close(bound_sockets(settings.host, settings.port))
    held = bound_sockets(settings.host, settings.port, is_shared=True)
    try:
        yield int(held[0].getsockname()[1])
    finally:
        _close(held)


def _close(sockets: Sequence[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


def _variables(
    settings: Settings, number: int, port: int, address: str
) -> dict[str, str]:
    changed = {
        "PORT": str(port),
        "DB_CONNECTION_STRING": address,
        # Each has its own figures: one port after the other.
        "METRICS_PORT": "",
    }
    first = settings.metrics_port
    if first is not None:
        changed["METRICS_PORT"] = str(first + number if first else 0)
    return {**os.environ, **changed}
