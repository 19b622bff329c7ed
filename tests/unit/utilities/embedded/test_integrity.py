import errno
import os
from contextlib import closing
from pathlib import Path

import pytest
from neosqlite._sqlite import sqlite3

from utilities.embedded import integrity
from utilities.embedded.integrity import (
    DamagedDatabaseError,
    UnusableDatabaseError,
    check_databases,
    check_writable,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (data)")
        rows = [("x" * 1000,) for _ in range(2000)]
        connection.executemany("INSERT INTO t VALUES (?)", rows)
        connection.commit()
    return path


def test_a_whole_file_is_accepted(path: Path) -> None:
    assert check_databases(path.parent) == []
    assert check_databases(path.parent, seconds=None) == []


def test_nothing_is_a_fresh_start(tmp_path: Path) -> None:
    assert check_databases(tmp_path) == []


def test_a_check_that_takes_long_is_given_up(path: Path) -> None:
    assert check_databases(path.parent, seconds=-1) == [path]


def test_an_empty_file_without_a_trace_of_content_is_a_fresh_start(
    tmp_path: Path,
) -> None:
    (tmp_path / "app.db").touch()
    assert check_databases(tmp_path) == []


def test_an_empty_file_with_a_journal_is_damage(tmp_path: Path) -> None:
    """SQLite would take it for a new database and drop the journal."""
    (tmp_path / "app.db").touch()
    journal = tmp_path / "app.db-wal"
    journal.write_bytes(b"what was written last")
    with pytest.raises(DamagedDatabaseError, match="empty"):
        check_databases(tmp_path)
    assert journal.read_bytes() == b"what was written last"


def test_an_emptied_file_is_damage_once_it_had_content(path: Path) -> None:
    integrity.remember(path)
    path.write_bytes(b"")
    with pytest.raises(DamagedDatabaseError, match="put a backup"):
        check_databases(path.parent)
    path.unlink()
    with pytest.raises(DamagedDatabaseError, match="missing"):
        check_databases(path.parent)
    integrity.forget(path)
    assert check_databases(path.parent) == []


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "no space left"), (errno.EROFS, "cannot be written to")],
)
def test_a_directory_that_takes_nothing_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def refuse(_descriptor: int) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(UnusableDatabaseError, match=words) as told:
        check_writable(tmp_path)
    assert "DATA_DIR" in str(told.value)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_no_damage(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(integrity, "_quick_check", refuse)
    with pytest.raises(UnusableDatabaseError, match="disk has room") as told:
        check_databases(path.parent)
    assert not isinstance(told.value, DamagedDatabaseError)


def test_the_command_checks_everything(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "data" / "db"
    directory.mkdir(parents=True)
    path.rename(directory / "app.db")
    assert integrity.main([str(tmp_path / "data")]) == 0
    (directory / "app.db").write_bytes(b"damaged" * 1000)
    assert integrity.main([str(tmp_path / "data")]) == 1
    assert "not a readable database" in capsys.readouterr().err
