"""Changes many jobs, or none: `PATCH /jobs/batch`.

A server without transactions changes documents one by one. So a batch is
written in two steps. First every job is *marked*, on the condition that it
is as it was when the change was checked; this changes nothing that a client
asked for. A waiting job also gets a lease of the batch and is PROCESSING,
so no worker claims it. If all jobs are marked, the changes are written.
Otherwise the marks are removed, and the few fields that were set with them
(`status` and lease) are restored. Nothing else was changed, so nothing else
can be lost.

The marks of a process that died expire after `MARK_SECONDS`, and a waiting
job returns to the queue like a job of a worker whose lease has expired.
"""

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from api.core.errors import ConflictError, RuleError
from api.models.job_status import ENDS, JobStatus
from api.services.shared import audit_trail
from api.services.shared.repository import REVISION, revision_of
from utilities.cosmos_connector import (
    Document,
    Documents,
    ObjectId,
    StoreError,
)
from utilities.slices import blocks, in_slices

MARK_SECONDS = 60
_MARK, _UNTIL = "batchMark", "batchHeldUntil"
_NO_MARKS: Document = {_MARK: None, _UNTIL: None}
# The condition that no batch has marked a job. (The stored name of `_UNTIL` is
# that of earlier versions, whose processes may run beside these.)
FREE: Document = {_MARK: None}
_LEASE = ("leaseToken", "leaseExpiresAt", "leaseProcess")
# What must be read of a job before it can be changed in a batch.
FIELDS = (
    *("clientId", "status", REVISION, "_metadata"),
    *("notBefore", "expiresAt", "priority", "serviceClass", "sequence"),
    *(*_LEASE, _MARK, _UNTIL),
)
# Updates of one message; encoding more would block the event loop.
_BLOCK = 500


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """A job as it was read (`FIELDS`), and the fields to be set."""

    before: Document
    changes: Document


def ending(planned: Iterable[PlannedChange]) -> list[Document]:
    """Give the jobs that the changes end."""
    return [
        each.before for each in planned if each.changes.get("status") in ENDS
    ]


def is_marked(job: Document, now: int) -> bool:
    """Tell whether a batch is changing the job just now."""
    return bool(job.get(_MARK)) and job.get(_UNTIL, 0) > now


class BatchChange:
    """One batch of planned changes, to be written once."""

    def __init__(
        self, documents: Documents, planned: Sequence[PlannedChange], now: int
    ) -> None:
        self._documents = documents
        self._planned = planned
        self._mark = str(ObjectId())
        self._until = now + MARK_SECONDS * 1000

    async def write(self) -> Sequence[ObjectId]:
        """Write every change, or none.

        Returns the jobs that a worker's late answer, or a deletion, has
        altered between the two steps; these are not changed.

        Raises:
            ConflictError: a job is no longer as it was read.
        """
        try:
            marked = await self._set_marks()
        except BaseException:
            with contextlib.suppress(StoreError):
                await self._release()
            raise
        if not marked:
            await self._release()
            raise ConflictError(
                "A job of the batch was changed or deleted at the same time; "
                "nothing was changed"
            )
        await self._update(self._applied)
        for each in self._planned[: audit_trail.MOST_CHANGES]:
            audit_trail.note_changed("Job", each.before, each.changes)
        more = self._planned[audit_trail.MOST_CHANGES :]
        ids = (each.before["_id"] for each in more)
        audit_trail.note_ids("Job", ids, len(more))
        return await self._still_marked()

    async def free(self, ids: Sequence[ObjectId]) -> None:
        """Remove the remaining marks."""
        where = {"_id": {"$in": list(ids)}, _MARK: self._mark}
        await self._documents.update_many(where, _NO_MARKS)

    async def _set_marks(self) -> bool:
        marked = await self._update(self._marking)
        if marked == len(self._planned):
            return True
        # Less may also be the count of a write that was repeated.
        return len(await self._still_marked()) == len(self._planned)

    async def _release(self) -> None:
        await self._update(self._released)
        # An answer that came meanwhile stays; only its mark goes.
        await self.free(await self._still_marked())

    async def _update(self, step: Any) -> int:  # noqa: ANN401 - one of the three below
        matched = 0
        for block in blocks(self._planned, _BLOCK):
            updates = await in_slices(step, block)
            matched += await self._documents.update_each(updates)
        return matched

    async def _still_marked(self) -> list[ObjectId]:
        found: list[Document] = []
        for block in blocks(self._planned, _BLOCK):
            ids = [each.before["_id"] for each in block]
            where = {"_id": {"$in": ids}, _MARK: self._mark}
            found += await self._documents.find(where, fields=["_id"])
        return [document["_id"] for document in found]

    def _marking(self, each: PlannedChange) -> tuple[Document, Document]:
        before = each.before
        seen = {
            "_id": before["_id"],
            "status": before["status"],
            "leaseToken": before.get("leaseToken"),
            REVISION: before.get(REVISION),
        }
        marks = {
            _MARK: self._mark,
            _UNTIL: self._until,
            REVISION: revision_of(before) + 1,
            **_untouched(before),
        }
        return seen, {**marks, **self._exclusive(each)}

    def _exclusive(self, each: PlannedChange) -> Document:
        """Give the fields that keep workers from claiming a job."""
        match each.before["status"], each.changes.get("status"):
            case JobStatus.PENDING, _:
                return {
                    "status": JobStatus.PROCESSING,
                    "leaseToken": self._mark,
                    "leaseExpiresAt": self._until,
                    # Otherwise it is returned if its last worker's process
                    # is found dead just now.
                    "leaseProcess": None,
                }
            case JobStatus.PROCESSING, str():
                # An answer that comes now is still taken.
                return {"status": JobStatus.ERROR_PROCESSING}
            case _:
                return {}

    def _applied(self, each: PlannedChange) -> tuple[Document, Document]:
        restored = self._restored(each)
        return self._as_marked(each), {**restored, **each.changes}

    def _released(self, each: PlannedChange) -> tuple[Document, Document]:
        restored = self._restored(each)
        return self._as_marked(each), {**restored, **_untouched(each.before)}

    def _as_marked(self, each: PlannedChange) -> Document:
        exclusive = self._exclusive(each)
        marked: Document = {
            "_id": each.before["_id"],
            "status": exclusive.get("status", each.before["status"]),
            _MARK: self._mark,
        }
        if "leaseToken" in exclusive:
            # A worker may have it, if the mark has expired.
            marked["leaseToken"] = self._mark
        return marked

    def _restored(self, each: PlannedChange) -> Document:
        set_by_mark = self._exclusive(each)
        return {
            **{name: each.before.get(name) for name in set_by_mark},
            **_NO_MARKS,
        }


def _untouched(before: Document) -> Document:
    """Keep the fields that say who changed a job, and when."""
    metadata = before["_metadata"]
    return {
        f"_metadata.{name}": metadata.get(name)
        for name in ("updatedAt", "updatedBy")
    }


def marked_too_long() -> ConflictError:
    """Give the error for a job that another batch does not let go."""
    return ConflictError(
        "A job of the batch is being changed by another batch; try again"
    )


def refuse_repeated(ids: Sequence[str]) -> None:
    """Check that a batch names each job once.

    Raises:
        RuleError: names the one that comes again.
    """
    seen: set[str] = set()
    for index, job_id in enumerate(ids):
        if job_id in seen:
            raise RuleError(
                f"batch item {index}: {job_id} is named a second time"
            )
        seen.add(job_id)
