"""Cancel, or retry, all jobs that match a filter.

Jobs are changed slice by slice, each on the condition that it is as it was
read. A request that takes too long ends early; repeated, it goes on with
what is left.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from api.core.errors import RuleError
from api.models.job_bulk_models import (
    JobBulkChange,
    JobBulkFilter,
    JobBulkResult,
)
from api.models.job_status import CANCELABLE, ENDS, JobStatus, allowed_targets
from api.models.job_update_models import JobUpdate
from api.services.jobs import batch_change, job_documents
from api.services.jobs.job_documents import Current
from api.services.jobs.job_filter import JobFilter
from api.services.queue.cancellations import Cancellations
from api.services.queue.job_work import RUN_OPERATIONS
from api.services.queue.queue_order import Aging
from api.services.shared.audit_trail import note_ids
from api.services.shared.caller import Caller
from api.services.shared.date_range import read_range
from api.services.shared.endings import NO_ENDINGS, Endings
from api.services.shared.paging import PageRequest, fetch_page
from api.services.shared.repository import REVISION, revision_of
from utilities.clock import Clock, now_ms
from utilities.cosmos_connector import Document, Documents, Filter
from utilities.signals import JOBS_ENDED, RUNS_CHANGED, Signals, jobs_waiting

# Documents of one slice; the event loop and other writers are not kept.
_SLICE = 500
# A proxy in between may give up on a request that takes a minute.
_LONGEST_SECONDS = 25.0
# Jobs that start or are requeued meanwhile are looked for again.
_CANCEL_ROUNDS = 3
_FIELDS = (*batch_change.FIELDS, "operation")
_RETRY = JobUpdate(status=JobStatus.PENDING)


@dataclass(frozen=True, slots=True)
class _Work:
    """What is done with the jobs of some statuses."""

    where: Filter
    statuses: Sequence[JobStatus]
    change: Callable[[Document], Document]
    rounds: int
    # The latest time at which a slice is begun.
    ends: float


class JobBulk:
    """Changes many jobs; not all or nothing, but safe to repeat."""

    def __init__(
        self,
        documents: Documents,
        cancellations: Cancellations,
        signals: Signals,
        clock: Clock = now_ms,
        longest_seconds: float = _LONGEST_SECONDS,
        *,
        endings: Endings = NO_ENDINGS,
        aging: Aging | None = None,
    ) -> None:
        self._aging = aging or Aging()
        self._endings = endings
        self._documents = documents
        self._cancellations = cancellations
        self._signals = signals
        self._clock = clock
        self._longest_seconds = longest_seconds

    async def cancel(
        self, request: JobBulkChange, caller: Caller
    ) -> JobBulkResult:
        """Cancel those that wait or run.

        Raises:
            RuleError: the filter has a status that is never canceled.
        """
        now = self._clock()

        def change(job: Document) -> Document:
            return job_documents.canceled(JobStatus(job["status"]), now)

        return await self._run(
            request, caller, CANCELABLE, change, _CANCEL_ROUNDS
        )

    async def retry(
        self, request: JobBulkChange, caller: Caller
    ) -> JobBulkResult:
        """Set those that have failed to PENDING.

        An administrator also those that were canceled, if the filter says
        so.

        Raises:
            RuleError: the filter has a status that cannot be retried.
        """
        now = self._clock()
        allowed = [
            status
            for status in JobStatus
            if JobStatus.PENDING in allowed_targets(status, caller.actor)
        ]
        if request.filter.status is None:
            allowed = [JobStatus.ERROR_PROCESSING]

        def change(job: Document) -> Document:
            return job_documents.changed(
                Current.of_document(job), _RETRY, now, self._aging
            )

        return await self._run(request, caller, allowed, change, 1)

    async def _run(
        self,
        request: JobBulkChange,
        caller: Caller,
        allowed: Sequence[JobStatus],
        change: Callable[[Document], Document],
        rounds: int,
    ) -> JobBulkResult:
        statuses = _statuses(request.filter.status, allowed)
        where = {**caller.own, **_read(request.filter).to_query()}
        where.pop("status", None)
        ends = time.monotonic() + self._longest_seconds
        work = _Work(where, statuses, change, rounds, ends)
        matched = await self._count(work)
        changed = 0 if request.dry_run else await self._change(work)
        return JobBulkResult(matched=max(matched, changed), changed=changed)

    async def _count(self, work: _Work) -> int:
        group = {"$group": {"_id": "$status", "n": {"$sum": 1}}}
        rows = [
            row
            for status in work.statuses
            for row in await self._documents.aggregate(
                {**work.where, "status": {"$eq": status}}, [group]
            )
        ]
        return sum(int(row["n"]) for row in rows)

    async def _change(self, work: _Work) -> int:
        changed = 0
        for _ in range(work.rounds):
            found = 0
            for status in work.statuses:
                found += await self._change_all(work, status)
            changed += found
            if not found:
                break
        return changed

    async def _change_all(self, work: _Work, status: JobStatus) -> int:
        where = {**work.where, "status": {"$eq": status}}
        cursor, changed, first = None, 0, True
        while (first or cursor) and time.monotonic() < work.ends:
            page = await fetch_page(
                self._documents,
                where,
                PageRequest(_SLICE, cursor),
                dict,
                order="sequence",
                fields=_FIELDS,
            )
            changed += await self._change_slice(work, page.items)
            cursor, first = page.next_cursor, False
        return changed

    async def _change_slice(
        self, work: _Work, jobs: Sequence[Document]
    ) -> int:
        if not jobs:
            return 0
        changed_jobs = [(job, work.change(job)) for job in jobs]
        await self._endings.expect_jobs(
            job for job, change in changed_jobs if change["status"] in ENDS
        )
        updates = [
            (
                _as_seen(job),
                {**change, REVISION: revision_of(job) + 1},
            )
            for job, change in changed_jobs
        ]
        changed = await self._documents.update_each(updates)
        note_ids("Job", (job["_id"] for job in jobs), changed)
        if jobs[0]["status"] == JobStatus.PROCESSING:
            await self._cancellations.tell(job["_id"] for job in jobs)
        self._announce(jobs)
        return changed

    def _announce(self, jobs: Sequence[Document]) -> None:
        for client_id in {job["clientId"] for job in jobs}:
            self._signals.publish(jobs_waiting(client_id))
        self._signals.publish(JOBS_ENDED)
        if any(job.get("operation") in RUN_OPERATIONS for job in jobs):
            self._signals.publish(RUNS_CHANGED)


def _as_seen(job: Document) -> Filter:
    return {
        "_id": job["_id"],
        "status": job["status"],
        REVISION: job.get(REVISION),
        # No batch may hold it just now.
        **batch_change.FREE,
    }


def _statuses(
    wanted: JobStatus | None, allowed: Sequence[JobStatus]
) -> Sequence[JobStatus]:
    if wanted is None:
        return allowed
    if wanted not in allowed:
        raise RuleError(
            f"filter.status: {wanted} is not possible here, only "
            f"{', '.join(sorted(allowed))}"
        )
    return [wanted]


def _read(wanted: JobBulkFilter) -> JobFilter:
    return JobFilter(
        id=wanted.id,
        operation=wanted.operation,
        model=wanted.model,
        priority=wanted.priority,
        reference=wanted.client_reference or {},
        error_type=wanted.error_type,
        batch_key=wanted.batch_key,
        times=read_range(wanted.start, wanted.end),
    )
