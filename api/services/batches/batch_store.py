"""Batches as they are stored, and what becomes of them step by step."""

from collections.abc import Mapping, Sequence

import structlog

from api.models.batch_models import (
    NEXT,
    OPEN,
    Batch,
    BatchStatus,
    Vendor,
)
from api.models.job_status import JobStatus
from api.services.batches.line_jobs import LINE_FIELDS, batch_key, line_id
from api.services.shared.endings import EndingKind, Endings
from utilities.clock import Clock, now_ms
from utilities.cosmos_connector import (
    BulkWriteError,
    Document,
    Documents,
    ObjectId,
    is_transient,
)
from utilities.signals import WORKERS_CHANGED, Signals

# There is a new batch, or one is cancelled.
BATCHES_CHANGED = "batches"
# Another process goes on with a batch whose process was killed.
TAKEN_SECONDS = 10.0
_TIME_OF: Mapping[BatchStatus, str] = {
    each: f"{each.split('_')[0]}At" for each in BatchStatus
} | {BatchStatus.IN_PROGRESS: "inProgressAt"}
_ENDED_WELL = (
    JobStatus.PROCESSED,
    JobStatus.CONSUMED,
    JobStatus.ERROR_CONSUMING,
)
_GOING_ON = (JobStatus.PENDING, JobStatus.PROCESSING)
_INSERTED_AT_ONCE = 500

log = structlog.get_logger(__name__)


class BatchStore:
    """The queries of batches and of the jobs that are their lines."""

    def __init__(
        self,
        batches: Documents,
        jobs: Documents,
        signals: Signals,
        endings: Endings,
        clock: Clock = now_ms,
    ) -> None:
        self.documents = batches
        self._jobs = jobs
        self._signals = signals
        self._endings = endings
        self._clock = clock

    async def add(self, document: Document) -> Batch:
        """Store a new batch."""
        stored = await self.documents.insert(document)
        self._signals.publish(BATCHES_CHANGED)
        return Batch.from_document(stored)

    async def get(self, batch_id: str) -> Batch | None:
        """Return a batch, whoever has it."""
        return _read(
            await self.documents.find_one({"_id": ObjectId(batch_id)})
        )

    async def move(
        self, batch: Batch, to: BatchStatus, **changes: object
    ) -> Batch | None:
        """Change a batch's status, if it is still the one that was read.

        Whoever wants to know of its end is told. Returns the batch as it is
        then, or None.
        """
        assert to in NEXT[batch.status]  # noqa: S101 - the table of statuses
        if to not in OPEN:
            ending = [(batch.client_id, ObjectId(batch.batch_id))]
            await self._endings.expect(EndingKind.BATCH, ending)
        where = {"_id": ObjectId(batch.batch_id), "status": batch.status}
        times = {"status": to, _TIME_OF[to]: self._clock()}
        moved = await self.documents.update(where, {**times, **changes})
        self._signals.publish(BATCHES_CHANGED)
        self._signals.publish(WORKERS_CHANGED)
        return _read(moved)

    async def change(self, batch: Batch, **changes: object) -> None:
        """Set fields of a batch, if it has the status that was read."""
        where = {"_id": ObjectId(batch.batch_id), "status": batch.status}
        await self.documents.patch(where, {"$set": changes})

    async def open(self) -> list[Batch]:
        """Return the batches that have not ended."""
        where = {"status": {"$in": list(OPEN)}}
        found = await self.documents.find(where, sort=[("sequence", 1)])
        batches: list[Batch] = []
        for document in found:
            try:
                batches.append(Batch.from_document(document))
            except ValueError:
                # It harms only itself.
                log.exception(
                    "batch_document_broken", batchId=str(document["_id"])
                )
        return batches

    async def take(self, batch: Batch, process_id: str) -> Batch | None:
        """Have a batch for `TAKEN_SECONDS`, if no other process has it."""
        now = self._clock()
        if batch.taken_until > now and batch.taken_by != process_id:
            return None
        where = {
            "_id": ObjectId(batch.batch_id),
            "takenUntil": batch.taken_until,
            "status": batch.status,
        }
        until = now + round(TAKEN_SECONDS * 1000)
        taken = {"takenBy": process_id, "takenUntil": until}
        if not await self.documents.patch(where, {"$set": taken}):
            return None
        return batch.model_copy(
            update={"taken_by": process_id, "taken_until": until}
        )

    async def keep(self, batch: Batch, process_id: str) -> bool:
        """Have it for longer; False if another process has it by now."""
        until = self._clock() + round(TAKEN_SECONDS * 1000)
        return bool(
            await self.documents.patch(
                {"_id": ObjectId(batch.batch_id), "takenBy": process_id},
                {"$set": {"takenUntil": until}},
            )
        )

    async def insert_lines(self, documents: Sequence[Document]) -> None:
        """Store lines as jobs; those that are there stay as they are.

        A line that the server refuses, for its size say, becomes no job:
        its result says so.
        """
        for start in range(0, len(documents), _INSERTED_AT_ONCE):
            block = documents[start : start + _INSERTED_AT_ONCE]
            try:
                await self._jobs.insert_many(block)
            except BulkWriteError as error:
                if is_transient(error):
                    raise
                log.warning("batch_lines_refused", batchKey=_key_of(block))

    async def statuses(self, batch: Batch) -> Mapping[JobStatus, int]:
        """Count a batch's jobs by status."""
        rows = await self._jobs.aggregate(
            {"batchKey": batch_key(batch)},
            [{"$group": {"_id": "$status", "n": {"$sum": 1}}}],
        )
        return {JobStatus(row["_id"]): int(row["n"]) for row in rows}

    async def lines(
        self, batch: Batch, numbers: Sequence[int]
    ) -> Mapping[ObjectId, Document]:
        """Return jobs of lines by their ids, also those that were deleted."""
        ids = [line_id(batch.batch_id, number) for number in numbers]
        found = await self._jobs.find_all({"_id": {"$in": ids}}, LINE_FIELDS)
        return {each["_id"]: each for each in found}

    async def clients_at_work(self) -> set[str]:
        """Return the clients that have lines to be worked on."""
        where = {"status": {"$eq": BatchStatus.IN_PROGRESS}}
        found = await self.documents.find(where, fields=["clientId"])
        return {each["clientId"] for each in found}

    async def files_in_use(self) -> set[str]:
        """Return the files that batches still read."""
        where = {"status": {"$in": list(OPEN)}}
        found = await self.documents.find(where, fields=["inputFileId"])
        return {each["inputFileId"] for each in found}

    async def erase(self, batch: Batch) -> None:
        """Remove a batch, and its jobs, for good."""
        where = {"batchKey": batch_key(batch), "clientId": batch.client_id}
        while await self._jobs.erase_some(where, _INSERTED_AT_ONCE):
            pass
        await self.documents.erase({"_id": ObjectId(batch.batch_id)})


def _key_of(lines: Sequence[Document]) -> str:
    return str(lines[0].get("batchKey"))


def ended_well(counts: Mapping[JobStatus, int]) -> int:
    """Return how many have an answer."""
    return sum(counts.get(each, 0) for each in _ENDED_WELL)


def going_on(counts: Mapping[JobStatus, int]) -> int:
    """Return how many wait or run."""
    return sum(counts.get(each, 0) for each in _GOING_ON)


def new_document(
    client_id: str,
    vendor: Vendor,
    interface: str,
    input_file_id: str,
    now: int,
    sequence: int,
    window_seconds: int,
) -> Document:
    """Give the document of a new batch."""
    return {
        "_id": ObjectId(),
        "clientId": client_id,
        "vendor": vendor,
        "interface": interface,
        "status": BatchStatus.VALIDATING,
        "inputFileId": input_file_id,
        "madeAt": now,
        "sequence": sequence,
        "expiresAt": now + window_seconds * 1000,
        "takenUntil": 0,
    }


def _read(document: Document | None) -> Batch | None:
    return None if document is None else Batch.from_document(document)
