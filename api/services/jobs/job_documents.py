"""How a job is written: a new one, and a changed one."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from api.models.cache_models import CacheMode
from api.models.job_fields import ServiceClass
from api.models.job_models import Job, JobCreate
from api.models.job_status import JobStatus
from api.models.job_update_models import JobUpdate
from api.models.metrics import Metrics
from api.services.jobs.remembered import ANSWER_KEY, Remembered
from api.services.queue.job_expiry import EXPIRY_DUE
from api.services.queue.queue_order import Aging
from api.services.queue.waiting_jobs import deferred
from api.services.shared import client_reference
from api.services.shared.repository import REVISION
from api.services.shared.settlement import CHARGED
from utilities import payload
from utilities.clock import to_ms
from utilities.cosmos_connector import Document

# Jobs of one batch arrive in the same millisecond and keep their order.
SEQUENCE_STEPS = 1_000_000
# Of a job that is known by its content: a digest of its prompts' texts and
# its model; `OTHER_WORK` once its client has made another job of it.
NAMED_DIGEST, OTHER_WORK = "namedDigest", ""


@dataclass(frozen=True, slots=True)
class Current:
    """What a change of a job depends on; times in ms."""

    status: JobStatus
    not_before: int | None = None
    expires_at: int | None = None
    priority: int = 100
    service_class: ServiceClass = ServiceClass.BULK
    submitted: int = 0

    @classmethod
    def of_job(cls, job: Job) -> Self:
        """Take it from a job."""
        return cls(
            job.status,
            _ms(job.not_before),
            _ms(job.expires_at),
            job.priority,
            job.service_class,
            to_ms(job.metadata.created_at),
        )

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> Self:
        """Take it from a stored job."""
        return cls(
            JobStatus(document["status"]),
            document.get("notBefore"),
            document.get("expiresAt"),
            document["priority"],
            ServiceClass(document.get("serviceClass") or ServiceClass.BULK),
            document["sequence"] // SEQUENCE_STEPS,
        )


def new(
    request: JobCreate,
    client_id: str,
    now: int,
    position: int,
    aging: Aging,
) -> Document:
    """Give the document of a new job, without its `_id`."""
    # Past the attributes: one of them warns of its deprecation.
    given = request.__dict__
    unset = {name for name in _SELDOM if given[name] is None}
    if request.service_class is ServiceClass.BULK:
        unset.add("service_class")
    if request.cache is CacheMode.OFF:
        unset |= {"cache", "sample"}
    fields = request.model_dump(
        by_alias=True, exclude={"idempotency_key", *unset}
    )
    if request.expires_at is not None:
        fields[EXPIRY_DUE] = to_ms(request.expires_at)
    stored = _with_payloads(fields)
    due = max(now, stored.get("notBefore") or now)
    return {
        **stored,
        "workingPrompts": request.effective_prompts,
        "clientId": client_id,
        "status": JobStatus.PENDING,
        "attempts": 0,
        "failures": 0,
        "startedAt": now,
        **_due(due, now),
        "rank": aging.rank(request.service_class, request.priority, now),
        "sequence": now * SEQUENCE_STEPS + position,
        REVISION: 0,
    }


def answered(
    job: Document, answer: Remembered, now: int, charged: str | None
) -> Document:
    """Give a new job's document with an earlier answer in it.

    It has no key: later jobs find the answer where it was given.
    """
    over = {"availableAt", "deferredUntil", EXPIRY_DUE}
    kept = {name: job[name] for name in job if name not in over}
    found = {
        "responseLogprobs": answer.logprobs_json,
        CHARGED: charged,
    }
    return {
        **kept,
        **{name: each for name, each in found.items() if each is not None},
        "status": JobStatus.PROCESSED,
        "responseData": answer.response_json,
        "processingMetrics": Metrics().to_document(),
        "cachedFrom": answer.job_id,
        "finishedAt": now,
    }


def _due(due: int, now: int) -> Document:
    # A missing field is what `None` finds, too.
    return {
        name: value
        for name, value in deferred(due, now).items()
        if value is not None
    }


def changed(
    current: Current, request: JobUpdate, now: int, aging: Aging
) -> Document:
    """Give the fields that a change of a job sets."""
    fields = request.model_dump(
        by_alias=True, exclude_unset=True, exclude={"job_id"}
    )
    fields = {
        name: value
        for name, value in fields.items()
        if value is not None or name in _MAY_BE_NULL
    }
    changes = _with_payloads(fields)
    if "prompts" in changes and "workingPrompts" not in changes:
        changes["workingPrompts"] = changes["prompts"]
    if _WORK & changes.keys():
        changes[NAMED_DIGEST] = OTHER_WORK
        if current.status is JobStatus.PENDING:
            changes |= _other_work(now)
    if (_WORK | _ANSWER) & changes.keys():
        # Found by its key is only what a model has answered to it.
        changes[ANSWER_KEY] = None
    if request.error_data is not None:
        changes["errorType"] = str(request.error_data.get("errorType") or "")
    changes |= _with_status(current, request.status, now)
    changes |= _with_rank(current, changes, aging)
    return _with_times(current, changes, now)


def canceled(status: JobStatus, now: int) -> Document:
    """Give the fields that cancel a job with this status."""
    changes = {"status": JobStatus.CANCELED, "finishedAt": now}
    if status is JobStatus.PENDING:
        return {**changes, "leaseToken": None}
    # Its worker says what it has cost, and that needs the token.
    return changes


def _with_times(current: Current, changes: Document, now: int) -> Document:
    """Add when a job that waits may start, and when it expires."""
    restarts = changes.get("status") is JobStatus.PENDING
    waits = restarts or (
        current.status is JobStatus.PENDING and "status" not in changes
    )
    if restarts or (waits and "notBefore" in changes):
        due = changes.get("notBefore", current.not_before) or now
        changes |= {**deferred(max(due, now), now), "waitsFor": None}
    if "expiresAt" in changes:
        changes |= _expiry(changes["expiresAt"])
    elif restarts and current.expires_at is not None:
        # Who sets an expired job to PENDING wants it to run.
        over = current.expires_at <= now
        expires_at = None if over else current.expires_at
        changes |= {"expiresAt": expires_at, **_expiry(expires_at)}
    return changes


def _with_rank(current: Current, changes: Document, aging: Aging) -> Document:
    """Add the place in the queue of a job that moves in it."""
    if not _RANKED & changes.keys():
        return {}
    rank = aging.rank(
        changes.get("serviceClass", current.service_class),
        changes.get("priority", current.priority),
        current.submitted,
    )
    return {"rank": rank}


def _expiry(expires_at: int | None) -> Document:
    return {EXPIRY_DUE: expires_at}


def _ms(moment: datetime | None) -> int | None:
    return None if moment is None else to_ms(moment)


def _with_status(
    current: Current, status: JobStatus | None, now: int
) -> dict[str, Any]:
    if status is None:
        return {}
    changes: dict[str, Any] = {"status": status, "leaseToken": None}
    if status is JobStatus.PENDING and current.status is not status:
        # It starts again: earlier attempts do not count.
        changes |= {
            **_other_work(now),
            "attempts": 0,
            "failures": 0,
            "attemptHistory": None,
            "errorData": None,
            "errorType": None,
            # An earlier result must not appear beside the next one.
            "responseData": None,
            "responseLogprobs": None,
            "unusableAnswers": None,
            "answeredBy": None,
            "cachedFrom": None,
            "evalResult": None,
            "suggestedPromptId": None,
            "stepError": None,
            "finishedAt": None,
        }
    return changes


def _other_work(now: int) -> Document:
    """Give the fields that separate a job from its earlier work."""
    return {
        # The answer of a worker that still runs it is not taken.
        "leaseToken": None,
        "checkpoint": None,
        # Its calls have other idempotency keys: see `ClaimedJob`.
        "startedAt": now,
    }


def _with_payloads(fields: dict[str, Any]) -> Document:
    document = dict(fields)
    for name in _MOMENTS & fields.keys():
        document[name] = _ms(fields[name])
    for name in Job.payload_fields & fields.keys():
        if fields[name] is not None:
            document[name] = payload.dump(fields[name])
    if "clientReference" in fields:
        document[client_reference.INDEX_FIELD] = client_reference.index_of(
            fields["clientReference"]
        )
    return document


# What other changes set beside the fields that they are about.
DERIVED = frozenset(
    {
        "leaseToken",
        "checkpoint",
        "startedAt",
        "availableAt",
        "deferredUntil",
        "waitsFor",
        EXPIRY_DUE,
        "errorType",
        "finishedAt",
        "rank",
        NAMED_DIGEST,
        ANSWER_KEY,
        client_reference.INDEX_FIELD,
    }
)
_ANSWER = frozenset({"responseData"})
# What a job's answer depends on.
_WORK = frozenset(
    {
        "workingPrompts",
        "model",
        "temperature",
        "requestData",
        "messages",
        "tools",
        "toolChoice",
        "sampling",
        "variables",
        "responseFormat",
        "responseSchema",
        "evalPrompt",
        "evalModel",
        "metaPrompt",
        "metaModel",
    }
)
# What the order of claims depends on. A job that is set to PENDING keeps its
# rank; one that ended in an earlier version has none, and comes first.
_RANKED = frozenset({"priority", "serviceClass"})
# Of few jobs; the others do not carry them.
_SELDOM = (
    "id",
    "prompts",
    "prompt_flow",
    "request_data",
    "response_schema",
    "retry_on_invalid",
    "client_reference",
    "eval_prompt",
    "eval_model",
    "meta_prompt",
    "meta_model",
    "not_before",
    "expires_at",
    "batch_key",
)
_MOMENTS = frozenset({"notBefore", "expiresAt"})
_MAY_BE_NULL = _MOMENTS | frozenset(
    {
        "id",
        "clientReference",
        "responseSchema",
        "evalPrompt",
        "evalModel",
        "metaPrompt",
        "metaModel",
        "responseData",
        "errorData",
        "evalResult",
        "suggestedPromptId",
        "processingMetrics",
    }
)
