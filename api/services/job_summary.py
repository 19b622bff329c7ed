"""Counting jobs and summing what they cost, inside the database."""

from typing import Any

from api.models.job_models import JobSummary, SummedMetrics
from api.models.job_status import JobStatus
from utilities.cosmos_connector import Document, Documents, Filter

_COUNTED = (JobStatus.PROCESSED, JobStatus.CONSUMED)
_SUMS = {
    "inputTokens": "$processingMetrics.inputTokens",
    "outputTokens": "$processingMetrics.outputTokens",
    "totalTokens": "$processingMetrics.totalTokens",
    "duration": "$processingMetrics.duration",
}
_COSTS = {
    "inputCost": "$processingMetrics.inputCost",
    "outputCost": "$processingMetrics.outputCost",
    "totalCost": "$processingMetrics.totalCost",
}


async def summarize(documents: Documents, where: Filter) -> JobSummary:
    """Count by status; sum metrics over PROCESSED and CONSUMED jobs."""
    by_status = await _group(documents, where, "$status", {"n": {"$sum": 1}})
    counts = {row["_id"]: row["n"] for row in by_status}
    sums = {k: {"$sum": v} for k, v in {**_SUMS, **_COSTS}.items()}
    by_currency = await _group(
        documents,
        _counted(where),
        "$processingMetrics.currency",
        sums,
    )
    return JobSummary(
        **{str(status): counts.get(status, 0) for status in JobStatus},
        total=sum(counts.values()),
        processing_metrics=_sum(by_currency),
    )


def _counted(where: Filter) -> Filter:
    wanted = where.get("status")
    statuses = [s for s in _COUNTED if wanted in (None, s)]
    return {**where, "status": {"$in": statuses}}


async def _group(
    documents: Documents, where: Filter, key: str, fields: Document
) -> list[Document]:
    return await documents.aggregate(
        where, [{"$group": {"_id": key, **fields}}]
    )


def _sum(rows: list[Document]) -> SummedMetrics:
    fields: dict[str, Any] = {
        name: sum(row[name] for row in rows) for name in _SUMS
    }
    priced = [row for row in rows if row["_id"] is not None]
    if len(priced) == 1:
        fields |= {name: priced[0][name] for name in _COSTS}
        fields["currency"] = priced[0]["_id"]
    fields["costByCurrency"] = {r["_id"]: r["totalCost"] for r in priced}
    return SummedMetrics(**fields)
