"""Processes of `metasync` that start in some ten milliseconds.

Importing the application takes seconds. One process imports it once and
forks a child for each command; a child then has its own environment,
directory and output, and can be killed like any other process.

`python -m tests.support.fork_server` listens on the socket that is its
standard input. A request is one JSON object `{argv, env, cwd}` with the
child's two outputs and a socket as file descriptors; on that socket come
its process id and, at its end, its exit status.
"""

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

from tests.support.paths import ROOT

_FRAME_BYTES = 1024 * 1024


class ForkedProcess:
    """A child of the fork server, used like `subprocess.Popen`."""

    def __init__(
        self, connection: socket.socket, stdout: IO[str] | None = None
    ) -> None:
        self._connection = connection
        self._connection.settimeout(60)
        self.pid = int(self._line())
        self.returncode: int | None = None
        self.stdout = stdout

    def poll(self) -> int | None:
        """Return the exit status; None while it runs."""
        return self._status(timeout=0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; return its exit status."""
        status = self._status(timeout)
        if status is None:
            raise subprocess.TimeoutExpired("metasync", timeout or 0.0)
        return status

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        """Wait for its end; return all that it printed."""
        texts: list[str] = []
        with ThreadPoolExecutor(1) as reader:
            if self.stdout is not None:
                reader.submit(lambda: texts.append(self.stdout_text()))
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        return "".join(texts), None

    def stdout_text(self) -> str:
        """Read its output to the end."""
        assert self.stdout is not None
        return self.stdout.read()

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def _status(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            self._connection.settimeout(timeout)
            with contextlib.suppress(TimeoutError, BlockingIOError):
                self.returncode = int(self._line())
                self._connection.close()
        return self.returncode

    def _line(self) -> bytes:
        line = self._connection.recv(64)
        if not line:
            raise ConnectionError("the fork server has ended")
        return line


CommandProcess = ForkedProcess | subprocess.Popen[str]
_CLI = ["-m", "cli"]
# Alone, it is run instead of a command.
MAIN_APP = "main_app.py"


def start_command(
    command: list[str],
    cwd: Path,
    env: Mapping[str, str],
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.STDOUT,
) -> CommandProcess:
    """Run Python with these arguments; `-m cli ...` in a forked child."""
    if command[:2] == _CLI and stderr != subprocess.PIPE:
        return fork_server.start(command[2:], env, cwd, stdout, stderr)
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        text=True,
        start_new_session=True,
    )


class ForkServer:
    """Starts the server when it is first needed; one a test process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._owner = 0

    def start(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.STDOUT,
    ) -> ForkedProcess:
        """Run `metasync` with these arguments, in a session of its own."""
        reader = None
        with contextlib.ExitStack() as stack:
            if stdout == subprocess.PIPE:
                source, stdout = os.pipe()
                stack.callback(os.close, stdout)
                reader = os.fdopen(source, encoding="utf-8")
            if stderr == subprocess.STDOUT:
                stderr = stdout
            ours, theirs = socket.socketpair(
                socket.AF_UNIX, socket.SOCK_SEQPACKET
            )
            stack.enter_context(theirs)
            request = {"argv": list(argv), "env": dict(env), "cwd": str(cwd)}
            descriptors = [stdout, stderr, theirs.fileno()]
            with self._lock:
                frame = json.dumps(request).encode()
                socket.send_fds(self._server(), [frame], descriptors)
        return ForkedProcess(ours, reader)

    def _server(self) -> socket.socket:
        if self._socket is None or self._owner != os.getpid():
            self._socket, theirs = socket.socketpair(
                socket.AF_UNIX, socket.SOCK_SEQPACKET
            )
            self._owner = os.getpid()
            with theirs:
                subprocess.Popen(
                    [sys.executable, "-m", "tests.support.fork_server"],
                    stdin=theirs.fileno(),
                    cwd=ROOT,
                    # The console's width is taken when it is imported.
                    env={**os.environ, "COLUMNS": "80"},
                )
        return self._socket


fork_server = ForkServer()


class _Server:
    """The process that forks; single-threaded, so that forking is safe."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._children: dict[int, socket.socket] = {}
        self._wake, wake_writer = os.pipe()
        os.set_blocking(wake_writer, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)

    def run(self) -> dict[str, Any] | None:
        """Serve; return the request in a child, None in the server's end."""
        selector = selectors.DefaultSelector()
        selector.register(self._requests, selectors.EVENT_READ)
        selector.register(self._wake, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd == self._wake:
                    os.read(self._wake, 4096)
                    self._report_ended()
                    continue
                frame, descriptors, _, _ = socket.recv_fds(
                    self._requests, _FRAME_BYTES, 3
                )
                if not frame:
                    return None
                if self._fork(descriptors):
                    return dict(json.loads(frame))

    def _fork(self, descriptors: list[int]) -> bool:
        stdout, stderr, answers = descriptors
        pid = os.fork()
        if pid:
            os.close(stdout)
            os.close(stderr)
            connection = socket.socket(fileno=answers)
            self._children[pid] = connection
            connection.send(str(pid).encode())
            return False
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(answers)
        self._requests.close()
        for connection in self._children.values():
            connection.close()
        empty = os.open(os.devnull, os.O_RDONLY)
        for target, source in enumerate((empty, stdout, stderr)):
            os.dup2(source, target)
            os.close(source)
        # The server's own may know of a file that they could seek in.
        for number, name in ((0, "stdin"), (1, "stdout"), (2, "stderr")):
            mode = "w" if number else "r"
            stream = os.fdopen(number, mode, encoding="utf-8", closefd=False)
            setattr(sys, name, stream)
        os.setsid()
        return True

    def _report_ended(self) -> None:
        for pid in list(self._children):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                connection = self._children.pop(pid)
                code = os.waitstatus_to_exitcode(status)
                # Whoever asked may be gone.
                with contextlib.suppress(OSError):
                    connection.send(str(code).encode())
                connection.close()


def _main() -> None:
    import main_app  # noqa: PLC0415 - as above
    from cli import app, commands  # noqa: F401, PLC0415 - to be shared

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests = socket.socket(fileno=os.dup(0))
    request = _Server(requests).run()
    if request is None:
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    if request["argv"] == [MAIN_APP]:
        main_app.main()
        return
    sys.argv = ["metasync", *request["argv"]]
    app.main()


if __name__ == "__main__":
    _main()
