"""What a job names: its model, or route, and the texts of its prompts.

A job that is known by its content was made for certain texts and settings.
Its answer is kept for them, so it must not be made by others.
"""

from api.core.errors import MetasyncError
from api.models.model_models import ModelWithKey
from api.models.route_models import Route
from api.services.calls.catalog import Catalog
from api.services.calls.routing.router import Router
from api.services.jobs.answer_jobs import named_digest
from api.services.queue.job_work import ClaimedJob

CONTENT_CHANGED = "CONTENT_CHANGED"


class ContentChangedError(MetasyncError):
    """A prompt or the model has changed since the job was made."""

    def __init__(self) -> None:
        super().__init__(
            "A prompt or the model of this job was changed while it waited; "
            "no call was made"
        )


async def named_content(
    router: Router, catalog: Catalog, job: ClaimedJob
) -> tuple[Route | ModelWithKey, str]:
    """Return a job's model, or its route, and its system text.

    Raises:
        NotFoundError: a prompt or the model is gone.
        ContentChangedError: the job was made for others.
    """
    found = await _read(router, catalog, job)
    if _fits(job, *found):
        return found
    # The catalog keeps what it has read for a moment: the job may be newer.
    catalog.forget(job.model, job.working_prompts, job.client_id)
    found = await _read(router, catalog, job)
    if job.named_digest is None or _fits(job, *found):
        return found
    raise ContentChangedError


def is_other_work(
    job: ClaimedJob, named: Route | ModelWithKey, system: str
) -> bool:
    """Tell whether these are others than those of the job's answer key."""
    if job.answer_named is None:
        return False
    if isinstance(named, Route):
        return True
    return job.answer_named != named_digest(system, named)


async def _read(
    router: Router, catalog: Catalog, job: ClaimedJob
) -> tuple[Route | ModelWithKey, str]:
    prompts = await catalog.prompts(job.working_prompts, job.client_id)
    system = "\n\n".join(prompt.prompt for prompt in prompts)
    return await router.named(job.model), system


def _fits(job: ClaimedJob, model: Route | ModelWithKey, system: str) -> bool:
    if job.named_digest is None:
        return not is_other_work(job, model, system)
    if isinstance(model, Route):
        return False  # such a job is made for one model
    return job.named_digest == named_digest(system, model)
