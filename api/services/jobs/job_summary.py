"""`GET /jobs/summary`."""

from api.models.job_models import JobSummary
from api.models.job_status import JobStatus
from api.services.shared import usage
from utilities.cosmos_connector import Documents, Filter

_COUNTED = (JobStatus.PROCESSED, JobStatus.CONSUMED)


async def summarize(documents: Documents, where: Filter) -> JobSummary:
    """Count by status; sum metrics over PROCESSED and CONSUMED jobs."""
    counts, metrics = await usage.summarize(documents, where, _COUNTED)
    return JobSummary(
        **{str(status): counts.get(status, 0) for status in JobStatus},
        total=sum(counts.values()),
        processing_metrics=metrics,
    )
