"""Checks the models, prompts and prompt flows that jobs name."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import TypeVar

from api.core.errors import RuleError
from api.models.job_models import JobBatchItem, JobCreate
from api.models.job_update_models import JobUpdate
from api.services.models.model_service import ModelService
from api.services.prompts.prompt_flow_service import PromptFlowService
from api.services.prompts.prompt_service import PromptService
from utilities.slices import in_slices

R = TypeVar("R", bound=JobCreate | JobUpdate)


class JobReferences:
    """Knows which models, prompts and flows a client's jobs may use."""

    def __init__(
        self,
        models: ModelService,
        prompts: PromptService,
        flows: PromptFlowService,
    ) -> None:
        self._models = models
        self._prompts = prompts
        self._flows = flows

    async def with_flows(
        self, requests: Sequence[JobCreate], client_id: str
    ) -> Sequence[JobCreate]:
        """Set the prompts of jobs that name a flow instead of prompts.

        Raises:
            RuleError: a flow does not exist; names the item of a batch.
        """
        named = {job.prompt_flow for job in requests if job.prompt_flow}
        if not named:
            return requests
        prompts = await self._flows.prompts_of(named, client_id)

        def filled(numbered: tuple[int, JobCreate]) -> JobCreate:
            index, job = numbered
            if job.prompt_flow is None or job.effective_prompts:
                return job
            if job.prompt_flow not in prompts:
                raise RuleError(
                    f"{_where(job, index)}the prompt flow "
                    f"{job.prompt_flow!r} was not found"
                )
            ids = prompts[job.prompt_flow]
            return job.model_copy(update={"working_prompts": ids})

        return await in_slices(filled, enumerate(requests))

    async def check(
        self, requests: Sequence[JobCreate], client_id: str
    ) -> None:
        """Refuse jobs whose models or prompts do not exist.

        Raises:
            RuleError: names the item of a batch, and what was not found.
        """
        numbered = await in_slices(
            lambda each: (_where(each[1], each[0]), each[1]),
            enumerate(requests),
        )
        await self._check(numbered, client_id)

    async def check_changes(
        self, changes: Iterable[tuple[str, str, JobUpdate]]
    ) -> None:
        """Refuse changes that name models or prompts that do not exist.

        Each change is: how an error begins, whose job it is, the request.

        Raises:
            RuleError: as above.
        """
        by_client: dict[str, list[tuple[str, JobUpdate]]] = {}

        def collect(change: tuple[str, str, JobUpdate]) -> None:
            where, client_id, request = change
            if names_any(request):
                named = by_client.setdefault(client_id, [])
                named.append((where, request))

        await in_slices(collect, changes)
        for client_id, numbered in by_client.items():
            await self._check(numbered, client_id)

    async def _check(
        self, requests: Sequence[tuple[str, R]], client_id: str
    ) -> None:
        models: set[str] = set()
        prompts: set[str] = set()

        def collect(numbered: tuple[str, R]) -> None:
            models.update(_models_of(numbered[1]))
            prompts.update(_prompts_of(numbered[1]))

        await in_slices(collect, requests)
        no_models, no_prompts = await asyncio.gather(
            self._models.missing(models, routes=True),
            self._prompts.missing(prompts, client_id),
        )
        if not (no_models or no_prompts):
            return

        def refuse(numbered: tuple[str, R]) -> None:
            where, job = numbered
            for name in sorted(_models_of(job) & no_models):
                raise RuleError(f"{where}the model {name!r} was not found")
            for name in sorted(_prompts_of(job) & no_prompts):
                raise RuleError(f"{where}the prompt {name!r} was not found")

        await in_slices(refuse, requests)


def names_any(request: JobUpdate) -> bool:
    """Tell whether a change names a model or a prompt."""
    return bool(_models_of(request) or _prompts_of(request))


def _where(job: JobCreate, index: int) -> str:
    return f"batch item {index}: " if isinstance(job, JobBatchItem) else ""


def _models_of(job: JobCreate | JobUpdate) -> set[str]:
    names = {job.model, job.eval_model, job.meta_model}
    if isinstance(job, JobCreate) and job.retry_on_invalid is not None:
        names.update(job.retry_on_invalid.ladder)
    return {name for name in names if name is not None}


def _prompts_of(job: JobCreate | JobUpdate) -> set[str]:
    fields = job.__dict__
    single = {job.eval_prompt, job.meta_prompt}
    listed = {*(fields["prompts"] or ()), *(job.working_prompts or ())}
    return {name for name in single | listed if name is not None}
