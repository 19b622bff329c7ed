"""`GET /jobs/summary`."""

from api.models.job_models import JobSummary
from api.models.job_status import JobStatus
from api.services import usage
from utilities.cosmos_connector import Documents, Filter

_COUNTED = (JobStatus.PROCESSED, JobStatus.CONSUMED)


async def summarize(documents: Documents, where: Filter) -> JobSummary:
    """Count by status; sum metrics over PROCESSED and CONSUMED jobs."""
    counts = await usage.count_by_status(documents, where)
    metrics = await usage.sum_metrics(documents, _counted(where))
    return JobSummary(
        **{str(status): counts.get(status, 0) for status in JobStatus},
        total=sum(counts.values()),
        processing_metrics=metrics,
    )


def _counted(where: Filter) -> Filter:
    wanted = where.get("status")
    statuses = [s for s in _COUNTED if wanted in (None, s)]
    return {**where, "status": {"$in": statuses}}
