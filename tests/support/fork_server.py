"""Processes of `metasync` that start in some ten milliseconds.

Importing the application takes seconds. One process imports it once and
forks a child for each command; a child then has its own environment,
directory and output, and can be killed like any other process.

`python -m tests.support.fork_server` listens on the socket that is its
standard input, and on one that its children have: the service that
`metasync run` starts is forked, too. A request is one JSON object
`{argv, env, cwd}` with the child's input, its two outputs and a socket as
file descriptors; on that socket come its process id and, at its end, its
exit status.
"""

import contextlib
import gc
import importlib
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
from types import SimpleNamespace
from typing import IO, Any
from unittest.mock import patch

from tests.support.paths import ROOT
from tests.support.sharing import (
    build_routes,
    share_routes,
    trust_no_authority,
)

_FRAME_BYTES = 1024 * 1024


class ForkedProcess:
    """A child of the fork server, used like `subprocess.Popen`."""

    def __init__(
        self,
        connection: socket.socket,
        stdout: IO[str] | None = None,
        stdin: IO[bytes] | None = None,
    ) -> None:
        self._connection = connection
        self._connection.settimeout(60)
        self.pid = int(self._line())
        self.returncode: int | None = None
        self.stdout = stdout
        self.stdin = stdin

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
    """Starts the server when it is first needed; one a test process.

    A child of the server is given a socket that leads to it.
    """

    def __init__(self, to_server: socket.socket | None = None) -> None:
        self._lock = threading.Lock()
        self._socket = to_server
        self._owner = os.getpid()

    def start(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.STDOUT,
        stdin: int = subprocess.DEVNULL,
    ) -> ForkedProcess:
        """Run `metasync` with these arguments, in a session of its own."""
        reader, writer = None, None
        with contextlib.ExitStack() as stack:
            if stdin == subprocess.PIPE:
                source, target = os.pipe()
                writer = os.fdopen(target, "wb")
            else:
                source = os.open(os.devnull, os.O_RDONLY)
            stack.callback(os.close, source)
            descriptors = [source]
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
            descriptors += [stdout, stderr, theirs.fileno()]
            with self._lock:
                frame = json.dumps(request).encode()
                socket.send_fds(self._server(), [frame], descriptors)
        return ForkedProcess(ours, reader, writer)

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
        self._of_children, self._to_server = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_SEQPACKET
        )
        self._children: dict[int, socket.socket] = {}
        self._wake, wake_writer = os.pipe()
        os.set_blocking(wake_writer, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)

    def run(self) -> dict[str, Any] | None:
        """Serve; return the request in a child, None in the server's end."""
        selector = selectors.DefaultSelector()
        selector.register(self._requests, selectors.EVENT_READ)
        selector.register(self._of_children, selectors.EVENT_READ)
        selector.register(self._wake, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd == self._wake:
                    os.read(self._wake, 4096)
                    self._report_ended()
                    continue
                asked = key.fileobj
                assert isinstance(asked, socket.socket)
                frame, descriptors, _, _ = socket.recv_fds(
                    asked, _FRAME_BYTES, 4
                )
                if not frame:
                    return None
                if self._fork(descriptors):
                    return dict(json.loads(frame))

    def _fork(self, descriptors: list[int]) -> bool:
        *streams, answers = descriptors
        pid = os.fork()
        if pid:
            for descriptor in streams:
                os.close(descriptor)
            connection = socket.socket(fileno=answers)
            self._children[pid] = connection
            connection.send(str(pid).encode())
            return False
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(answers)
        self._requests.close()
        self._of_children.close()
        for connection in self._children.values():
            connection.close()
        for target, source in enumerate(streams):
            os.dup2(source, target)
            os.close(source)
        # The server's own may know of a file that they could seek in.
        for number, name in ((0, "stdin"), (1, "stdout"), (2, "stderr")):
            mode = "w" if number else "r"
            stream = os.fdopen(number, mode, encoding="utf-8", closefd=False)
            setattr(sys, name, stream)
        os.setsid()
        return True

    def fork_services(self) -> None:
        """Have the command of this child fork the service that it starts."""
        server = ForkServer(self._to_server)

        def popen(
            command: list[str],
            *,
            cwd: Path,
            env: Mapping[str, str],
            stdin: int,
            stdout: IO[bytes],
            stderr: IO[bytes],
            start_new_session: bool,
        ) -> ForkedProcess:
            assert command[:4] == [sys.executable, "-P", *_CLI]
            assert start_new_session
            outputs = stdout.fileno(), stderr.fileno()
            return server.start(command[4:], env, cwd, *outputs, stdin)

        from cli import private_instance  # noqa: PLC0415 - takes a second

        forking = SimpleNamespace(**{**vars(subprocess), "Popen": popen})
        patch.object(private_instance, "subprocess", forking).start()

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


# What commands import on demand is shared, too.
_SHARED = (
    "cli.backup",
    "cli.commands",
    "cli.demo",
    "cli.doctor.command",
    "cli.doctor.database_state",
    "cli.run_command",
    "cli.service",
    "cli.simulator",
    "llm_sdks.wires.openai_client",
)


def _main() -> None:
    import main_app  # noqa: PLC0415 - takes a second
    from cli import app  # noqa: PLC0415 - as above

    for module in _SHARED:
        importlib.import_module(module)
    share_routes()
    trust_no_authority()
    build_routes()
    # What is loaded stays shared: no child looks through it for garbage.
    gc.disable()
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests = socket.socket(fileno=os.dup(0))
    server = _Server(requests)
    request = server.run()
    if request is None:
        return
    gc.enable()
    server.fork_services()
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
