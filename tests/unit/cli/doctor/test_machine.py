import shutil
import socket
import stat
from collections import namedtuple
from importlib import metadata
from pathlib import Path

import pytest

from cli.doctor import machine
from cli.doctor.findings import Status

Usage = namedtuple("Usage", "total used free")  # noqa: PYI024 - as shutil's


def test_python_and_packages_of_this_environment() -> None:
    assert machine.check_python().status is Status.OK
    assert machine.check_packages().status is Status.OK


def test_packages_that_are_missing_or_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needs = [
        "openai[aiohttp]>=9999",
        "no-such-package>=1",
        "rich>=14",
        "xllamacpp>=9999; extra == 'local-llm'",
    ]
    monkeypatch.setattr(metadata, "requires", lambda _name: needs)
    finding = machine.check_packages()
    assert finding.status is Status.FAIL
    assert "is older than 9999" in finding.message
    assert "no-such-package is missing" in finding.message
    assert "rich" not in finding.message
    assert "xllamacpp" not in finding.message


@pytest.mark.parametrize(
    ("mode", "status"),
    [(0o600, Status.OK), (0o640, Status.WARN), (0o604, Status.WARN)],
)
def test_who_can_read_the_secrets(
    tmp_path: Path, mode: int, status: Status
) -> None:
    path = tmp_path / ".env"
    path.write_text("ADMIN_API_KEY=x\n")
    path.chmod(mode)
    finding = machine.check_env_file(path)
    assert finding.status is status
    assert (finding.remedy == f"chmod 600 {path}") == (status is Status.WARN)


def test_the_data_directory(tmp_path: Path) -> None:
    path = tmp_path / "data"
    new, _ = machine.check_data_dir(path)
    assert new.status is Status.OK
    assert not path.exists()
    path.mkdir()
    path.chmod(0o755)
    rights, space = machine.check_data_dir(path)
    assert (rights.status, space.check) == (Status.WARN, "disk")
    path.chmod(0o700)
    rights, _ = machine.check_data_dir(path)
    assert rights.status is Status.OK
    assert list(path.iterdir()) == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_data_directory_that_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_text("a file")
    rights, *_ = machine.check_data_dir(path)
    assert rights.status is Status.FAIL
    assert "DATA_DIR" in str(rights.remedy) or "Give it" in str(rights.remedy)


@pytest.mark.parametrize(
    ("free", "status"),
    [(10**12, Status.OK), (5 * 10**8, Status.WARN), (10**6, Status.FAIL)],
)
def test_space(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    free: int,
    status: Status,
) -> None:
    usage = Usage(10**13, 0, free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    *_, space = machine.check_data_dir(tmp_path)
    assert space.status is status


def test_the_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        taken = machine.check_own_port("127.0.0.1", port, ours=False)
        assert taken.status is Status.FAIL
        assert "already in use" in taken.message
        assert "PORT" in str(taken.remedy)
        ours = machine.check_own_port("127.0.0.1", port, ours=True)
        assert ours.status is Status.OK
