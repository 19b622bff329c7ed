"""A server of ours as a child process that cannot outlive us. POSIX only.

The child (`python -m MODULE`) writes one line of JSON, `{"port": N}`, when
it accepts connections, or `{"error": "..."}` when it cannot. It ends when
its standard input does, which the kernel sees to even if this process is
`kill -9`ed.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, cast

_ROOT = Path(__file__).resolve().parent.parent
# The child needs an interpreter that runs, and no secret. On a read-only
# installation it must not write bytecode beside the code. COVERAGE_* lets
# a test run measure it.
_PASSED_ON = {
    "PATH",
    "HOME",
    "LANG",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONPYCACHEPREFIX",
    "PYTHONUTF8",
}
_STOP_SECONDS = 5.0
_LOG_TAIL = 2000


class ServerStartError(Exception):
    """The child did not accept connections; says why, or has its log."""


class ServerProcess:
    """One run of a server; `ready` once it has accepted connections."""

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        log: Path,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Start the child; its errors are appended to `log`."""
        self._log = log
        self.ready = False
        with log.open("ab") as output:
            # -P: not from the working directory. A process group of its
            # own keeps Ctrl-C away even before the child ignores it.
            self.process = subprocess.Popen(  # noqa: S603 - fixed command
                [sys.executable, "-P", "-m", module, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=child_environment() | dict(variables or {}),
                process_group=0,
            )

    def accepting(self, timeout: float) -> int:
        """Wait up to `timeout` seconds for the port and return it.

        Raises:
            ServerStartError: the child ended, or was late and was ended.
        """
        # Killed when it is late, it ends its output: one way to fail.
        deadline = threading.Timer(timeout, self.process.kill)
        deadline.daemon = True
        deadline.start()
        with cast("IO[bytes]", self.process.stdout) as stdout:
            line = stdout.readline()
        deadline.cancel()
        if not line:
            exit_code = self.end()
            tail = self._log.read_text(errors="replace")[-_LOG_TAIL:]
            raise ServerStartError(
                f"did not start within {timeout:g} s (exit code "
                f"{exit_code}). The end of {self._log}:\n{tail}"
            )
        told = json.loads(line)
        if "error" in told:
            self.end()
            raise ServerStartError(f"did not start: {told['error']}")
        self.ready = True
        return int(told["port"])

    def end(self) -> int:
        """End the process, by force if it takes long; return its code."""
        cast("IO[bytes]", self.process.stdin).close()
        self.process.terminate()
        try:
            return self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def child_environment() -> dict[str, str]:
    """Give the variables that a child process of ours gets."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED_ON or name.startswith(("LC_", "COVERAGE_"))
    }
    paths = filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")])
    return kept | {"PYTHONPATH": os.pathsep.join(paths)}
