"""Paid answers on disk, while the database is away.

Each process has a directory under `DATA_DIR/spool`, named after it and
held by a lock; in it, each worker has one file of JSON lines. Who finds a
directory whose lock is free knows that its process is dead: it stores
what it finds there and need not wait for that process's leases to end.
"""

import contextlib
import os
import secrets
import shutil
import socket
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import structlog
from filelock import FileLock, Timeout

from api.models.metrics import Metrics
from api.services.monitoring.collectors import SpoolSize
from api.services.queue.job_outcomes import Result
from api.services.queue.job_work import (
    ClaimedJob,
    Failed,
    Outcome,
    Requeued,
    Succeeded,
    dump_checkpoint,
    load_checkpoint,
)
from utilities import payload
from utilities.cosmos_connector import InvalidId, ObjectId

_KINDS: dict[str, type[Outcome]] = {
    kind.__name__: kind for kind in (Succeeded, Failed, Requeued)
} | {"PutBack": Requeued}  # its name up to version 0.1

log = structlog.get_logger(__name__)


class SpoolFile:
    """One worker's results that could not be stored yet."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, results: Iterable[Result]) -> None:
        """Replace the file's content; on disk when this returns."""
        lines = "".join(f"{encode(result)}\n" for result in results)
        temporary = self._path.with_suffix(".tmp")
        with temporary.open("w", encoding="utf-8") as file:
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)

    def clear(self) -> None:
        """Remove the file; everything in it has been stored."""
        self._path.unlink(missing_ok=True)


class Spool:
    """This process's directory, and the way to those of dead processes."""

    def __init__(self, data_dir: Path) -> None:
        self.process_id = f"{socket.gethostname()}-{secrets.token_hex(6)}"
        self._root = data_dir / "spool"
        self._own = self._root / self.process_id
        self._lock: FileLock | None = None
        self._guard = threading.Lock()

    def open(self) -> None:
        """Make the directory and hold it; doing so twice is harmless."""
        with self._guard:
            while self._lock is None:
                self._own.mkdir(parents=True, mode=0o700, exist_ok=True)
                self._lock = _held(_lock_of(self._own))

    def file(self, worker_id: str) -> SpoolFile:
        """Return a file of its own for a worker's thread."""
        self.open()
        name = f"{worker_id}-{secrets.token_hex(4)}.jsonl"
        return SpoolFile(self._own / name)

    def size(self) -> SpoolSize:
        """Tell how much of this process waits on disk."""
        sizes = []
        for path in self._own.glob("*.jsonl"):
            # One that is stored meanwhile is gone.
            with contextlib.suppress(OSError):
                sizes.append(path.stat().st_size)
        return SpoolSize(len(sizes), sum(sizes))

    def recover(self) -> Iterator[tuple[Path, Sequence[Result]]]:
        """Yield the directories of dead processes with their results.

        The caller stores them and then calls `discard`.
        """
        for directory in sorted(self._root.glob("*/")):
            if directory == self._own or not (directory / "lock").exists():
                continue
            try:
                with _lock_of(directory).acquire(blocking=False):
                    yield directory, list(_read(directory))
            except Timeout:
                continue

    def discard(self, directory: Path) -> None:
        """Remove an adopted directory, whose results are stored."""
        shutil.rmtree(directory, ignore_errors=True)

    def close(self) -> None:
        """Give the lock back; remove the directory if nothing is in it."""
        with self._guard:
            if self._lock is None:
                return
            leftover = any(self._own.glob("*.jsonl"))
            self._lock.release()
            self._lock = None
        if not leftover:
            shutil.rmtree(self._own, ignore_errors=True)


def encode(result: Result) -> str:
    """Turn a result into one line of JSON."""
    job, outcome = asdict(result.job), asdict(result.outcome)
    if not isinstance(result.outcome, Requeued):
        outcome["metrics"] = result.outcome.metrics.dump()
    else:
        outcome["checkpoint"] = dump_checkpoint(result.outcome.checkpoint)
    # A claimed job's own checkpoint has served its purpose.
    job |= {"job_id": str(result.job.job_id), "checkpoint": None}
    kind = type(result.outcome).__name__
    return payload.dump({"job": job, "kind": kind, "outcome": outcome})


def decode(line: str) -> Result:
    """Turn a line back into the result it was.

    Raises:
        ValueError: the line is damaged.
    """
    try:
        fields = payload.load(line)
        job, outcome = fields["job"], fields["outcome"]
        job["job_id"] = ObjectId(job["job_id"])
        job["working_prompts"] = tuple(job["working_prompts"])
        if "metrics" in outcome:
            outcome["metrics"] = Metrics.load(outcome["metrics"])
        if "checkpoint" in outcome:
            outcome["checkpoint"] = load_checkpoint(outcome["checkpoint"])
        kind = _KINDS[fields["kind"]]
        return Result(ClaimedJob(**job), kind(**outcome))
    except (KeyError, TypeError, InvalidId) as error:
        raise ValueError(f"damaged spool line: {error}") from None


def _read(directory: Path) -> Iterator[Result]:
    for path in sorted(directory.glob("*.jsonl")):
        text = path.read_text(encoding="utf-8", errors="replace")
        # Not splitlines(): JSON may hold what other alphabets end lines with.
        for line in filter(None, text.split("\n")):
            try:
                yield decode(line)
            except ValueError:
                log.warning("spool_line_damaged", file=path.name)


def _held(lock: FileLock) -> FileLock | None:
    """Acquire a lock; None if its directory was discarded meanwhile."""
    try:
        lock.acquire()
    except FileNotFoundError:
        return None
    if Path(lock.lock_file).exists():
        return lock
    lock.release()
    return None


def _lock_of(directory: Path) -> FileLock:
    return FileLock(directory / "lock", thread_local=False)
