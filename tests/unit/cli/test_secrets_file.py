import os
import stat
from pathlib import Path

import pytest
from dotenv import dotenv_values

from cli.errors import CommandError
from cli.secrets_file import ensure_secrets_file, missing_secrets
from config import Settings

SECRETS = ["ADMIN_API_KEY", "API_KEY_PEPPER", "DOCS_SECRET"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".env"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_only_its_owner_may_read_it(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        assert ensure_secrets_file(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_has_all_that_the_service_needs(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_secrets_file(path)
    for name in SECRETS:
        monkeypatch.delenv(name, raising=False)
    settings = Settings.load(path)
    assert len(settings.admin_api_key.get_secret_value()) == 64
    assert len(settings.api_key_pepper.get_secret_value()) == 64
    assert missing_secrets(path) == []


def test_secrets_are_fresh_and_different(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.env"
    ensure_secrets_file(path)
    ensure_secrets_file(other)
    values = [
        dotenv_values(p)[name] for p in (path, other) for name in SECRETS
    ]
    assert len(set(values)) == len(values)


@pytest.mark.parametrize("content", ["", "OPENAI_API_KEY=x\n"])
def test_never_overwrites(path: Path, content: str) -> None:
    path.write_text(content)
    path.chmod(0o640)
    assert not ensure_secrets_file(path)
    assert path.read_text() == content
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_never_writes_through_a_link(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    path.symlink_to(target)
    assert not ensure_secrets_file(path)
    assert not target.exists()


def test_names_what_a_file_lacks(path: Path) -> None:
    path.write_text("OPENAI_API_KEY=x\nADMIN_API_KEY=a\nDOCS_SECRET=\n")
    assert missing_secrets(path) == ["API_KEY_PEPPER", "DOCS_SECRET"]


def test_leaves_nothing_else_behind(path: Path) -> None:
    ensure_secrets_file(path)
    ensure_secrets_file(path)
    assert [p.name for p in path.parent.iterdir()] == [".env"]


def test_says_why_it_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="No such file or directory"):
        ensure_secrets_file(tmp_path / "no" / ".env")
