"""The audit's events on disk, until the database has them.

Each process appends to files of its own under `DATA_DIR/audit`, which it
locks. What was written survives the process, also `kill -9`; the next
process that starts on this directory stores what a dead one has left.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import structlog
from filelock import FileLock, Timeout

from api.services.access.audit.events import Event

# A database that is away for long must not fill the disk.
MOST_BYTES: Final = 64 * 1024 * 1024
_ENDING = ".jsonl"
_LOCK = ".lock"
_PRIVATE = 0o600

log = structlog.get_logger(__name__)


class Journal:
    """The files of this process; every call writes at once.

    A disk that is full, or missing, is logged once: events are then in
    memory only.
    """

    def __init__(self, directory: Path, process_id: str) -> None:
        self._directory = directory
        self._process_id = process_id
        self._lock = FileLock(directory / f"{process_id}{_LOCK}")
        self._number = 0
        self._file: int | None = None
        self._bytes = 0
        self._sizes: dict[Path, int] = {}
        self._path = self._path_of(0)
        self._has_failed = False

    def append(self, event: Event) -> None:
        """Write an event; it stays there until its segment is removed."""
        if self._has_failed or self._bytes >= MOST_BYTES:
            return
        try:
            if self._file is None:
                self._open()
            line = event.to_line()
            os.write(self._file or 0, line)
        except OSError as error:
            self._failed(error)
        else:
            self._bytes += len(line)
            self._sizes[self._path] = self._sizes.get(self._path, 0) + len(
                line
            )

    def next_segment(self) -> Path:
        """Begin a new file; return the one before."""
        path = self._path
        self._close_file()
        self._number += 1
        self._path = self._path_of(self._number)
        # The disk may be well again.
        self._has_failed = False
        return path

    def remove(self, segment: Path) -> None:
        """Forget a segment whose events are stored."""
        self._bytes -= self._sizes.pop(segment, 0)
        with contextlib.suppress(OSError):
            segment.unlink(missing_ok=True)

    def close(self) -> None:
        """Release the lock; what is left is the next process's."""
        self._close_file()
        self._lock.release()
        if not self._sizes:
            with contextlib.suppress(OSError):
                Path(self._lock.lock_file).unlink(missing_ok=True)

    def left_by_others(self) -> Iterator[tuple[Path, list[Event]]]:
        """Give the segments of dead processes, each with its events.

        A segment is removed when the caller asks for the next one.
        """
        for lock_path in sorted(self._directory.glob(f"*{_LOCK}")):
            owner = lock_path.name.removesuffix(_LOCK)
            if owner == self._process_id:
                continue
            lock = FileLock(lock_path)
            try:
                lock.acquire(timeout=0)
            except (Timeout, OSError):
                continue  # it is alive
            try:
                yield from self._segments_of(owner)
                lock_path.unlink(missing_ok=True)
            finally:
                lock.release()

    def _segments_of(self, owner: str) -> Iterator[tuple[Path, list[Event]]]:
        found = self._directory.glob(f"{owner}.*{_ENDING}")
        for path in sorted(found):
            yield path, read_events(path)
            path.unlink(missing_ok=True)

    def _path_of(self, number: int) -> Path:
        name = f"{self._process_id}.{number:012d}{_ENDING}"
        return self._directory / name

    def _open(self) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._lock.is_locked:
            self._lock.acquire(timeout=0)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        self._file = os.open(self._path, flags, _PRIVATE)

    def _close_file(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _failed(self, error: OSError) -> None:
        self._has_failed = True
        log.warning(
            "audit_journal_failed",
            error=type(error).__name__,
            advice="check the disk of DATA_DIR; until then, a crash loses "
            "the audit of its last second",
        )


def read_events(path: Path) -> list[Event]:
    """Read a segment; a line that was cut off is left out."""
    events = []
    for line in path.read_bytes().splitlines():
        try:
            events.append(Event.from_line(line))
        except (ValueError, TypeError, KeyError):
            log.warning("audit_line_unreadable", file=path.name)
    return events
