"""Evaluations: rules and ownership, and the store of what brings them on."""

from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from api.core.errors import RuleError
from api.models.evaluation_models import (
    Evaluation,
    EvaluationCreate,
    EvaluationProgressView,
    EvaluationStatus,
    ItemResult,
)
from api.models.job_bulk_models import JobBulkChange, JobBulkFilter
from api.models.job_status import JobStatus
from api.models.metric_models import judges_of
from api.services.datasets.dataset_service import DatasetService
from api.services.datasets.expected import check_expected
from api.services.evaluations.result_store import ResultStore
from api.services.jobs.job_bulk import JobBulk
from api.services.models.model_service import ModelService
from api.services.prompts.prompt_service import PromptService
from api.services.shared.caller import Caller
from api.services.shared.paging import Page, PageRequest, fetch_page
from api.services.shared.repository import REVISION, Repository
from utilities import payload
from utilities.clock import Clock, now_ms
from utilities.cosmos_connector import Document, Documents, ObjectId
from utilities.signals import EVALUATIONS_CHANGED, Signals

_NO_ITEMS = "The split {} of this dataset has no items; use another"

log = structlog.get_logger(__name__)


class EvaluationService:
    """What clients and the administrator do with evaluations."""

    def __init__(
        self,
        documents: Documents,
        results: ResultStore,
        datasets: DatasetService,
        models: ModelService,
        prompts: PromptService,
        bulk: JobBulk,
        signals: Signals,
        clock: Clock = now_ms,
    ) -> None:
        self._documents = documents
        self._results = results
        self._datasets = datasets
        self._models = models
        self._prompts = prompts
        self._bulk = bulk
        self._signals = signals
        self._clock = clock
        self._evaluations = Repository(documents, Evaluation, "Evaluation")

    async def create(
        self, request: EvaluationCreate, caller: Caller
    ) -> Evaluation:
        """Begin an evaluation; its jobs need a worker of the client.

        Raises:
            NotFoundError: the dataset is not the client's.
            RuleError: a prompt or model does not exist, or the metric needs
                to know what is expected and the dataset does not say it.
        """
        client_id = caller.require_client()
        dataset = await self._datasets.get(
            request.dataset_id, Caller(client_id)
        )
        await self._check_references(request, client_id)
        check_expected(request.metric, dataset)
        positions = await self._datasets.positions(
            dataset, request.split, request.seed, request.fractions
        )
        if not positions:
            raise RuleError(_NO_ITEMS.format(request.split))
        cells = len(request.prompt_ids) * len(request.models)
        evaluation = await self._evaluations.add(
            _new(request, client_id, len(positions) * cells)
        )
        self._signals.publish(EVALUATIONS_CHANGED)
        return evaluation

    async def page(
        self,
        caller: Caller,
        status: EvaluationStatus | None,
        dataset_id: str | None,
        page: PageRequest,
    ) -> Page[Evaluation]:
        """List evaluations in order of their start."""
        where: Document = dict(caller.own)
        if status is not None:
            where["status"] = status
        if dataset_id is not None:
            where["datasetId"] = dataset_id
        return await fetch_page(
            self._documents, where, page, Evaluation.from_document
        )

    async def get(self, evaluation_id: str, caller: Caller) -> Evaluation:
        """Return one.

        Raises:
            NotFoundError: there is none, or it is another client's.
        """
        return await self._evaluations.get(evaluation_id, caller.own)

    async def items(
        self,
        evaluation: Evaluation,
        prompt_id: str | None,
        model: str | None,
        page: PageRequest,
    ) -> Page[ItemResult]:
        """List the scores of a prompt with a model; by default, the first.

        Raises:
            RuleError: the evaluation has no such prompt or model.
        """
        for number, cell in enumerate(evaluation.cells):
            if prompt_id in (None, cell.prompt_id) and (
                model in (None, cell.model)
            ):
                return await self._results.page(evaluation, number, page)
        raise RuleError("The evaluation has no such prompt or model")

    async def cancel(self, evaluation_id: str, caller: Caller) -> Evaluation:
        """End one for good; its jobs that wait are cancelled.

        Raises:
            RuleError: it has ended already.
        """

        def change(current: Evaluation) -> Mapping[str, Any]:
            if current.status is not EvaluationStatus.RUNNING:
                raise RuleError(
                    f"An evaluation that is {current.status} cannot be "
                    "cancelled"
                )
            return {
                "status": EvaluationStatus.CANCELLED,
                "finishedAt": self._clock(),
            }

        cancelled = await self._evaluations.change(
            evaluation_id, caller.own, change, repeatable=True
        )
        await self.cancel_jobs(evaluation_id, cancelled.client_id)
        self._signals.publish(EVALUATIONS_CHANGED)
        return cancelled

    async def delete(self, evaluation_id: str, caller: Caller) -> None:
        """Delete one with its results; its jobs that wait are cancelled."""
        evaluation = await self.get(evaluation_id, caller)
        await self._evaluations.remove(evaluation_id, caller.own)
        await self._results.erase(evaluation_id)
        if evaluation.status is EvaluationStatus.RUNNING:
            await self.cancel_jobs(evaluation_id, evaluation.client_id)
        self._signals.publish(EVALUATIONS_CHANGED)

    async def cancel_jobs(self, evaluation_id: str, client_id: str) -> None:
        """Cancel its jobs that wait; what runs is paid for, and kept."""
        wanted = JobBulkFilter(
            status=JobStatus.PENDING, batch_key=evaluation_id
        )
        await self._bulk.cancel(
            JobBulkChange(filter=wanted), Caller(client_id)
        )

    async def leave(self, evaluation_id: str, client_id: str) -> None:
        """Clean up what was stored while one was cancelled or deleted."""
        await self.cancel_jobs(evaluation_id, client_id)
        where = {"_id": ObjectId(evaluation_id)}
        if not await self._documents.find(where, fields=["_id"]):
            await self._results.erase(evaluation_id)

    async def running(self) -> Sequence[Evaluation]:
        """Return every client's evaluations that are under way.

        One whose document cannot be read is ended: it becomes FAILED.
        """
        found = await self._documents.find(
            {"status": EvaluationStatus.RUNNING}
        )
        evaluations = []
        for document in found:
            try:
                evaluations.append(Evaluation.from_document(document))
            except (ValueError, TypeError, KeyError):
                evaluation_id = str(document["_id"])
                log.exception(
                    "evaluation_unreadable", evaluationId=evaluation_id
                )
                await self.end(
                    evaluation_id,
                    EvaluationStatus.FAILED,
                    {"failureReason": "It cannot be read"},
                )
        return evaluations

    async def note_progress(
        self, evaluation_id: str, progress: EvaluationProgressView
    ) -> None:
        """Say how far one is, if it still runs."""
        where = {
            "_id": ObjectId(evaluation_id),
            "status": EvaluationStatus.RUNNING,
        }
        fields = progress.model_dump(by_alias=True)
        await self._documents.update_many(where, {"progress": fields})

    async def end(
        self,
        evaluation_id: str,
        status: EvaluationStatus,
        fields: Mapping[str, Any],
    ) -> None:
        """End one that still runs."""
        where = {
            "_id": ObjectId(evaluation_id),
            "status": EvaluationStatus.RUNNING,
        }
        await self._documents.update_many(
            where, {**fields, "status": status, "finishedAt": self._clock()}
        )
        self._signals.publish(EVALUATIONS_CHANGED)

    async def _check_references(
        self, request: EvaluationCreate, client_id: str
    ) -> None:
        judges = [judge for _, judge in judges_of(request.metric)]
        models = {*request.models, *(judge.model for judge in judges)}
        await self._models.check(models)
        prompts = {*request.prompt_ids, *(each.prompt_id for each in judges)}
        if gone := await self._prompts.missing(prompts, client_id):
            raise RuleError(f"the prompt {min(gone)!r} was not found")


def _new(request: EvaluationCreate, client_id: str, total: int) -> Document:
    fields = request.model_dump(mode="json", by_alias=True)
    schema = fields["responseSchema"]
    progress = EvaluationProgressView(total=total)
    return {
        **fields,
        "metric": payload.dump(fields["metric"]),
        "responseSchema": None if schema is None else payload.dump(schema),
        "progress": progress.model_dump(by_alias=True),
        "clientId": client_id,
        "status": EvaluationStatus.RUNNING,
        REVISION: 0,
    }
