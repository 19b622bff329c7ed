"""Jobs: rules and ownership. Workers use `job_queue` instead."""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any

from bson import ObjectId
from pydantic import ValidationError

from api.core.errors import (
    ConflictError,
    NotFoundError,
    RuleError,
)
from api.models.job_models import (
    Job,
    JobBatchItem,
    JobBatchUpdateItem,
    JobCreate,
    JobSummary,
    JobUpdate,
)
from api.models.job_status import JobStatus, check_transition
from api.services.jobs import job_documents
from api.services.jobs.job_filter import JobFilter
from api.services.jobs.job_summary import summarize
from api.services.models.model_service import ModelService
from api.services.prompts.prompt_flow_service import PromptFlowService
from api.services.prompts.prompt_service import PromptService
from api.services.shared.caller import Caller
from api.services.shared.paging import Page, PageRequest, fetch_page
from api.services.shared.repository import Repository, object_id
from utilities.clock import Clock, now_ms
from utilities.cosmos_connector import Document, Documents
from utilities.signals import Signals, jobs_waiting

_CHANGED = "was changed or deleted by somebody else in the meantime"


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
    ) -> None:
        self._documents = documents
        self._jobs = Repository(documents, Job, "Job")
        self._models = models
        self._prompts = prompts
        self._flows = flows
        self._signals = signals
        self._clock = clock

    async def create(
        self, request: JobCreate, caller: Caller, key: str | None = None
    ) -> Job:
        """Queue one job; the same `key` again answers the first one.

        Raises:
            RuleError: a model or prompt it names does not exist.
        """
        client_id = caller.require_client()
        requests = await self._with_flows([request], client_id)
        await self._check_references(requests, client_id)
        return (await self._insert(requests, [key], client_id))[0]

    async def create_batch(
        self,
        items: Sequence[Any],
        caller: Caller,
        key: str | None = None,
    ) -> list[Job]:
        """Queue many jobs, or none if one of them is wrong.

        Raises:
            RuleError: names the first wrong item by its index.
        """
        read = [_read_item(index, raw) for index, raw in enumerate(items)]
        client_id = caller.require_client()
        requests = await self._with_flows(read, client_id)
        await self._check_references(requests, client_id)
        keys = [
            item.idempotency_key or (f"{key}/{index}" if key else None)
            for index, item in enumerate(read)
        ]
        return await self._insert(requests, keys, client_id)

    async def page(
        self, caller: Caller, wanted: JobFilter, page: PageRequest
    ) -> Page[Job]:
        """List jobs in order of arrival."""
        where = {**caller.own, **wanted.to_query()}
        return await fetch_page(
            self._documents, where, page, Job.from_document, order="sequence"
        )

    async def summary(self, caller: Caller, wanted: JobFilter) -> JobSummary:
        """Count jobs by status and sum what they cost."""
        where = {**caller.own, **wanted.to_query()}
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
        current = await self.get(job_id, caller)
        changes = await self._changes(current, request, caller)
        job = await self._jobs.change(
            job_id, changes, {"status": current.status}
        )
        self._announce([job])
        return job

    async def update_batch(
        self, items: Sequence[JobBatchUpdateItem], caller: Caller
    ) -> list[Job]:
        """Change many jobs, or none if one of the changes is wrong.

        Raises:
            RuleError: an id is unknown, or a change not allowed.
            ConflictError: a job changed in the meantime; what had been
                written by then is taken back.
        """
        ids = [item.job_id.lower() for item in items]
        _refuse_repeated(ids)
        current = await self._all_of(ids, caller)
        updates = []
        for job_id, item in zip(ids, items, strict=True):
            changes = await self._changes(current[job_id], item, caller)
            updates.append((current[job_id], changes))
        await self._write_all(updates)
        jobs = await self._all_of(ids, caller)
        self._announce(list(jobs.values()))
        return [jobs[job_id] for job_id in ids]

    async def cancel_waiting(self, job_id: str, caller: Caller) -> bool:
        """Cancel a job that waits; one that runs or has run stays."""
        where = {
            **caller.own,
            "_id": object_id(job_id, "Job"),
            "status": JobStatus.PENDING,
        }
        changes = {"status": JobStatus.CANCELED, "leaseToken": None}
        return await self._documents.update(where, changes) is not None

    async def delete(self, job_id: str, caller: Caller) -> None:
        """Delete one; a worker's answer to it is dropped."""
        await self.get(job_id, caller)
        await self._jobs.remove(job_id, caller.own)

    async def delete_batch(self, ids: Sequence[str], caller: Caller) -> None:
        """Delete many, or none if an id is unknown."""
        await self._all_of([job_id.lower() for job_id in ids], caller)
        where = {"_id": {"$in": [ObjectId(job_id) for job_id in ids]}}
        await self._documents.soft_delete({**caller.own, **where})

    async def _with_flows(
        self, requests: Sequence[JobCreate], client_id: str
    ) -> Sequence[JobCreate]:
        """Put a flow's prompts where a job names a flow instead of them."""
        named = {job.prompt_flow for job in requests if job.prompt_flow}
        if not named:
            return requests
        prompts = await self._flows.prompts_of(named, client_id)
        whole = []
        for index, job in enumerate(requests):
            if job.prompt_flow is None or job.effective_prompts:
                whole.append(job)
                continue
            if job.prompt_flow not in prompts:
                raise RuleError(
                    f"{_where(job, index)}the prompt flow "
                    f"{job.prompt_flow!r} was not found"
                )
            ids = prompts[job.prompt_flow]
            whole.append(job.model_copy(update={"working_prompts": ids}))
        return whole

    async def _check_references(
        self, requests: Sequence[JobCreate], client_id: str
    ) -> None:
        models = {name for job in requests for name in _models_of(job)}
        prompts = {name for job in requests for name in _prompts_of(job)}
        no_models, no_prompts = await asyncio.gather(
            self._models.missing(models),
            self._prompts.missing(prompts, client_id),
        )
        if not (no_models or no_prompts):
            return
        for index, job in enumerate(requests):
            where = _where(job, index)
            for name in _models_of(job) & no_models:
                raise RuleError(f"{where}the model {name!r} was not found")
            for name in _prompts_of(job) & no_prompts:
                raise RuleError(f"{where}the prompt {name!r} was not found")

    async def _insert(
        self,
        requests: Sequence[JobCreate],
        keys: Sequence[str | None],
        client_id: str,
    ) -> list[Job]:
        now = self._clock()
        documents = [
            {
                "_id": _new_id(client_id, key),
                **job_documents.new(request, client_id, now, index),
            }
            for index, (request, key) in enumerate(
                zip(requests, keys, strict=True)
            )
        ]
        stored, repeated = await self._documents.insert_many(documents)
        await self._replace_repeated(stored, repeated)
        self._signals.publish(jobs_waiting(client_id))
        return [Job.from_document(document) for document in stored]

    async def _replace_repeated(
        self, stored: list[Document], repeated: Sequence[int]
    ) -> None:
        ids = [stored[index]["_id"] for index in repeated]
        if not ids:
            return
        found = await self._documents.find({"_id": {"$in": ids}})
        first = {document["_id"]: document for document in found}
        for index in repeated:
            document = first.get(stored[index]["_id"])
            if document is None:
                raise ConflictError(
                    "The job that was made with this Idempotency-Key has "
                    "been deleted; use a new key"
                )
            stored[index] = document

    async def _changes(
        self, current: Job, request: JobUpdate, caller: Caller
    ) -> Document:
        if request.status is not None:
            check_transition(current.status, request.status, caller.actor)
        models, prompts = _models_of(request), _prompts_of(request)
        if models and (gone := await self._models.missing(models)):
            raise RuleError(f"the model {min(gone)!r} was not found")
        if prompts and (
            gone := await self._prompts.missing(prompts, current.client_id)
        ):
            raise RuleError(f"the prompt {min(gone)!r} was not found")
        return job_documents.changed(current, request, self._clock())

    async def _all_of(
        self, ids: Sequence[str], caller: Caller
    ) -> dict[str, Job]:
        try:
            wanted = [object_id(job_id, "Job") for job_id in ids]
        except NotFoundError as error:
            raise RuleError(str(error)) from None
        found = await self._documents.find(
            {**caller.own, "_id": {"$in": wanted}}
        )
        jobs = {str(doc["_id"]): Job.from_document(doc) for doc in found}
        for index, job_id in enumerate(ids):
            if job_id not in jobs:
                raise RuleError(f"Job not found: batch item {index}, {job_id}")
        return jobs

    async def _write_all(
        self, updates: Sequence[tuple[Job, Document]]
    ) -> None:
        mark = str(ObjectId())
        written = await self._documents.update_each(
            [
                (_as_seen(job), {**changes, "batchMark": mark})
                for job, changes in updates
            ]
        )
        if written == len(updates):
            return
        await self._documents.update_each(
            [
                (
                    {"_id": ObjectId(job.job_id), "batchMark": mark},
                    {**job_documents.undo(job, changes), "batchMark": None},
                )
                for job, changes in updates
            ]
        )
        raise ConflictError(f"A job of the batch {_CHANGED}; nothing is kept")

    def _announce(self, jobs: Sequence[Job]) -> None:
        for client_id in {
            job.client_id for job in jobs if job.status is JobStatus.PENDING
        }:
            self._signals.publish(jobs_waiting(client_id))


def _as_seen(job: Job) -> Document:
    return {"_id": ObjectId(job.job_id), "status": job.status}


def _refuse_repeated(ids: Sequence[str]) -> None:
    seen: set[str] = set()
    for index, job_id in enumerate(ids):
        if job_id in seen:
            raise RuleError(
                f"batch item {index}: {job_id} is named a second time"
            )
        seen.add(job_id)


def _where(job: JobCreate, index: int) -> str:
    return f"batch item {index}: " if isinstance(job, JobBatchItem) else ""


def _read_item(index: int, raw: Any) -> JobBatchItem:  # noqa: ANN401 - JSON
    try:
        return JobBatchItem.model_validate(raw)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise RuleError(
            f"batch item {index}: {where or 'item'}: {problem['msg']}; "
            "nothing was stored"
        ) from None


def _models_of(job: JobCreate | JobUpdate) -> set[str]:
    names = {job.model, job.eval_model, job.meta_model}
    return {name for name in names if name is not None}


def _prompts_of(job: JobCreate | JobUpdate) -> set[str]:
    fields = job.__dict__
    single = {job.eval_prompt, job.meta_prompt}
    listed = {*(fields["prompts"] or ()), *(job.working_prompts or ())}
    return {name for name in single | listed if name is not None}


def _new_id(client_id: str, key: str | None) -> ObjectId:
    """Make a job's id; the same client and key make the same one.

    So a repeated request meets its first one in the index of `_id`, which
    every server keeps unique, with no second record that could get lost.
    """
    if key is None:
        return ObjectId()
    digest = hashlib.sha256(f"{client_id}\x00{key}".encode()).digest()
    return ObjectId(digest[:12])
