"""Runs: rules and ownership, and the store of those that advance them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from api.core.errors import ConflictError, NotFoundError, RuleError
from api.models.metric_models import judges_of
from api.models.optimization_models import DatasetRunCreate, RunCandidate
from api.models.prompt_models import PromptStatus, PromptUpdate
from api.models.run_models import (
    FinishReason,
    Run,
    RunCreate,
    RunStatus,
)
from api.services.datasets.dataset_service import DatasetService
from api.services.datasets.expected import check_expected
from api.services.jobs.job_service import JobService
from api.services.models.model_service import ModelService
from api.services.prompts.prompt_service import PromptService
from api.services.runs import dataset_runs, run_limits, stored_runs
from api.services.runs.run_jobs import RunJobs
from api.services.runs.run_waves import RunWaves
from api.services.shared.audit_trail import note_changed
from api.services.shared.caller import Caller
from api.services.shared.endings import NO_ENDINGS, EndingKind, Endings
from api.services.shared.paging import Page, PageRequest, fetch_page
from api.services.shared.repository import Repository, object_id
from utilities import payload
from utilities.cosmos_connector import Document, Documents, ObjectId
from utilities.signals import RUNS_CHANGED, Signals, run_changed

# A step of a run takes longer than a look at it.
_SWITCH_ATTEMPTS = 5
_PAUSABLE = (RunStatus.RUNNING,)
_RESUMABLE = (RunStatus.PAUSED, RunStatus.FAILED)
_ENDS = (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED)
_CANCELLABLE = (
    RunStatus.PENDING,
    RunStatus.RUNNING,
    RunStatus.PAUSED,
    RunStatus.FAILED,
)


log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class OnDatasets:
    """What only runs on a dataset need."""

    datasets: DatasetService
    jobs: RunJobs
    waves: RunWaves


class RunService:
    """What clients and the administrator do with runs."""

    def __init__(
        self,
        documents: Documents,
        models: ModelService,
        prompts: PromptService,
        jobs: JobService,
        signals: Signals,
        on_datasets: OnDatasets,
        endings: Endings = NO_ENDINGS,
    ) -> None:
        self._documents = documents
        self._endings = endings
        self._runs = Repository(documents, Run, "Run")
        self._models = models
        self._prompts = prompts
        self._jobs = jobs
        self._signals = signals
        self.on_datasets = on_datasets
        self._datasets = on_datasets.datasets
        self._run_jobs = on_datasets.jobs
        self._waves = on_datasets.waves

    async def create(self, request: RunCreate, caller: Caller) -> Run:
        """Begin a run; its jobs need a running worker of the client.

        Raises:
            RuleError: a model or prompt it names does not exist.
        """
        client_id = caller.require_client()
        await self._check_references(request, client_id)
        fields = request.model_dump(by_alias=True)
        document = {
            **fields,
            "requestData": payload.dump(fields["requestData"]),
            **stored_runs.begun(client_id, request.working_models),
        }
        run = await self._runs.add(document)
        self._signals.publish(RUNS_CHANGED)
        return run

    async def create_on_dataset(
        self, request: DatasetRunCreate, caller: Caller
    ) -> Run:
        """Begin a run on a dataset; its jobs need a running worker too.

        Raises:
            RuleError: a dataset, model or prompt it names does not exist,
                or items do not say what the metric needs to know.
        """
        client_id = caller.require_client()
        judges = [judge for _, judge in judges_of(request.metric)]
        models = {*request.working_models, *(each.model for each in judges)}
        if request.meta_model is not None:
            models.add(request.meta_model)
        prompts = {
            *request.initial_working_prompt_ids,
            *(each.prompt_id for each in judges),
        }
        if request.meta_prompt_id is not None:
            prompts.add(request.meta_prompt_id)
        await self._check(models, prompts, client_id)
        try:
            dataset = await self._datasets.get(
                request.dataset_id, Caller(client_id)
            )
        except NotFoundError:
            raise RuleError(
                f"the dataset {request.dataset_id!r} was not found"
            ) from None
        check_expected(request.metric, dataset)
        warnings = run_limits.warnings(request, dataset)
        document = dataset_runs.new_run(request, client_id, warnings)
        run = await self._runs.add(document)
        self._signals.publish(RUNS_CHANGED)
        return run

    async def candidates(
        self, run_id: str, caller: Caller, page: PageRequest
    ) -> Page[RunCandidate]:
        """List the prompts that a run has tried.

        Raises:
            NotFoundError: there is no such run.
        """
        run = await self.get(run_id, caller)
        return await self._waves.page_of_candidates(run.run_id, caller, page)

    async def publish(self, run_id: str, caller: Caller) -> Run:
        """Make the best prompts of a run PUBLISHED; safe to repeat.

        Raises:
            RuleError: the run has not ended, or has no best prompts.
        """
        run = await self.get(run_id, caller)
        if run.status is not RunStatus.COMPLETED or not run.best_prompt_ids:
            raise RuleError(
                "Only a run on a dataset that is COMPLETED can be published"
            )
        owner = Caller(run.client_id)
        published = PromptUpdate(status=PromptStatus.PUBLISHED)
        for prompt_id in run.best_prompt_ids:
            prompt = await self._prompts.get(prompt_id, owner)
            # A public prompt belongs to the administrator.
            if prompt.status is not PromptStatus.PUBLISHED:
                await self._prompts.update(prompt_id, published, owner)
        return await self._runs.change(
            run_id, caller.own, lambda _: {"published": True}, repeatable=True
        )

    async def page(
        self, caller: Caller, status: RunStatus | None, page: PageRequest
    ) -> Page[Run]:
        """List runs in order of their start."""
        where = dict(caller.own)
        if status is not None:
            where["status"] = status
        return await fetch_page(self._documents, where, page, stored_runs.read)

    async def get(self, run_id: str, caller: Caller) -> Run:
        """Return one.

        Raises:
            NotFoundError: there is none, or it is another client's.
        """
        where = {**caller.own, "_id": object_id(run_id, "Run")}
        document = await self._documents.find_one(where)
        if document is None:
            raise NotFoundError("Run")
        return stored_runs.read(document)

    async def pause(self, run_id: str, caller: Caller) -> Run:
        """Pause a run: its current job may finish, no new one starts."""
        return await self._switch(
            run_id, caller, _PAUSABLE, RunStatus.PAUSED, "paused"
        )

    async def resume(self, run_id: str, caller: Caller) -> Run:
        """Go on; after a failure, with the step that failed."""
        run = await self._switch(
            run_id, caller, _RESUMABLE, RunStatus.RUNNING, "resumed"
        )
        self._signals.publish(RUNS_CHANGED)
        return run

    async def cancel(self, run_id: str, caller: Caller) -> Run:
        """End for good; a job that still waits is cancelled too."""
        run = await self._switch(
            run_id, caller, _CANCELLABLE, RunStatus.CANCELLED, "cancelled"
        )
        await self._cancel_job(run)
        return run

    async def delete(self, run_id: str, caller: Caller) -> None:
        """Delete a run; a job that still waits is cancelled."""
        run = await self.get(run_id, caller)
        await self._runs.remove(run_id, caller.own)
        await self._cancel_job(run)
        if run.dataset_id is not None:
            await self._waves.erase(run.run_id)

    async def running_one(self, run_id: str) -> Run | None:
        """Return a run if it is running, for the orchestrator."""
        where = {"_id": ObjectId(run_id), "status": RunStatus.RUNNING}
        document = await self._documents.find_one(where)
        return await self._read_or_end(document) if document else None

    async def running(self) -> Sequence[Run]:
        """Return every client's running runs, for the orchestrator.

        A run whose document cannot be read is ended: it becomes FAILED.
        """
        found = await self._documents.find({"status": RunStatus.RUNNING})
        read = [await self._read_or_end(document) for document in found]
        return [run for run in read if run is not None]

    async def cancel_left(self, run_id: str) -> None:
        """Clean up what was stored while a run was cancelled or deleted."""
        found = await self._documents.find_all({"_id": ObjectId(run_id)})
        for document in found:
            deleted = document["_metadata"]["isDeleted"]
            if document.get("datasetId") is None:
                continue
            if deleted:
                await self._waves.erase(run_id)
            if deleted or document["status"] == RunStatus.CANCELLED:
                await self._run_jobs.cancel_waiting(
                    run_id, document["clientId"]
                )

    async def _read_or_end(self, document: Document) -> Run | None:
        try:
            return Run.from_document(document)
        except (ValueError, TypeError, KeyError) as error:
            await self._end_unreadable(document, error)
            return None

    async def _end_unreadable(
        self, document: Document, error: Exception
    ) -> None:
        log.error("run_unreadable", runId=str(document.get("_id")))
        await self._expect_end(document.get("clientId"), document["_id"])
        where = {"_id": document["_id"], "status": RunStatus.RUNNING}
        await self._documents.update(
            where,
            {
                "status": RunStatus.FAILED,
                "failureReason": stored_runs.reason(error),
                "finishReason": FinishReason.FAILED,
            },
        )

    async def advance(
        self, run: Run, changes: Mapping[str, Any]
    ) -> Run | None:
        """Change a run that is still as it was seen, and still running.

        Returns the changed run; None if somebody else has changed it.
        """
        if changes.get("status") in _ENDS:
            await self._expect_end(run.client_id, ObjectId(run.run_id))
        where = {**_as_seen(run), "status": RunStatus.RUNNING}
        changed = await self._documents.update(
            where, {**changes, "revision": run.revision + 1}
        )
        return None if changed is None else Run.from_document(changed)

    async def _switch(
        self,
        run_id: str,
        caller: Caller,
        sources: Sequence[RunStatus],
        target: RunStatus,
        word: str,
    ) -> Run:
        for _ in range(_SWITCH_ATTEMPTS):
            run = await self.get(run_id, caller)
            if run.status not in sources:
                choices = ", ".join(sources)
                raise RuleError(
                    f"A run that is {run.status} cannot be {word}; it must "
                    f"be one of: {choices}"
                )
            # It may go a step on in the same moment; then it is looked at
            # again.
            if (switched := await self._switched(run, target)) is not None:
                return switched
        raise ConflictError("The run was changed at the same time; try again")

    async def _switched(self, run: Run, target: RunStatus) -> Run | None:
        changes: Document = {"status": target, "revision": run.revision + 1}
        if run.status is RunStatus.FAILED and target is RunStatus.RUNNING:
            changes |= {
                "attempt": run.attempt + 1,
                "currentJobId": None,
                "failureReason": None,
                "finishReason": None,
            }
        if target is RunStatus.CANCELLED:
            changes["finishReason"] = FinishReason.CANCELLED
            await self._expect_end(run.client_id, ObjectId(run.run_id))
        document = await self._documents.update(_as_seen(run), changes)
        if document is None:
            return None
        before = {"_id": run.run_id, "status": run.status}
        note_changed("Run", before, {"status": target})
        return Run.from_document(document)

    async def _expect_end(self, client_id: object, run_id: ObjectId) -> None:
        """Note a run that is about to end, for those who must be told."""
        if isinstance(client_id, str):
            await self._endings.expect(EndingKind.RUN, [(client_id, run_id)])

    async def _cancel_job(self, run: Run) -> None:
        if run.dataset_id is not None:
            await self._run_jobs.cancel_waiting(run.run_id, run.client_id)
            self._signals.publish(run_changed(run.run_id))
        if run.current_job_id is None:
            return
        # One that has run was paid for: it stays in every sum.
        await self._jobs.cancel_waiting(
            run.current_job_id, Caller(run.client_id)
        )

    async def _check_references(
        self, request: RunCreate, client_id: str
    ) -> None:
        models = {
            *request.working_models,
            request.eval_model,
            request.meta_model,
        }
        prompts = {
            *request.initial_working_prompt_ids,
            request.eval_prompt_id,
            request.meta_prompt_id,
        }
        await self._check(models, prompts, client_id, routes=True)

    async def _check(
        self,
        models: set[str],
        prompts: set[str],
        client_id: str,
        *,
        routes: bool = False,
    ) -> None:
        await self._models.check(models, routes=routes)
        if gone := await self._prompts.missing(prompts, client_id):
            raise RuleError(f"the prompt {min(gone)!r} was not found")


def _as_seen(run: Run) -> Document:
    return {"_id": ObjectId(run.run_id), "revision": run.revision}
