"""Connections that read a database while its one writer writes."""

import contextlib
import sqlite3
from collections.abc import Iterator
from queue import LifoQueue
from typing import Any

from neosqlite import Collection

# A summary of a million jobs takes seconds; others must not wait for it.
_MOST = 4
_TABLE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"


class Reader:
    """A connection of its own; for one thread at a time."""

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False
        )
        self._connection.execute("PRAGMA query_only = ON")

    def collection(self, name: str) -> Any | None:  # noqa: ANN401 - the package has no types
        """Return the package's view of a collection, if it is there."""
        if self._connection.execute(_TABLE, [name]).fetchone() is None:
            return None
        return Collection(self._connection, name, create=False)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class Readers:
    """A few readers of one database file, which is in WAL mode.

    Each query sees all that was committed before it began.
    """

    def __init__(self, path: str) -> None:
        self._path = path
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
                reader = Reader(self._path)
            yield reader
        finally:
            self._idle.put(reader)

    def close(self) -> None:
        """Close all of them; waits for those that are at work."""
        for _ in range(_MOST):
            if (reader := self._idle.get()) is not None:
                reader.close()
