"""Jobs with `variables`: their prompts and messages are templates.

They are filled twice: when a job is submitted, so that a name that is not
known is refused before anything is queued, and before its call, since a
job only names its prompts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.core.errors import InvalidRequestError, MetasyncError, RuleError
from api.models.job_models import JobBatchItem, JobCreate
from api.services.prompts.prompt_service import PromptService
from utilities import templates
from utilities.slices import in_slices
from utilities.templates import TemplateError

TEMPLATE_ERROR = "TEMPLATE_ERROR"
# A batch has few templates and many values; compiling takes time.
MOST_NEW_TEMPLATES = 100
# A tool's result is data, and not the client's text.
_NO_TEMPLATES = frozenset({"tool", "function"})

Messages = list[dict[str, Any]]


class TemplateFailedError(MetasyncError):
    """A job's template cannot be filled; no call was made."""


@dataclass(frozen=True, slots=True)
class Filled:
    """The texts of a job, as its model gets them."""

    system: str
    messages: Messages | None


def filled(
    system: str,
    messages: Sequence[Mapping[str, Any]] | None,
    variables: Mapping[str, Any],
    *,
    has_request: bool,
) -> Filled:
    """Fill a job's texts.

    `system` is the text of its prompts. With neither messages nor
    requestData, it is the user's message: the question has no other.

    Raises:
        TemplateFailedError: says which text cannot be filled, and why.
    """
    text = _render(system, variables, "workingPrompts")
    if messages is None and not has_request:
        return Filled("", [{"role": "user", "content": text}])
    if messages is None:
        return Filled(text, None)
    return Filled(
        text,
        [
            _message(each, variables, f"messages.{index}")
            for index, each in enumerate(messages)
        ],
    )


def _message(
    message: Mapping[str, Any], variables: Mapping[str, Any], where: str
) -> dict[str, Any]:
    content = message.get("content")
    if message.get("role") in _NO_TEMPLATES:
        return dict(message)
    if isinstance(content, str):
        return {**message, "content": _render(content, variables, where)}
    if isinstance(content, list):
        parts = [_part(each, variables, where) for each in content]
        return {**message, "content": parts}
    return dict(message)


def _part(part: object, variables: Mapping[str, Any], where: str) -> object:
    if isinstance(part, dict) and isinstance(part.get("text"), str):
        return {**part, "text": _render(part["text"], variables, where)}
    return part


def _render(text: str, variables: Mapping[str, Any], where: str) -> str:
    try:
        return templates.render(text, variables)
    except TemplateError as error:
        raise TemplateFailedError(f"{where}: {error}") from None


class JobTemplates:
    """Checks the templates of jobs that are being submitted."""

    def __init__(self, prompts: PromptService) -> None:
        self._prompts = prompts

    async def check(
        self, requests: Sequence[JobCreate], client_id: str
    ) -> None:
        """Refuse jobs whose templates cannot be filled.

        Their prompts exist.

        Raises:
            InvalidRequestError: the one job's cannot; says why.
            RuleError: one of a batch's cannot; names it.
        """
        wanted = {
            prompt
            for job in requests
            if job.variables is not None
            for prompt in job.effective_prompts
        }
        if not any(job.variables is not None for job in requests):
            return
        found = await self._prompts.usable(wanted, client_id)
        texts = {name: prompt.prompt for name, prompt in found.items()}
        new: set[str] = set()

        def check(numbered: tuple[int, JobCreate]) -> None:
            index, job = numbered
            if job.variables is None:
                return
            try:
                _check_one(job, texts, new)
            except TemplateFailedError as error:
                raise _refusal(job, index, str(error)) from None

        await in_slices(check, enumerate(requests))


def system_of(job: JobCreate, texts: Mapping[str, str]) -> str:
    """Join the texts of a job's prompts, given by their ids."""
    return "\n\n".join(texts[each] for each in job.effective_prompts)


def _check_one(
    job: JobCreate, texts: Mapping[str, str], new: set[str]
) -> None:
    system = system_of(job, texts)
    for text in (system, *_texts_of(job.messages or ())):
        if templates.has_marks(text) and not templates.is_kept(text):
            new.add(text)
    if len(new) > MOST_NEW_TEMPLATES:
        raise TemplateFailedError(
            f"messages: more than {MOST_NEW_TEMPLATES} different templates in "
            "one request. Write one template, and put what differs into "
            "variables"
        )
    filled(
        system,
        job.messages,
        job.variables or {},
        has_request=job.request_data is not None,
    )


def _texts_of(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    contents = [each.get("content") for each in messages]
    parts = [
        part.get("text")
        for content in contents
        if isinstance(content, list)
        for part in content
        if isinstance(part, dict)
    ]
    return [each for each in (*contents, *parts) if isinstance(each, str)]


def _refusal(job: JobCreate, index: int, message: str) -> MetasyncError:
    if isinstance(job, JobBatchItem):
        return RuleError(f"batch item {index}: {message}; nothing was stored")
    where = message.partition(":")[0].partition(".")[0]
    return InvalidRequestError("template", ("body", where), message)
