"""Lines of batches as jobs of the queue."""

import hashlib
from collections.abc import Sequence
from typing import Final

from api.models.batch_models import BATCH_LINE, Batch
from api.models.job_fields import ServiceClass
from api.models.job_status import JobStatus
from api.services.batches.input_lines import Request
from api.services.jobs.job_documents import SEQUENCE_STEPS
from api.services.queue.job_expiry import EXPIRY_DUE
from api.services.queue.queue_order import Aging
from api.services.shared import client_reference
from api.services.shared.repository import REVISION
from utilities import payload
from utilities.cosmos_connector import Document, ObjectId

# Behind the jobs that the client submits itself: lower runs first.
_PRIORITY: Final = 200
# What the output needs of a job.
LINE_FIELDS = (
    "status",
    "errorType",
    "errorData",
    "responseData",
    "processingMetrics",
    "_metadata",
)


def line_id(batch_id: str, number: int) -> ObjectId:
    """Give the id of the job that is a line."""
    text = f"batch/{batch_id}/{number}"
    return ObjectId(hashlib.sha256(text.encode()).digest()[:12])


def line_documents(
    batch: Batch, requests: Sequence[Request], now: int, aging: Aging
) -> list[Document]:
    """Give the documents of lines; `now` in ms."""
    rank = aging.rank(ServiceClass.BULK, _PRIORITY, batch.made_at)
    common: Document = {
        "clientId": batch.client_id,
        "operation": BATCH_LINE,
        "workingPrompts": [],
        "temperature": 1.0,
        "priority": _PRIORITY,
        "responseFormat": "json",
        "interface": batch.interface,
        "batchKey": batch_key(batch),
        "expiresAt": batch.expires_at,
        EXPIRY_DUE: batch.expires_at,
        "status": JobStatus.PENDING,
        "attempts": 0,
        "failures": 0,
        "startedAt": now,
        "availableAt": now,
        "rank": rank,
        REVISION: 0,
    }
    if batch.headers:
        common["requestHeaders"] = payload.dump(batch.headers)
    return [
        {
            **common,
            **_own(batch, request),
            "sequence": batch.made_at * SEQUENCE_STEPS + request.number,
        }
        for request in requests
    ]


def batch_key(batch: Batch) -> str:
    """Give what all jobs of a batch are found by."""
    return f"{batch.vendor}-batch-{batch.batch_id}"


def _own(batch: Batch, request: Request) -> Document:
    reference = {
        "batchId": batch.batch_id,
        "customId": request.custom_id,
        "line": request.number,
    }
    return {
        "_id": line_id(batch.batch_id, request.number),
        "model": request.model,
        "requestData": request.body,
        "clientReference": payload.dump(reference),
        client_reference.INDEX_FIELD: client_reference.index_of(reference),
    }
