"""Jobs: rules and ownership. Workers use `job_queue` instead."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from api.core.errors import NotFoundError, RuleError
from api.models.job_models import Job, JobCreate, JobSummary
from api.models.job_status import ENDS, JobStatus, check_transition
from api.models.job_update_models import JobBatchUpdateItem, JobUpdate
from api.services.jobs import batch_change, job_documents
from api.services.jobs.answer_keys import AnswerKeys
from api.services.jobs.answer_rows import AnswerRows
from api.services.jobs.batch_change import BatchChange, PlannedChange
from api.services.jobs.job_documents import Current
from api.services.jobs.job_filter import JobFilter
from api.services.jobs.job_intake import Accounts, JobIntake
from api.services.jobs.job_references import JobReferences, names_any
from api.services.jobs.job_summary import summarize
from api.services.jobs.job_templates import JobTemplates
from api.services.jobs.job_view import ALL, JobView
from api.services.jobs.stored_jobs import stored_jobs
from api.services.models.model_service import ModelService
from api.services.prompts.prompt_flow_service import PromptFlowService
from api.services.prompts.prompt_service import PromptService
from api.services.queue.job_expiry import EXPIRY_DUE
from api.services.queue.queue_order import Aging
from api.services.queue.waiting_jobs import NEVER
from api.services.shared.caller import Caller
from api.services.shared.endings import NO_ENDINGS, Endings
from api.services.shared.paging import (
    Page,
    PageRequest,
    fetch_page,
)
from api.services.shared.repository import object_id
from utilities.clock import Clock, now_ms
from utilities.cosmos_connector import Document, Documents, ObjectId
from utilities.signals import JOBS_ENDED, Signals, jobs_waiting
from utilities.slices import blocks, in_slices

# Documents of one message; decoding more would block the event loop.
_BLOCK = 500
# How often, and how long in seconds, a batch waits for another one that
# changes the same jobs.
_MARKED_ATTEMPTS, _MARKED_PAUSE = 20, 0.1
# A deleted job does not slow the claims of others down.
_OUT_OF_THE_QUEUE: Document = {"deferredUntil": NEVER, EXPIRY_DUE: None}


class JobService:
    """What clients and the administrator do with jobs."""

    def __init__(
        self,
        documents: Documents,
        models: ModelService,
        prompts: PromptService,
        flows: PromptFlowService,
        signals: Signals,
        clock: Clock = now_ms,
        endings: Endings = NO_ENDINGS,
        aging: Aging | None = None,
        *,
        accounts: Accounts | None = None,
    ) -> None:
        self._aging = aging or Aging()
        self._documents = documents
        self._endings = endings
        self._jobs = stored_jobs(documents, clock)
        self._references = JobReferences(models, prompts, flows)
        self._signals = signals
        self._clock = clock
        keys, accounts = AnswerKeys(models, prompts), accounts or Accounts()
        self._intake = JobIntake(
            documents,
            self._references,
            JobTemplates(prompts),
            keys,
            signals,
            clock=clock,
            endings=endings,
            aging=self._aging,
            accounts=accounts,
        )
        self.answers = AnswerRows(documents, self._intake, keys, accounts)

    async def create(
        self, request: JobCreate, caller: Caller, key: str | None = None
    ) -> Job:
        """Queue one job; the same `key` again answers the first one.

        Raises:
            RuleError: a model or prompt it names does not exist.
        """
        client_id = caller.require_client()
        return await self._intake.create(request, client_id, key)

    async def create_batch(
        self,
        items: Sequence[Any],
        caller: Caller,
        key: str | None = None,
        view: JobView = ALL,
    ) -> list[Job]:
        """Queue many jobs, or none if one of them is invalid.

        Raises:
            RuleError: names the first wrong item by its index.
        """
        client_id = caller.require_client()
        return await self._intake.create_batch(items, client_id, key, view)

    async def page(
        self,
        caller: Caller,
        wanted: JobFilter,
        page: PageRequest,
        view: JobView = ALL,
    ) -> Page[Job]:
        """List jobs in order of arrival, or newest first."""
        where = {**wanted.to_query(), **caller.own}
        return await fetch_page(
            self._documents,
            where,
            page,
            view.read,
            order="sequence",
            fields=view.stored,
            newest_first=view.newest_first,
        )

    async def summary(self, caller: Caller, wanted: JobFilter) -> JobSummary:
        """Count jobs by status and sum what they cost."""
        where = {**wanted.to_query(), **caller.own}
        return await summarize(self._documents, where)

    async def get(self, job_id: str, caller: Caller) -> Job:
        """Return one.

        Raises:
            NotFoundError: there is none, or it is another client's.
        """
        return await self._jobs.get(job_id, caller.own)

    async def update(
        self, job_id: str, request: JobUpdate, caller: Caller
    ) -> Job:
        """Change what is given, if the status may go that way.

        Raises:
            TransitionError: it may not.
            ConflictError: the status changed in the meantime.
        """
        if names_any(request):
            owner = (await self.get(job_id, caller)).client_id
            await self._references.check_changes([("", owner, request)])
        if request.status in ENDS:
            where = {**caller.own, "_id": object_id(job_id, "Job")}
            await self._endings.expect_jobs_in(self._documents, where)
        job = await self._jobs.change(
            job_id,
            caller.own,
            lambda job: self._changes(Current.of_job(job), request, caller),
        )
        self._announce([job])
        return job

    async def update_batch(
        self,
        items: Sequence[JobBatchUpdateItem],
        caller: Caller,
        view: JobView = ALL,
    ) -> list[Job]:
        """Change many jobs, or none if one of the changes is invalid.

        Raises:
            RuleError: an id is unknown, or a change not allowed.
            ConflictError: a job changed in the meantime; no job of the
                batch is changed.
        """
        ids = [item.job_id.lower() for item in items]
        batch_change.refuse_repeated(ids)
        planned = await self._plan(ids, items, caller)
        await self._endings.expect_jobs(batch_change.ending(planned))
        batch = BatchChange(self._documents, planned, self._clock())
        try:
            await batch.free(await batch.write())
        finally:
            # Workers have not seen the marked jobs.
            self._publish({each.before["clientId"] for each in planned})
        found = await self._documents_of(ids, caller, view.stored)
        return await in_slices(view.read, found)

    async def cancel_waiting(self, job_id: str, caller: Caller) -> bool:
        """Cancel a job that waits; one that runs or has run stays."""
        own = {**caller.own, "_id": object_id(job_id, "Job")}
        where = {**own, "status": JobStatus.PENDING}
        await self._endings.expect_jobs_in(self._documents, where)
        changes = {"status": JobStatus.CANCELED, "leaseToken": None}
        return await self._documents.update(where, changes) is not None

    async def delete(self, job_id: str, caller: Caller) -> None:
        """Delete one; a worker's answer to it is dropped."""
        await self._jobs.remove(job_id, caller.own, _OUT_OF_THE_QUEUE)

    async def delete_batch(self, ids: Sequence[str], caller: Caller) -> None:
        """Delete many, or none if an id is unknown."""
        ids = [job_id.lower() for job_id in ids]
        await self._documents_of(ids, caller, ["_id"])
        left = _object_ids(ids)
        for _ in range(_MARKED_ATTEMPTS):
            await self._delete(left, batch_change.FREE)
            found = await self._living(left)
            now = self._clock()
            marked = [job for job in found if batch_change.is_marked(job, now)]
            left = [job["_id"] for job in marked]
            # An expired mark of a dead process does not count.
            expired = [job["_id"] for job in found if job not in marked]
            await self._delete(expired, {})
            if not left:
                return
            await asyncio.sleep(_MARKED_PAUSE)
        raise batch_change.marked_too_long()

    async def _delete(
        self, ids: Sequence[ObjectId], expected: Document
    ) -> None:
        # By the id alone, which is fast: a job never changes its owner.
        for block in blocks(ids, _BLOCK):
            where = {"_id": {"$in": list(block)}, **expected}
            await self._documents.soft_delete(where, _OUT_OF_THE_QUEUE)

    def _changes(
        self, current: Current, request: JobUpdate, caller: Caller
    ) -> Document:
        if request.status is not None:
            check_transition(current.status, request.status, caller.actor)
        return job_documents.changed(
            current, request, self._clock(), self._aging
        )

    async def _plan(
        self,
        ids: Sequence[str],
        items: Sequence[JobBatchUpdateItem],
        caller: Caller,
    ) -> Sequence[PlannedChange]:
        """Check every change, before anything is written."""
        found = await self._unmarked(ids, caller)
        await self._references.check_changes(
            (f"batch item {index}: ", job["clientId"], item)
            for index, (job, item) in enumerate(zip(found, items, strict=True))
        )

        def plan(pair: tuple[Document, JobUpdate]) -> PlannedChange:
            job, item = pair
            current = Current.of_document(job)
            return PlannedChange(job, self._changes(current, item, caller))

        return await in_slices(plan, zip(found, items, strict=True))

    async def _unmarked(
        self, ids: Sequence[str], caller: Caller
    ) -> Sequence[Document]:
        """Read the fields that a batch needs, when no other batch has them.

        Raises:
            RuleError: an id is unknown.
            ConflictError: another batch does not end.
        """
        fields = batch_change.FIELDS
        for _ in range(_MARKED_ATTEMPTS):
            found = await self._documents_of(ids, caller, fields)
            now = self._clock()
            if not any(batch_change.is_marked(job, now) for job in found):
                return found
            await asyncio.sleep(_MARKED_PAUSE)
        raise batch_change.marked_too_long()

    async def _living(self, ids: Sequence[ObjectId]) -> Sequence[Document]:
        found: list[Document] = []
        for block in blocks(ids, _BLOCK):
            found += await self._documents.find(
                {"_id": {"$in": list(block)}}, fields=batch_change.FIELDS
            )
        return found

    async def _documents_of(
        self,
        ids: Sequence[str],
        caller: Caller,
        fields: Sequence[str] | None = None,
    ) -> Sequence[Document]:
        """Return the documents of these jobs, in this order.

        Raises:
            RuleError: an id is unknown.
        """
        found: dict[str, Document] = {}
        for block in blocks(_object_ids(ids), _BLOCK):
            where = {**caller.own, "_id": {"$in": list(block)}}
            for document in await self._documents.find(where, fields=fields):
                found[str(document["_id"])] = document
        for index, job_id in enumerate(ids):
            if job_id not in found:
                raise RuleError(f"Job not found: batch item {index}, {job_id}")
        return [found[job_id] for job_id in ids]

    def _announce(self, jobs: Iterable[Job]) -> None:
        self._signals.publish(JOBS_ENDED)
        self._publish(
            {job.client_id for job in jobs if job.status is JobStatus.PENDING}
        )

    def _publish(self, client_ids: Iterable[str]) -> None:
        for client_id in client_ids:
            self._signals.publish(jobs_waiting(client_id))


def _object_ids(ids: Sequence[str]) -> list[ObjectId]:
    try:
        return [object_id(job_id, "Job") for job_id in ids]
    except NotFoundError as error:
        raise RuleError(str(error)) from None
