"""How a job is written: a new one, and a changed one."""

from typing import Any

from api.models.job_models import Job, JobCreate, JobUpdate
from api.models.job_status import JobStatus
from api.services.queue.waiting_jobs import deferred
from api.services.shared import client_reference
from api.services.shared.repository import REVISION
from utilities import payload
from utilities.cosmos_connector import Document

# Jobs of one batch arrive in the same millisecond and keep their order.
_SEQUENCE_STEPS = 1_000_000


def new(
    request: JobCreate, client_id: str, now: int, position: int
) -> Document:
    """Give the document of a new job, without its `_id`."""
    fields = request.model_dump(
        by_alias=True, exclude={"prompts", "idempotency_key"}
    )
    return {
        **_with_payloads(fields),
        "prompts": request.__dict__["prompts"],
        "workingPrompts": request.effective_prompts,
        "clientId": client_id,
        "status": JobStatus.PENDING,
        "attempts": 0,
        "failures": 0,
        "startedAt": now,
        **deferred(now, now),
        "sequence": now * _SEQUENCE_STEPS + position,
        REVISION: 0,
    }


def changed(current: JobStatus, request: JobUpdate, now: int) -> Document:
    """Give the fields that a change of a job with this status sets."""
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
    if current is JobStatus.PENDING and _WORK & changes.keys():
        changes |= _other_work(now)
    return changes | _with_status(current, request.status, now)


def _with_status(
    current: JobStatus, status: JobStatus | None, now: int
) -> dict[str, Any]:
    if status is None:
        return {}
    changes: dict[str, Any] = {"status": status, "leaseToken": None}
    if status is JobStatus.PENDING and current is not status:
        # It starts again: earlier attempts do not count.
        changes |= {
            **_other_work(now),
            "attempts": 0,
            "failures": 0,
            "attemptHistory": None,
            **deferred(now, now),
            "errorData": None,
            # An earlier result must not appear beside the next one.
            "responseData": None,
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
        "finishedAt",
        client_reference.INDEX_FIELD,
    }
)
# What a job's answer depends on.
_WORK = frozenset(
    {
        "workingPrompts",
        "model",
        "temperature",
        "requestData",
        "responseFormat",
        "responseSchema",
        "evalPrompt",
        "evalModel",
        "metaPrompt",
        "metaModel",
    }
)
_MAY_BE_NULL = frozenset(
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
