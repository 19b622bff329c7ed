"""Stores a block of results and settles what their calls cost."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog

from api.models.charge import Charged, dump_charged, load_charged
from api.models.job_status import JobStatus
from api.services.queue.job_outcomes import Result
from api.services.queue.job_work import ClaimedJob
from api.services.shared.settlement import (
    CHARGED,
    POSTING_FIELDS,
    Block,
    Settles,
    new_charged,
    postings_of,
)
from utilities.cosmos_connector import (
    BulkWriteError,
    Document,
    Documents,
    StoreError,
)

# What tells whether a result that was not taken must be charged. Of
# `_metadata` all: for a path into it, some servers return a flat key.
_FIELDS = (
    *POSTING_FIELDS,
    "status",
    "startedAt",
    "leaseToken",
    "_metadata",
)

_ACTIVE = (JobStatus.PENDING, JobStatus.PROCESSING)

# Stores results; those with charges carry the block.
Write = Callable[[Sequence[Result], Block | None], Awaitable[int]]

log = structlog.get_logger(__name__)


def charged_text(job: ClaimedJob, block: Block) -> str:
    """Give the text of a job's charges with those of this try."""
    return dump_charged(job.charged, _charged(job, block))


def _charged(job: ClaimedJob, block: Block) -> Charged:
    return new_charged(
        job.lease_token, block, job.run_id, job.bill, job.process_id
    )


class Settling:
    """Puts a block of results and the ledger together."""

    def __init__(self, documents: Documents, ledger: Settles) -> None:
        self._documents = documents
        self._ledger = ledger

    async def store(self, results: Sequence[Result], write: Write) -> int:
        """Store results, and settle their charges.

        A result that is not taken was paid for as well: it is settled,
        unless another worker has the job and makes the same call.
        """
        charged = [each.job for each in results if each.job.bill]
        if not charged:
            return await write(results, None)
        block = await self._ledger.open(
            "jobs", [job.job_id for job in charged]
        )
        try:
            taken = await write(results, block)
        except BulkWriteError as error:
            # The others are stored. What was refused comes again.
            if error.details.get("writeErrors"):
                await self._settle(block, charged, is_final=False)
            raise
        if taken == len(results):
            postings = [
                one
                for job in charged
                for one in _charged(job, block).postings(
                    job.client_id, job.operation
                )
            ]
            await self._ledger.settle(block, postings)
        else:
            await self._settle(block, charged, is_final=True)
        return taken

    async def _settle(
        self, block: Block, jobs: Sequence[ClaimedJob], *, is_final: bool
    ) -> None:
        try:
            documents = await self._read(jobs)
            if is_final and await self._charge_untaken(block, jobs, documents):
                documents = await self._read(jobs)
        except StoreError as error:
            # The journal has the block; it is recovered.
            log.warning("block_not_settled", error=type(error).__name__)
            return
        postings = [
            one
            for document in documents.values()
            for one in postings_of(document, block.block_id)
        ]
        await self._ledger.settle(block, postings)

    async def _read(
        self, jobs: Sequence[ClaimedJob]
    ) -> dict[object, Document]:
        ids = [job.job_id for job in jobs]
        found = await self._documents.find_all(
            {"_id": {"$in": ids}}, fields=_FIELDS
        )
        return {document["_id"]: document for document in found}

    async def _charge_untaken(
        self,
        block: Block,
        jobs: Sequence[ClaimedJob],
        documents: dict[object, Document],
    ) -> int:
        updates: list[tuple[Document, Document]] = []
        for job in jobs:
            document = documents.get(job.job_id)
            if document is None or not _is_owed(job, document):
                continue
            before = document.get(CHARGED)
            new = _charged(job, block)
            where = {"_id": job.job_id, CHARGED: before}
            change = {"$set": {CHARGED: dump_charged(before, new)}}
            updates.append((where, change))
        return await self._documents.patch_each(updates) if updates else 0


def _is_owed(job: ClaimedJob, document: Document) -> bool:
    """Tell whether an attempt's charges belong to the ledger yet.

    They do not if they are there, or if another worker has, or had, the
    job: it makes the same call with the same key, which is charged once.
    """
    attempts = (each.attempt for each in load_charged(document.get(CHARGED)))
    if job.lease_token in attempts:
        return False
    metadata: dict[str, Any] = document.get("_metadata") or {}
    is_over = document.get("status") not in _ACTIVE or metadata.get(
        "isDeleted"
    )
    return (
        document.get("leaseToken") == job.lease_token
        or (document.get("startedAt") or 0) != job.started_at
        or (bool(is_over) and document.get(CHARGED) == job.charged)
    )
