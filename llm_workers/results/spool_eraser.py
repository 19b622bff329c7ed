"""Removes what erased clients have left in this disk's `DATA_DIR`.

What waits in the spool for the database is no business of ours: its jobs
are gone, so it is not taken, and its files go. What was kept aside for a
person to look at would stay.
"""

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path

import structlog

from api.services.keeping.erasure import ERASURES_CHANGED, ErasedClients
from llm_workers.results.spool import UNREADABLE
from utilities.cosmos_connector import StoreError
from utilities.signals import Signals
from utilities.tasks import Loop

_EVERY_SECONDS = 10.0

log = structlog.get_logger(__name__)


class SpoolEraser(Loop):
    """Looks for erasures, and cleans the disk once for each state of one."""

    name = "spool erasure"
    vital = False

    def __init__(
        self,
        data_dir: Path,
        erased: ErasedClients,
        signals: Signals,
        every_seconds: float = _EVERY_SECONDS,
    ) -> None:
        super().__init__()
        self._directory = data_dir / UNREADABLE
        self._erased = erased
        self._signals = signals
        self._every_seconds = every_seconds
        # By client, the state of its erasure after which it was done. When
        # an erasure is done, nothing can be added any more.
        self._cleaned: dict[str, str] = {}

    async def run(self) -> None:
        """Clean until stopped."""
        self.attach()
        self._signals.subscribe(ERASURES_CHANGED, self.wake_safely)
        try:
            while not self.stopping:
                await self._round()
                await self.pause(self._every_seconds)
        finally:
            self._signals.unsubscribe(ERASURES_CHANGED, self.wake_safely)

    async def _round(self) -> None:
        try:
            states = await self._erased.all()
            new = {
                client_id: state
                for client_id, state in states.items()
                if self._cleaned.get(client_id) != state
            }
            if not new:
                return
            await asyncio.to_thread(remove_lines, self._directory, new)
            for client_id in new.keys() - self._cleaned.keys():
                await self._erased.disk_cleaned(client_id)
            self._cleaned |= new
        except (StoreError, OSError) as error:
            log.warning("spool_not_cleaned", error=type(error).__name__)


def remove_lines(directory: Path, client_ids: Iterable[str]) -> None:
    """Remove every line that names one of the clients.

    A result's line has its client's id near its beginning, also where the
    rest of the line is damaged.

    Raises:
        OSError: a file cannot be read or replaced.
    """
    marks = [client_id.encode() for client_id in client_ids]
    for path in sorted(directory.rglob("*")):
        if path.is_file() and path.name != "lock":
            _clean(path, marks)


def _clean(path: Path, marks: Iterable[bytes]) -> None:
    marks = list(marks)
    lines = path.read_bytes().split(b"\n")
    kept = [line for line in lines if not any(m in line for m in marks)]
    if len(kept) == len(lines):
        return
    if not any(kept):
        path.unlink()
        return
    temporary = path.with_name(f"{path.name}.cleaned")
    with temporary.open("wb") as file:
        temporary.chmod(path.stat().st_mode)
        file.write(b"\n".join(kept))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
