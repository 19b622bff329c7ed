"""What keeps the service from starting is one line that says what to do."""

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.fork_server import MAIN_APP, fork_server
from tests.support.live_server import free_port
from tests.support.paths import ROOT

REQUIRED = {
    "ADMIN_API_KEY": "a",
    "API_KEY_PEPPER": "b",
    "DOCS_SECRET": "c",
    "LOG_FORMAT": "json",
}


def run(
    directory: Path, program: str, variables: Mapping[str, str]
) -> tuple[int, str]:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, str(ROOT / program)],
        cwd=directory,
        env={**environment, **variables},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    return ended.returncode, ended.stdout + ended.stderr


def forked(directory: Path, variables: Mapping[str, str]) -> tuple[int, str]:
    """Run `main_app.py` with what it imports imported already."""
    process = fork_server.start([MAIN_APP], variables, directory)
    output, _ = process.communicate(timeout=60)
    assert process.returncode is not None
    return process.returncode, output


def refused(directory: Path, program: str, **variables: str) -> str:
    status, output = run(directory, program, variables)
    return checked(status, output)


def main_app_refused(directory: Path, **variables: str) -> str:
    status, output = forked(directory, variables)
    return checked(status, output)


def checked(status: int, output: str) -> str:
    assert status == 1, output
    assert "Traceback" not in output
    assert output.count("\n") == 1, output
    return output


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        told = refused(tmp_path, "main_app.py", **REQUIRED, PORT=port)
    assert port in told
    assert "set PORT" in told


@pytest.mark.parametrize(
    "address", ["postgres://x", "mongodb://u:p@ss@host", "mongodb://h:port"]
)
def test_an_address_that_is_none(tmp_path: Path, address: str) -> None:
    told = main_app_refused(
        tmp_path, **REQUIRED, DB_CONNECTION_STRING=address, PORT="0"
    )
    assert "DB_CONNECTION_STRING" in told


def test_a_file_in_utf_16(tmp_path: Path) -> None:
    text = "".join(f"{name}={value}\n" for name, value in REQUIRED.items())
    (tmp_path / ".env").write_text(text, encoding="utf-16")
    assert "Save it as UTF-8" in main_app_refused(tmp_path)


def test_the_example_without_a_service(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    program = "examples/quickstart.py"
    told = refused(tmp_path, program, METASYNC_URL=url, ADMIN_API_KEY="x")
    assert "make run" in told
    assert "ADMIN_API_KEY" in refused(tmp_path, program, METASYNC_URL=url)


def test_ctrl_c_while_it_imports(tmp_path: Path) -> None:
    # Found before the real one; the signal comes in the middle of an import.
    (tmp_path / "uvloop.py").write_text(
        "import os, signal, time\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        "time.sleep(10)\n"
    )
    path = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    status, output = run(tmp_path, "main_app.py", {**REQUIRED, **path})
    assert status == 130
    assert output == ""
