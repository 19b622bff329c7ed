"""Counts of the queue's jobs, read from the database periodically."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import structlog

from api.models.job_status import JobStatus
from utilities.cosmos_connector import Document, Documents, StoreError

ACTIVE = (JobStatus.PENDING, JobStatus.PROCESSING)
ENDED = tuple(status for status in JobStatus if status not in ACTIVE)

T = TypeVar("T")
# By status, then by model or operation.
Counts = Mapping[tuple[str, str], int]

# A question may take this share of the database's time, and no more.
_SHARE = 20
_COUNT: Document = {"n": {"$sum": 1}}

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class JobCounts:
    """How many jobs there are; and since when (ms) a model's first waits."""

    by_model: Counts = field(default_factory=dict)
    by_operation: Counts = field(default_factory=dict)
    oldest: Mapping[str, int] = field(default_factory=dict)
    workers: Mapping[str, int] = field(default_factory=dict)


class Kept(Generic[T]):
    """The last answer to a costly question; asked anew when it is old.

    Asked only when somebody looks, by one at a time, and the more seldom
    the longer it takes.
    """

    def __init__(
        self,
        ask: Callable[[], Awaitable[T]],
        seconds: float,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self.value: T | None = None
        self._ask = ask
        self._seconds = seconds
        self._timer = timer
        self._due = 0.0
        self._answered = 0.0
        self._task: asyncio.Task[None] | None = None

    @property
    def age(self) -> float | None:
        """How old the answer is (s); None if there is none yet."""
        if self.value is None:
            return None
        return max(self._timer() - self._answered, 0.0)

    async def look(self, patience: float) -> None:
        """Have it asked if it is time; wait no longer than `patience`."""
        if self._task is None and self._timer() >= self._due:
            self._task = asyncio.create_task(self._refresh())
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=patience)

    async def _refresh(self) -> None:
        started = self._timer()
        try:
            self.value = await self._ask()
            self._answered = started
        except StoreError as error:
            # The known counts stay; their age shows that they are old.
            log.warning("queue_state_not_read", error=type(error).__name__)
        finally:
            now = self._timer()
            took = now - started
            self._due = now + max(self._seconds, took * _SHARE)
            self._task = None


class QueueState:
    """Counts jobs inside the database, one field at a time.

    Grouping by one field is what every server does fast; by two, the
    embedded one reads every document.
    """

    def __init__(self, documents: Callable[[str], Documents]) -> None:
        self._jobs = documents("jobs")
        self._workers = documents("workers")
        self._models = documents("models")

    async def active(self) -> JobCounts:
        """Count what waits and runs; few, whatever the queue has seen."""
        names = await self._names()
        counts = await self._counts(ACTIVE, names)
        return JobCounts(
            counts.by_model,
            counts.by_operation,
            await self._oldest(names),
            await self._running_workers(),
        )

    async def ended(self) -> JobCounts:
        """Count what has ended; all that the database keeps."""
        return await self._counts(ENDED, await self._names())

    async def _counts(
        self, statuses: tuple[JobStatus, ...], names: Mapping[str, str]
    ) -> JobCounts:
        by_model: dict[tuple[str, str], int] = {}
        by_operation: dict[tuple[str, str], int] = {}
        for status in statuses:
            for row in await self._grouped(status, "$model", _COUNT):
                key = str(status), names.get(row["_id"], row["_id"])
                by_model[key] = by_model.get(key, 0) + row["n"]
            for row in await self._grouped(status, "$operation", _COUNT):
                by_operation[str(status), row["_id"]] = row["n"]
        return JobCounts(by_model, by_operation)

    async def _oldest(self, names: Mapping[str, str]) -> dict[str, int]:
        rows = await self._grouped(
            JobStatus.PENDING, "$model", {"oldest": {"$min": "$startedAt"}}
        )
        oldest: dict[str, int] = {}
        for row in rows:
            name = names.get(row["_id"], row["_id"])
            if (since := row["oldest"]) is not None:
                oldest[name] = min(since, oldest.get(name, since))
        return oldest

    async def _running_workers(self) -> dict[str, int]:
        group = {"$group": {"_id": "$status", **_COUNT}}
        rows = await self._workers.aggregate({}, [group])
        return {row["_id"]: row["n"] for row in rows}

    async def _grouped(
        self, status: JobStatus, key: str, fields: Document
    ) -> list[Document]:
        # `$eq` spelled out: see `JobQueue`.
        where = {"status": {"$eq": status}}
        return await self._jobs.aggregate(
            where, [{"$group": {"_id": key, **fields}}]
        )

    async def _names(self) -> dict[str, str]:
        # Jobs name their model as their client spelt it: by name or by id.
        found = await self._models.find({}, fields=["name"])
        return {str(model["_id"]): model["name"] for model in found}
