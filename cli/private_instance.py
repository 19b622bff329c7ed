"""A whole Metasync of one's own, for one command: server and database."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, cast

import httpx2
from dotenv import dotenv_values
from filelock import FileLock, Timeout

from cli.errors import CommandError
from cli.rest_client import LOOPBACK, RestClient
from cli.secrets_file import ensure_secrets_file

_ROOT = Path(__file__).resolve().parent.parent
_START_SECONDS = 60.0
_STOP_SECONDS = 20.0
_LOG_LINES_SHOWN = 15
CLIENT_NAME = "metasync-run"


@contextlib.contextmanager
def private_instance(
    directory: Path,
    variables: Mapping[str, str] | None = None,
    *,
    workers: bool = True,
) -> Iterator[tuple[RestClient, RestClient]]:
    """Run the service on a free port with its data under `directory`.

    `variables` are what its models need, such as keys: it reads no `.env`
    but its own. Yields two clients of its interface: the administrator's,
    and that of the one client. The same directory again finds the same
    data. However this process ends, the service ends, too. Without
    `workers`, nothing that waits there goes on.

    Raises:
        CommandError: the service did not start; shows its log.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    directory = directory.absolute()
    ensure_secrets_file(directory / ".env")
    _wait_for_predecessor(directory)
    url = f"http://127.0.0.1:{_free_port()}"
    options = [] if workers else ["--no-workers"]
    process = _start(directory, url, variables or {}, options)
    try:
        _wait_until_ready(process, url, directory)
        secret = dotenv_values(directory / ".env")["ADMIN_API_KEY"] or ""
        with (
            RestClient(url, {"admin-api-key": secret}) as admin,
            RestClient(url, _client_headers(admin)) as client,
        ):
            yield admin, client
    finally:
        _stop(process)


def end_with_stdin() -> None:
    """End this process, a service, when the one that started it ends."""

    def wait() -> None:
        # A raw descriptor: a buffered stdin that is being read when the
        # interpreter ends is a fatal error.
        while os.read(0, 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="stdin-watch", daemon=True).start()


def _wait_for_predecessor(directory: Path) -> None:
    # A service whose command was killed needs a moment to end.
    try:
        with FileLock(directory / "metasync.lock", timeout=_STOP_SECONDS):
            return
    except Timeout:
        raise CommandError(
            f"Another process still uses {directory}: its number is in "
            "metasync.pid there. End it, and run this command again"
        ) from None


def _start(
    directory: Path,
    url: str,
    variables: Mapping[str, str],
    options: Sequence[str],
) -> subprocess.Popen[bytes]:
    with (directory / "server.log").open("ab") as log:
        return subprocess.Popen(  # noqa: S603 - our own program
            # -P: not from the working directory.
            [
                *(sys.executable, "-P", "-m", "cli"),
                *("serve", "--end-with-stdin", *options),
            ],
            # Its `.env` is its own: the one where the user stands may name
            # another database.
            cwd=directory,
            env=_environment(directory, url, variables),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            # Ctrl-C is this process's: it stops the service in its order.
            start_new_session=True,
        )


def _environment(
    directory: Path, url: str, variables: Mapping[str, str]
) -> dict[str, str]:
    secrets = dotenv_values(directory / ".env")
    paths = filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")])
    given = os.environ.get("NO_PROXY") or os.environ.get("no_proxy")
    no_proxy = ",".join(filter(None, [given, *LOOPBACK]))
    return {
        **os.environ,
        **{name: value for name, value in secrets.items() if value},
        "PYTHONPATH": os.pathsep.join(paths),
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
        "DATA_DIR": str(directory),
        "DB_CONNECTION_STRING": "",
        "DB_NAME": "metasync",
        "HOST": "127.0.0.1",
        "PORT": url.rpartition(":")[2],
        "NUM_LLM_WORKERS": "1",
        "LOG_FORMAT": "json",
        "STOP_GRACE_SECONDS": "3",
        **variables,
    }


def _wait_until_ready(
    process: subprocess.Popen[bytes], url: str, directory: Path
) -> None:
    deadline = time.monotonic() + _START_SECONDS
    with httpx2.Client(base_url=url, trust_env=False) as http:
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(httpx2.TransportError):
                if http.get("/health/ready").is_success:
                    return
            time.sleep(0.1)
    path = directory / "server.log"
    lines = path.read_text(errors="replace").splitlines()
    tail = "\n".join(lines[-_LOG_LINES_SHOWN:])
    raise CommandError(
        f"The private instance did not start. The end of {path}:\n{tail}"
    )


def _client_headers(admin: RestClient) -> dict[str, str]:
    for client in admin.pages("/clients"):
        if client["name"] == CLIENT_NAME:
            path = f"/clients/{client['clientId']}/rotate-key"
            return _headers(admin.post(path))
    return _headers(admin.post("/clients", {"name": CLIENT_NAME}))


def _headers(client: Mapping[str, str]) -> dict[str, str]:
    return {
        "client-id": client["clientId"],
        "client-api-key": client["api_key"],
    }


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    finally:
        cast("IO[bytes]", process.stdin).close()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
