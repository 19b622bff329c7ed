"""A consistent copy of the embedded database, also while it is in use."""

import contextlib
from pathlib import Path

from neosqlite._sqlite import sqlite3

from utilities.embedded.database import EmbeddedDatabaseError


def copy_databases(data_dir: Path, target: Path) -> None:
    """Copy a data directory's databases as they are in one moment each.

    Others go on reading and writing: the copy is one read transaction.

    Raises:
        EmbeddedDatabaseError: there is none, or it cannot be copied.
    """
    paths = sorted((data_dir / "db").glob("*.db"))
    if not paths:
        raise EmbeddedDatabaseError(
            f"There is no database in {data_dir}; check DATA_DIR"
        )
    directory = target / "db"
    directory.mkdir(parents=True, mode=0o700, exist_ok=True)
    for path in paths:
        try:
            _copy(path, directory / path.name)
        except sqlite3.Error as error:
            raise EmbeddedDatabaseError(
                f"{path} cannot be copied: {error}"
            ) from None


def _copy(path: Path, target: Path) -> None:
    source = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)
    with (
        contextlib.closing(source),
        contextlib.closing(sqlite3.connect(target)) as copy,
    ):
        # All pages in one step: in several, each write of others between
        # two of them would begin it anew.
        source.backup(copy, pages=-1)
