"""What lists and summaries of jobs can be narrowed to."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from api.models.job_status import JobStatus
from api.services.shared import client_reference
from utilities.cosmos_connector import Document, ObjectId

# No document has it: what an id that is no id finds.
_NO_ID = ObjectId("0" * 24)


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Every field that is given must match."""

    job_id: str | None = None
    id: str | None = None
    status: JobStatus | None = None
    operation: str | None = None
    model: str | None = None
    priority: int | None = None
    reference: Mapping[str, str] = field(default_factory=dict)

    def to_query(self) -> Document:
        """Give the filter as the store's."""
        fields = {
            "status": self.status,
            "operation": self.operation,
            "model": self.model,
            "priority": self.priority,
        }
        where: Document = {k: v for k, v in fields.items() if v is not None}
        if self.id is not None:
            # Spelled out: the embedded database takes a bare `id` of digits
            # for a number, and one that looks like an `_id` for that.
            where["id"] = {"$eq": self.id}
        if self.job_id is not None:
            known = ObjectId.is_valid(self.job_id)
            where["_id"] = ObjectId(self.job_id) if known else _NO_ID
        return where | client_reference.filter_of(self.reference)
