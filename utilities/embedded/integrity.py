"""Whether the embedded database's files can be used, before they are.

`python -m utilities.embedded.integrity DATA_DIR` checks all of every file,
however long it takes; stop Metasync first.
"""

import contextlib
import errno
import os
import sys
import time
from pathlib import Path

from neosqlite._sqlite import sqlite3

# The check of a large file ends after this time, without a result.
CHECK_SECONDS = 5.0
# SQLite can be stopped between its instructions, of which one reads a
# whole table: what is larger than this is not begun.
_BYTES_A_SECOND = 100_000_000
_STEPS = 1000
_PROBE_BYTES = 64 * 1024


class UnusableDatabaseError(Exception):
    """The database's files cannot be used; says which, and what to do."""


class DamagedDatabaseError(UnusableDatabaseError):
    """A file in the data directory is not a whole database."""

    def __init__(self, path: Path, reason: object) -> None:
        super().__init__(
            f"{path} is not a readable database ({reason}). If it is "
            f"damaged, put a backup in its place, or move it away with its "
            f"-wal, -shm and .known files to start empty."
        )


def check_databases(
    directory: Path, seconds: float | None = CHECK_SECONDS
) -> list[Path]:
    """Check every database; this also replays its journal.

    `seconds` bounds the check of each file; None: no bound. Returns the
    files whose check did not end in time.

    Raises:
        DamagedDatabaseError: names the first file that is damaged.
    """
    for marker in sorted(directory.glob("*.known")):
        path = marker.with_suffix(".db")
        if not path.exists():
            raise DamagedDatabaseError(path, "the file is missing")
        if path.stat().st_size == 0:
            raise DamagedDatabaseError(path, "the file is empty")
    paths = sorted(directory.glob("*.db"))
    return [path for path in paths if not _is_checked(path, seconds)]


def check_writable(directory: Path) -> None:
    """Write a little into a directory, and remove it.

    Raises:
        UnusableDatabaseError: the directory is read-only, or the disk full.
    """
    probe = directory / f"probe-{os.getpid()}"
    try:
        try:
            with probe.open("wb") as file:
                file.write(bytes(_PROBE_BYTES))
                file.flush()
                os.fsync(file.fileno())
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise UnusableDatabaseError(_why_not(directory, error)) from None


def remember(path: Path) -> None:
    """Note that a database file has something in it from now on."""
    marker = path.with_suffix(".known")
    if not marker.exists():
        marker.touch(mode=0o600)


def forget(path: Path) -> None:
    """Note that a database file is gone on purpose."""
    path.with_suffix(".known").unlink(missing_ok=True)


def _is_checked(path: Path, seconds: float | None) -> bool:
    journal = path.with_name(f"{path.name}-wal")
    if path.stat().st_size == 0 and _size(journal):
        # SQLite would take the file for a new one and drop the journal.
        raise DamagedDatabaseError(path, "the file is empty")
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master")
            return _quick_check(path, connection, seconds)
    except sqlite3.DatabaseError as error:
        if _is_environments_fault(error):
            raise UnusableDatabaseError(
                f"{path} cannot be opened: {error}. Check that the disk has "
                f"room and that this user can write to the file."
            ) from None
        raise DamagedDatabaseError(path, error) from None


def _quick_check(
    path: Path, connection: sqlite3.Connection, seconds: float | None
) -> bool:
    if seconds is not None:
        if path.stat().st_size > seconds * _BYTES_A_SECOND:
            return False
        deadline = time.monotonic() + seconds
        connection.set_progress_handler(
            lambda: time.monotonic() > deadline, _STEPS
        )
    try:
        rows = connection.execute("PRAGMA quick_check(1)").fetchall()
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            return False
        raise
    if rows != [("ok",)]:
        raise DamagedDatabaseError(path, str(rows[0][0]).splitlines()[-1])
    return True


def _is_environments_fault(error: sqlite3.DatabaseError) -> bool:
    words = ("full", "readonly", "unable to open", "disk I/O", "locked")
    return any(word in str(error) for word in words)


def _size(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def _why_not(directory: Path, error: OSError) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return (
            f"There is no space left for {directory} ({error.strerror}). Free "
            f"some space, or choose a DATA_DIR on another disk."
        )
    return (
        f"{directory} cannot be written to ({error.strerror}). Choose a "
        f"DATA_DIR that this user can write to."
    )


def main(arguments: list[str]) -> int:
    """Check a data directory; return the exit status."""
    try:
        check_databases(Path(arguments[0]) / "db", seconds=None)
    except UnusableDatabaseError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write("No damage was found.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
