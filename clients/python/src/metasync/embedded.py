"""An instance of the service that this program starts, and that ends with it.

The command `metasync instance` does the work: it must be installed, but
nothing of it is imported here.
"""

import atexit
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

from metasync.access import (
    ADMIN_VARIABLE,
    TOKEN_VARIABLE,
    URL_VARIABLE,
    Access,
)
from metasync.errors import ConfigurationError, EmbeddedError

_COMMAND = "metasync"
_STOP_SECONDS = 30.0
_ADD_SECONDS = 60.0
_LONGEST_ERROR = 4000


class Embedded:
    """Starts the service when it is needed; data stay in `directory`.

    However this program ends, the service ends, too: its standard input
    is a pipe that ends with the program.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._access: Access | None = None

    def start(self) -> Access:
        """Start it and return how it is reached; blocks for seconds.

        Raises:
            EmbeddedError: it does not start; says what it has said.
            ConfigurationError: the command is not installed.
        """
        command = _command()
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                [command, "instance", str(self._directory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                # Ctrl-C is this program's: it ends the service in its order.
                start_new_session=True,
            )
            self._process = process
            atexit.register(self.stop)
            access = _read_access(process)
            if access is None:
                self.stop()
                raise EmbeddedError(
                    "The embedded instance did not start. It said:\n"
                    f"{_tail(said)}"
                )
        self._access = access
        # It has secrets in it, and often lies in a repository.
        with contextlib.suppress(OSError):
            (self._directory / ".gitignore").write_text("*\n", "utf-8")
        return access

    def add_model(self, name: str) -> None:
        """Add a model that is known by its name; blocks for a second.

        Raises:
            ConfigurationError: it is not known; says what to do.
        """
        access = self._access
        assert access is not None  # noqa: S101 - after `start` only
        done = subprocess.run(
            [_command(), "model", "add", "--no-call", "--", name],
            env={
                **os.environ,
                URL_VARIABLE: access.url,
                ADMIN_VARIABLE: access.admin_key or "",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_ADD_SECONDS,
            check=False,
        )
        if done.returncode:
            said = (done.stderr or done.stdout).strip()[:_LONGEST_ERROR]
            raise ConfigurationError(
                f"The embedded instance has no model {name!r}, and it could "
                f"not be added: {said}\nclient.models.create(...) adds any."
            )

    def stop(self) -> None:
        """End it, when its running calls have ended."""
        atexit.unregister(self.stop)
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(OSError):
            _pipe(process.stdin).close()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _pipe(process.stdout).close()


def _command() -> str:
    beside = Path(sys.executable).with_name(_COMMAND)
    found = str(beside) if beside.exists() else shutil.which(_COMMAND)
    if found is None:
        raise ConfigurationError(
            f"Set {URL_VARIABLE} and {TOKEN_VARIABLE} to a running service, "
            "or install one that this program can start: pip install "
            "'metasync-client[embedded]'"
        )
    return found


def _read_access(process: subprocess.Popen[bytes]) -> Access | None:
    line = _pipe(process.stdout).readline()
    try:
        told: dict[str, Any] = json.loads(line)
        client_id, _, key = told["token"].partition(":")
        return Access(told["url"], client_id, key, told["adminKey"])
    except (ValueError, LookupError, TypeError):
        return None


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None  # noqa: S101 - it was asked for
    return stream


def _tail(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read()[-_LONGEST_ERROR:].decode(errors="replace").strip()
