"""What lists, summaries and changes of many jobs are narrowed to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from api.models.job_status import JobStatus
from api.services.jobs.job_documents import SEQUENCE_STEPS
from api.services.shared import client_reference
from api.services.shared.date_range import TimeRange
from utilities.cosmos_connector import Document, ObjectId

# No document has it: what an id that is no id finds.
_NO_ID = ObjectId("0" * 24)
# Of 64 bits, as the store has them.
_GREATEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Every field that is given must match.

    `times` is when the jobs were submitted.
    """

    job_id: str | None = None
    id: str | None = None
    status: JobStatus | None = None
    operation: str | None = None
    model: str | None = None
    priority: int | None = None
    reference: Mapping[str, Any] = field(default_factory=dict)
    error_type: str | None = None
    batch_key: str | None = None
    times: TimeRange = field(default_factory=TimeRange)
    # For the administrator: the caller's own client always wins over it.
    client_id: str | None = None

    def to_query(self) -> Document:
        """Give the filter as the store's."""
        fields = {
            "status": self.status,
            "operation": self.operation,
            "model": self.model,
            "priority": self.priority,
            "errorType": self.error_type,
            "batchKey": self.batch_key,
            "clientId": self.client_id,
        }
        where: Document = {k: v for k, v in fields.items() if v is not None}
        if self.id is not None:
            # Spelled out: the embedded database takes a bare `id` of digits
            # for a number, and one that looks like an `_id` for that.
            where["id"] = {"$eq": self.id}
        if self.job_id is not None:
            known = ObjectId.is_valid(self.job_id)
            where["_id"] = ObjectId(self.job_id) if known else _NO_ID
        if submitted := _sequences(self.times):
            where["sequence"] = submitted
        return where | client_reference.filter_of(self.reference)


def _sequences(times: TimeRange) -> Document:
    """Give the range of the sequence, which begins with the time."""
    last = {"$gte": 0, "$lte": SEQUENCE_STEPS - 1}
    return {
        operator: max(
            0, min(moment * SEQUENCE_STEPS + last[operator], _GREATEST)
        )
        for operator, moment in times.to_query().items()
    }
