"""Which errors jobs have ended with, and how often."""

from dataclasses import dataclass

from api.models.error_count_models import ErrorCount
from api.models.job_status import JobStatus
from api.services.jobs.job_filter import JobFilter
from api.services.shared.caller import Caller
from utilities.cosmos_connector import Documents

UNKNOWN = "UNKNOWN"
_GROUP = {"$group": {"_id": "$errorType", "n": {"$sum": 1}}}


@dataclass(frozen=True, slots=True)
class JobErrors:
    """Counts failed jobs inside the database."""

    documents: Documents

    async def count(
        self, caller: Caller, wanted: JobFilter
    ) -> list[ErrorCount]:
        """Count failed jobs by the type of their error, most first."""
        failed = {"status": {"$eq": JobStatus.ERROR_PROCESSING}}
        where = {**wanted.to_query(), **caller.own, **failed}
        rows = await self.documents.aggregate(where, [_GROUP])
        counts = [
            ErrorCount(error_type=row["_id"] or UNKNOWN, count=row["n"])
            for row in rows
        ]
        return sorted(counts, key=lambda each: (-each.count, each.error_type))
