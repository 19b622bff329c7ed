"""Jobs that are known by what they ask: the cache of answers.

The content of such a job makes its id. Whoever asks the same, in any
process and also after a crash, finds the job that was queued first, with
its answer if it has one: nothing is asked twice. Everything that does not
change the answer, such as who asks, is not part of the id.

A job names its prompts and its model, whose texts and settings are part of
the id and may change while it waits. So it carries a digest of them: its
worker makes no call by others. See `named_digest`.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from api.models.conversation_models import ConversationFields
from api.models.job_models import JobCreate
from api.models.job_status import JobStatus, has_ended
from api.models.metrics import ProcessingMetrics
from api.models.model_models import Model
from api.services.jobs import idempotency, job_documents
from api.services.jobs.answer_key import (
    Asker,
    key_of_job,
    settings_of_answer,
)
from api.services.jobs.idempotency import JobKey
from api.services.jobs.job_templates import TemplateFailedError
from api.services.jobs.remembered import ANSWER_KEY
from api.services.queue.queue_order import Aging
from utilities import payload
from utilities.clock import Clock, now_ms
from utilities.cosmos_connector import Document, Documents, ObjectId
from utilities.signals import Signals, jobs_waiting
from utilities.slices import blocks, in_slices

EVALUATE_OPERATION, JUDGE_OPERATION = "evaluate", "judge"
# The field with the digest of what the job names.
NAMED_DIGEST = job_documents.NAMED_DIGEST
# No key of a client has a null character.
_PREFIX = "\x00answer\x00"
_BLOCK = 500
_FIELDS = (
    "status",
    "responseData",
    "responseLogprobs",
    "errorData",
    "processingMetrics",
    "clientReference",
    "_metadata",
    NAMED_DIGEST,
)
_ANSWERED = (
    JobStatus.PROCESSED,
    JobStatus.CONSUMED,
    JobStatus.ERROR_CONSUMING,
)


@dataclass(frozen=True, slots=True)
class Content:
    """What a job asks; both are hexadecimal digits.

    `key` tells it from all others. `named` is the digest of the prompts'
    texts and of the model, which a job only names. `asker` makes the key by
    which jobs with a cache find its answer; None: they do not.
    """

    key: str
    named: str
    asker: Callable[[str], Asker] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class AnswerJob:
    """A job as its askers see it; `answer` is its parsed answer.

    `reference` is what its first asker has noted on it. `is_deleted` also
    says that its client has made it ask something else.
    """

    job_id: str
    status: JobStatus
    is_deleted: bool
    reference: Mapping[str, Any]
    answer: Any = None
    error: Mapping[str, Any] | None = None
    metrics: ProcessingMetrics | None = None
    logprobs: Sequence[Any] | None = None

    @property
    def is_open(self) -> bool:
        """Whether it still waits or runs."""
        return not self.is_deleted and not has_ended(self.status)

    @property
    def is_answered(self) -> bool:
        """Whether it has an answer."""
        return not self.is_deleted and self.status in _ANSWERED

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read a stored job."""
        metrics = document.get("processingMetrics")
        return cls(
            job_id=str(document["_id"]),
            status=JobStatus(document["status"]),
            is_deleted=document["_metadata"]["isDeleted"]
            or document.get(NAMED_DIGEST) == job_documents.OTHER_WORK,
            reference=_loaded(document, "clientReference") or {},
            answer=_loaded(document, "responseData"),
            error=_loaded(document, "errorData"),
            metrics=metrics and ProcessingMetrics.model_validate(metrics),
            logprobs=_loaded(document, "responseLogprobs"),
        )


class AnswerJobs:
    """Finds and queues the jobs that are known by their content."""

    def __init__(
        self,
        documents: Documents,
        signals: Signals,
        clock: Clock = now_ms,
        aging: Aging | None = None,
    ) -> None:
        self._documents = documents
        self._signals = signals
        self._clock = clock
        self._aging = aging or Aging()

    async def find(self, job_ids: Sequence[str]) -> dict[str, AnswerJob]:
        """Return those that exist, also deleted ones, by their ids."""
        found: dict[str, AnswerJob] = {}
        for block in blocks([ObjectId(each) for each in job_ids], _BLOCK):
            documents = await self._documents.find_all(
                {"_id": {"$in": list(block)}}, fields=_FIELDS
            )
            jobs = await in_slices(AnswerJob.from_document, documents)
            found |= {job.job_id: job for job in jobs}
        return found

    async def ended(self, job_ids: Sequence[str]) -> set[str]:
        """Return the ids of those that neither wait nor run.

        Also of those that do not exist.
        """
        left = set(job_ids)
        for block in blocks([ObjectId(each) for each in job_ids], _BLOCK):
            where = {
                "_id": {"$in": list(block)},
                "status": {"$in": [JobStatus.PENDING, JobStatus.PROCESSING]},
            }
            # Spelled so, living jobs only: a deleted one has ended.
            found = await self._documents.find(where, fields=["_id"])
            left -= {str(document["_id"]) for document in found}
        return left

    async def submit(
        self,
        requests: Mapping[str, tuple[JobCreate, Content]],
        client_id: str,
    ) -> int:
        """Queue jobs by their ids; those that exist stay as they are.

        The caller has made sure that their prompts and models exist.
        Returns how many are new.
        """
        now = self._clock()

        def document(
            numbered: tuple[int, tuple[str, tuple[JobCreate, Content]]],
        ) -> Document:
            index, (job_id, (request, content)) = numbered
            return {
                "_id": ObjectId(job_id),
                NAMED_DIGEST: content.named,
                **_remembered(request, content, client_id),
                **job_documents.new(
                    request, client_id, now, index, self._aging
                ),
            }

        documents = await in_slices(document, enumerate(requests.items()))
        if not documents:
            return 0
        new = 0
        for block in blocks(documents, _BLOCK):
            _, taken = await self._documents.insert_many(block)
            new += len(block) - len(taken)
        self._signals.publish(jobs_waiting(client_id))
        return new


def content_of(
    request: JobCreate, system: str, model: Model, *, scope: str = ""
) -> Content:
    """Tell what a job asks.

    `system` is the text of its prompts. `scope` separates jobs that ask
    the same: only those with the same one share answers.
    """
    asked = {
        "operation": request.operation,
        "requestData": request.request_data,
        **_named(system, model),
        "temperature": request.temperature,
        "responseFormat": request.response_format,
        "responseSchema": request.response_schema,
        "scope": scope,
        # What few jobs ask beside it.
        **request.model_dump(
            by_alias=True,
            include=set(ConversationFields.model_fields),
            exclude_none=True,
        ),
    }

    def asker(client_id: str) -> Asker:
        return Asker.make(client_id, request, system, model)

    return Content(
        _digest(asked),
        named_digest(system, model),
        None if scope or _asks_for_chances(request) else asker,
    )


def _asks_for_chances(request: JobCreate) -> bool:
    # An evaluation does without them if a provider has none; others do not.
    sampling = request.sampling
    return sampling is not None and sampling.logprobs is not None


def _remembered(
    request: JobCreate, content: Content, client_id: str
) -> Document:
    if content.asker is None:
        return {}
    try:
        key = key_of_job(content.asker(client_id), request)
    except TemplateFailedError:
        return {}  # its worker says so
    return {ANSWER_KEY: key}


def named_digest(system: str, model: Model) -> str:
    """Give a digest of what a job names: its prompts' texts and its model.

    `system` is the text of its prompts.
    """
    return _digest(_named(system, model))


def _named(system: str, model: Model) -> Document:
    return {
        "system": system,
        "model": model.model_id,
        "settings": settings_of_answer(model),
    }


def _digest(value: Document) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def job_id_of(client_id: str, content: str, attempt: int = 0) -> str:
    """Give the id of a client's job with this content."""
    key = JobKey(f"{_PREFIX}{content}/{attempt}", "")
    return str(idempotency.job_id(client_id, key))


def _loaded(document: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401 - JSON
    text = document.get(name)
    return payload.load(text) if isinstance(text, str) else text
