"""Paid answers on disk, while the database is away.

Each process has a directory under `DATA_DIR/spool`, named after it and
locked by it; in it, each worker has one file of JSON lines. A directory
whose lock is free belongs to a dead process: another process stores its
results and need not wait for its leases to end.

What cannot be read is moved to `DATA_DIR/spool-unreadable`, so that it
neither gets lost nor stops anybody.
"""

import contextlib
import os
import secrets
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, astuple
from pathlib import Path

import structlog
from filelock import FileLock, Timeout

from api.models.charge import Bill, load_charges
from api.models.metrics import Metrics
from api.models.tried_models import Tried, Tries
from api.services.monitoring.collectors import SpoolSize
from api.services.queue.job_outcomes import Result
from api.services.queue.job_work import (
    CanceledJob,
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
from utilities.supervision import PartError

UNREADABLE = "spool-unreadable"

_KINDS: dict[str, type[Outcome]] = {
    kind.__name__: kind for kind in (Succeeded, Failed, Requeued, CanceledJob)
} | {"PutBack": Requeued}  # its name up to version 0.1

log = structlog.get_logger(__name__)


class SpoolFile:
    """One worker's results that could not be stored yet.

    Its methods block: call them outside of an event loop.
    """

    def __init__(self, path: Path, aside: Path | None = None) -> None:
        self._path = path
        self._aside = aside or path.parent / UNREADABLE
        # A write that was given up may still run in its thread.
        self._lock = threading.Lock()

    def write(self, results: Iterable[Result]) -> None:
        """Replace the file's content; on disk when this returns.

        Raises:
            OSError: the disk does not take it.
            ValueError: a result cannot be written as JSON.
        """
        lines = "".join(f"{encode(result)}\n" for result in results)
        temporary = self._path.with_suffix(".tmp")
        with self._lock:
            with temporary.open("w", encoding="utf-8") as file:
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
            _sync_directory(self._path.parent)

    def clear(self) -> None:
        """Remove the file; everything in it has been stored."""
        with self._lock:
            self._path.unlink(missing_ok=True)

    def keep_aside(self, results: Iterable[Result]) -> None:
        """Keep results that the database takes in no form.

        Raises:
            OSError: the disk does not take them.
        """
        append_lines(self._aside, self._path.stem, map(encode, results))


class Spool:
    """This process's directory, and the way to those of dead processes."""

    def __init__(self, data_dir: Path, process_id: str | None = None) -> None:
        self.process_id = process_id or new_process_id()
        self._data_dir = data_dir
        self._root = data_dir / "spool"
        self._own = self._root / self.process_id
        self._lock: FileLock | None = None
        self._guard = threading.Lock()
        # Directories that could be neither read nor moved.
        self._given_up: set[Path] = set()

    def open(self) -> None:
        """Make the directory and lock it; doing so twice is harmless.

        Raises:
            PartError: `DATA_DIR` cannot be written.
        """
        with self._guard, self._explained():
            while self._lock is None:
                self._own.mkdir(parents=True, mode=0o700, exist_ok=True)
                self._lock = _held(_lock_of(self._own))

    def check(self) -> None:
        """Make sure that answers could be written to disk now.

        Raises:
            PartError: `DATA_DIR` cannot be written.
        """
        self.open()
        with self._explained():
            descriptor, name = tempfile.mkstemp(dir=self._own, suffix=".tmp")
            try:
                os.write(descriptor, b"x")
            finally:
                os.close(descriptor)
                Path(name).unlink(missing_ok=True)

    def file(self, worker_id: str) -> SpoolFile:
        """Return a file of its own for a worker's thread."""
        self.open()
        name = f"{worker_id}-{secrets.token_hex(4)}.jsonl"
        return SpoolFile(self._own / name, self._data_dir / UNREADABLE)

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

        The caller stores them and then calls `discard`. A directory is
        locked until the next one is asked for. One that cannot be read is
        moved away.
        """
        for directory in sorted(self._root.glob("*/")):
            if directory == self._own or directory in self._given_up:
                continue
            if not (directory / "lock").exists():
                continue
            lock = self._locked(directory)
            if lock is None:
                continue
            with lock:
                results = self._read_safely(directory)
                if results is not None:
                    yield directory, results

    def discard(self, directory: Path) -> None:
        """Remove a recovered directory, whose results are stored."""
        shutil.rmtree(directory, ignore_errors=True)

    def close(self, *, keep: bool = False) -> None:
        """Give the lock back; remove the directory if nothing is in it.

        `keep` leaves it there: something may still be written to it.
        """
        with self._guard:
            if self._lock is None:
                return
            leftover = keep or any(self._own.glob("*.jsonl"))
            self._lock.release()
            self._lock = None
        if not leftover:
            shutil.rmtree(self._own, ignore_errors=True)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise PartError(
                f"DATA_DIR {self._data_dir} cannot be written "
                f"({error.strerror or type(error).__name__}): answers are "
                "kept there while the database is away. Make it writable, "
                "or set DATA_DIR to another directory."
            ) from error

    def _locked(
        self, directory: Path
    ) -> contextlib.AbstractContextManager[object] | None:
        try:
            return _lock_of(directory).acquire(blocking=False)
        except Timeout:
            return None  # its process lives
        except OSError as error:
            self._move_away(directory, error)
            return None

    def _read_safely(self, directory: Path) -> Sequence[Result] | None:
        try:
            return self._read(directory)
        except OSError as error:
            self._move_away(directory, error)
            return None

    def _read(self, directory: Path) -> Sequence[Result]:
        results, damaged = [], []
        for path in sorted(directory.glob("*.jsonl")):
            text = path.read_text(encoding="utf-8", errors="replace")
            # Not splitlines(): JSON may hold what other alphabets end
            # lines with.
            for line in filter(None, text.split("\n")):
                try:
                    results.append(decode(line))
                except ValueError:
                    damaged.append(line)
        if damaged:
            self._keep_damaged(directory.name, damaged)
        return results

    def _keep_damaged(self, process: str, lines: Sequence[str]) -> None:
        aside = self._data_dir / UNREADABLE
        if (aside / f"{process}.jsonl").exists():
            return  # it is read again, because its results were not stored
        path = append_lines(aside, process, lines)
        log.warning(
            "spool_lines_damaged",
            process=process,
            count=len(lines),
            keptIn=str(path),
        )

    def _move_away(self, directory: Path, error: OSError) -> None:
        target = self._data_dir / UNREADABLE
        try:
            target.mkdir(parents=True, mode=0o700, exist_ok=True)
            directory.rename(target / directory.name)
        except OSError:
            # Left where it is, for this process's lifetime.
            self._given_up.add(directory)
        log.error(
            "spool_directory_unreadable",
            directory=str(directory),
            error=error.strerror or type(error).__name__,
            keptIn=str(directory if directory in self._given_up else target),
        )


def append_lines(directory: Path, name: str, lines: Iterable[str]) -> Path:
    """Add lines to a file among what could not be read or stored.

    Raises:
        OSError: the disk does not take them.
    """
    directory.mkdir(parents=True, mode=0o700, exist_ok=True)
    path = directory / f"{name}.jsonl"
    with path.open("a", encoding="utf-8", errors="replace") as file:
        file.writelines(f"{line}\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())
    return path


def new_process_id() -> str:
    """Make a name for this process that no other one has."""
    return f"{socket.gethostname()}-{secrets.token_hex(6)}"


def encode(result: Result) -> str:
    """Turn a result into one line of JSON."""
    job, outcome = asdict(result.job), asdict(result.outcome)
    if not isinstance(result.outcome, Requeued):
        outcome["metrics"] = result.outcome.metrics.dump()
    else:
        outcome["checkpoint"] = dump_checkpoint(result.outcome.checkpoint)
    # A claimed job's own checkpoint has served its purpose.
    job |= {"job_id": str(result.job.job_id), "checkpoint": None}
    job["bill"] = {
        "charges": [astuple(charge) for charge in result.job.bill.charges],
        "spent": result.job.bill.spent,
    }
    job["tries"] = [
        each.model_dump(mode="json") for each in result.job.tries.made
    ]
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
        bill = job.get("bill") or {"charges": (), "spent": {}}
        job["bill"] = Bill(list(load_charges(bill["charges"])), bill["spent"])
        tries = job.get("tries") or ()
        job["tries"] = Tries([Tried.model_validate(each) for each in tries])
        if "metrics" in outcome:
            outcome["metrics"] = Metrics.load(outcome["metrics"])
        if "checkpoint" in outcome:
            outcome["checkpoint"] = load_checkpoint(outcome["checkpoint"])
        kind = _KINDS[fields["kind"]]
        return Result(ClaimedJob(**job), kind(**outcome))
    except (KeyError, TypeError, AttributeError, InvalidId) as error:
        raise ValueError(f"damaged spool line: {error}") from None


def _sync_directory(directory: Path) -> None:
    # Otherwise a power cut may undo the renaming of a file.
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
