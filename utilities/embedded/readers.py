"""Connections that read a database while its one writer writes."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import LifoQueue
from typing import Any

from neosqlite import Collection

# The package's choice: two SQLite libraries in one process would not know
# of each other's locks.
from neosqlite._sqlite import sqlite3

# A summary of a million jobs takes seconds; others must not wait for it.
_MOST = 4
# While somebody always reads, the journal cannot begin anew.
_LONGEST_JOURNAL_BYTES = 64 * 1024 * 1024
_TABLE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"


class Reader:
    """A connection of its own; for one thread at a time."""

    def __init__(self, path: Path) -> None:
        # Not made anew, should somebody have dropped it.
        self._connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
        )
        self._connection.execute("PRAGMA query_only = ON")

    def collection(self, name: str) -> Any | None:  # noqa: ANN401 - the package has no types
        """Return the package's view of a collection, if it is there."""
        if self._connection.execute(_TABLE, [name]).fetchone() is None:
            return None
        return Collection(self._connection, name, create=False)

    def empty_journal(self) -> None:
        """Bring what the journal has into the database; cut it off."""
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class Readers:
    """A few readers of one database file, which is in WAL mode.

    Each query sees all that was committed before it began.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._journal = path.with_name(f"{path.name}-wal")
        self._all_wanted = threading.Lock()
        # None stands for a reader that is yet to be made.
        self._idle: LifoQueue[Reader | None] = LifoQueue()
        for _ in range(_MOST):
            self._idle.put(None)

    @contextlib.contextmanager
    def one(self) -> Iterator[Reader]:
        """Lend a reader; waits until there is one."""
        reader = self._idle.get()
        try:
            if reader is None:
                reader = Reader(self.path)
            yield reader
        finally:
            self._idle.put(reader)
        self._keep_journal_short()

    def empty_journal(self) -> None:
        """Empty the journal now; waits for reads that are under way."""
        with self._all_wanted:
            readers = self._take_all()
            try:
                reader = next(filter(None, readers), None)
                if reader is None:
                    reader = readers[0] = Reader(self.path)
                with contextlib.suppress(sqlite3.Error):
                    reader.empty_journal()
            finally:
                for each in readers:
                    self._idle.put(each)

    def close(self) -> None:
        """Close all of them; waits for those that are at work."""
        with self._all_wanted:
            for reader in self._take_all():
                if reader is not None:
                    reader.close()
                self._idle.put(None)

    def _keep_journal_short(self) -> None:
        try:
            length = self._journal.stat().st_size
        except FileNotFoundError:
            return
        if length < _LONGEST_JOURNAL_BYTES:
            return
        # One thread does it; it has no reader while it waits for them.
        if not self._all_wanted.acquire(blocking=False):
            return
        try:
            readers = self._take_all()
            try:
                # It does no harm if it cannot be done now.
                with contextlib.suppress(sqlite3.Error):
                    next(filter(None, readers)).empty_journal()
            finally:
                for reader in readers:
                    self._idle.put(reader)
        finally:
            self._all_wanted.release()

    def _take_all(self) -> list[Reader | None]:
        return [self._idle.get() for _ in range(_MOST)]
