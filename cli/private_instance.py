"""A whole Metasync of one's own, for one command: server and database."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx2
from dotenv import dotenv_values

from cli.errors import CommandError
from cli.rest_client import RestClient
from cli.secrets_file import ensure_secrets_file

_START_SECONDS = 60.0
_STOP_SECONDS = 20.0
_LOG_LINES_SHOWN = 15
CLIENT_NAME = "metasync-run"


@contextlib.contextmanager
def private_instance(
    directory: Path, variables: Mapping[str, str] | None = None
) -> Iterator[tuple[RestClient, RestClient]]:
    """Run the service on a free port with its data under `directory`.

    Yields two clients of its interface: the administrator's, and that of
    the one client. The same directory again finds the same data.

    Raises:
        CommandError: the service did not start; shows its log.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    ensure_secrets_file(directory / ".env")
    url = f"http://127.0.0.1:{_free_port()}"
    process = _start(directory, url, variables or {})
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


def _start(
    directory: Path, url: str, variables: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    environment = {
        # Ours come first; the model's key stays as the user set it.
        **os.environ,
        **{k: v for k, v in _own_secrets(directory).items() if v},
        "DATA_DIR": str(directory),
        "DB_CONNECTION_STRING": "",
        "HOST": "127.0.0.1",
        "PORT": url.rpartition(":")[2],
        "LOG_FORMAT": "json",
        "STOP_GRACE_SECONDS": "3",
        **variables,
    }
    with (directory / "server.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "cli", "serve"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Ctrl-C is ours: results are fetched before the server stops.
            start_new_session=True,
        )


def _own_secrets(directory: Path) -> Mapping[str, str | None]:
    return dotenv_values(directory / ".env")


def _wait_until_ready(
    process: subprocess.Popen[bytes], url: str, directory: Path
) -> None:
    deadline = time.monotonic() + _START_SECONDS
    with httpx2.Client(base_url=url) as http:
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(httpx2.TransportError):
                if http.get("/health/ready").is_success:
                    return
            time.sleep(0.1)
    log = (directory / "server.log").read_text(errors="replace")
    tail = "\n".join(log.splitlines()[-_LOG_LINES_SHOWN:])
    raise CommandError(f"The private server did not start:\n{tail}")


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


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
