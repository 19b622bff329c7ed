"""Makes the keys of jobs that are being submitted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from api.models.cache_models import CacheMode
from api.models.job_models import JobCreate
from api.models.model_models import Model
from api.models.prompt_models import Prompt
from api.services.jobs.answer_jobs import named_digest
from api.services.jobs.answer_key import Asker, key_of_job
from api.services.jobs.job_templates import system_of
from api.services.models.model_service import ModelService
from api.services.prompts.prompt_service import PromptService
from utilities.slices import in_slices


@dataclass(frozen=True, slots=True)
class Keyed:
    """What is found again of a job's answer.

    `named` is the digest of the texts and the model that the job names:
    see `named_digest`. `model` is the model's name.
    """

    key: str
    named: str
    model: str


class AnswerKeys:
    """Reads what jobs name, once for all jobs of a request."""

    def __init__(self, models: ModelService, prompts: PromptService) -> None:
        self._models = models
        self._prompts = prompts

    async def of(
        self, requests: Sequence[JobCreate], client_id: str
    ) -> list[Keyed | None]:
        """Give the keys of jobs whose references have been checked.

        None for a job that has no use for one, and for one whose model is
        a route: which model answers it is not known before.

        Raises:
            NotFoundError: a prompt has been deleted meanwhile.
            TemplateFailedError: it has been changed meanwhile.
        """
        wanted = [each for each in requests if _wants_key(each)]
        if not wanted:
            return [None] * len(requests)
        models = await self._models.named({each.model for each in wanted})
        prompts = await self._prompts.usable(
            {name for each in wanted for name in each.effective_prompts},
            client_id,
        )
        texts = _texts(prompts)

        def keyed(request: JobCreate) -> Keyed | None:
            if not _wants_key(request):
                return None
            return _keyed(request, client_id, texts, models)

        return await in_slices(keyed, requests)

    async def asker(
        self, request: JobCreate, client_id: str
    ) -> tuple[Asker, Model] | None:
        """Give what makes the keys of many rows that ask like this job.

        None if its model is a route.

        Raises:
            NotFoundError: a prompt does not exist.
        """
        models = await self._models.named({request.model})
        prompts = await self._prompts.usable(
            request.effective_prompts, client_id
        )
        return _asker(request, client_id, _texts(prompts), models)


def _keyed(
    request: JobCreate,
    client_id: str,
    texts: Mapping[str, str],
    models: Mapping[str, Model],
) -> Keyed | None:
    made = _asker(request, client_id, texts, models)
    if made is None:
        return None
    asker, model = made
    named = named_digest(asker.system, model)
    return Keyed(key_of_job(asker, request), named, model.name)


def _asker(
    request: JobCreate,
    client_id: str,
    texts: Mapping[str, str],
    models: Mapping[str, Model],
) -> tuple[Asker, Model] | None:
    model = models.get(request.model)
    if model is None:
        return None
    system = system_of(request, texts)
    return Asker.make(client_id, request, system, model), model


def _wants_key(request: JobCreate) -> bool:
    return request.cache is not CacheMode.OFF


def _texts(prompts: Mapping[str, Prompt]) -> dict[str, str]:
    return {name: each.prompt for name, each in prompts.items()}
