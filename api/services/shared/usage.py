"""Counting records and summing what they used, inside the database."""

from collections.abc import Container, Sequence
from typing import Any

from api.models.metrics import add_money
from api.models.usage_models import SummedMetrics
from utilities.cosmos_connector import Document, Documents, Filter

# Joins the parts of a group's key: `$group` by several fields at once is
# not something that every server can do.
_KEY_SEPARATOR = "\x1f"

_SUMS = (
    "inputTokens",
    "outputTokens",
    "totalTokens",
    "cachedTokens",
    "cacheWriteTokens",
    "reasoningTokens",
    "duration",
)
_COSTS = ("inputCost", "outputCost", "totalCost")


Rows = Sequence[tuple[str | None, Document]]


async def summarize(
    documents: Documents, where: Filter, counted: Container[str]
) -> tuple[dict[str, int], SummedMetrics]:
    """Count the records of every status that occurs, in one pass.

    The metrics are summed over records of the `counted` statuses.
    """
    groups = await _group(documents, where, "status")
    counts = {status: _count(rows) for status, rows in groups.items()}
    rows = [
        row for status in groups if status in counted for row in groups[status]
    ]
    return counts, _added_up(rows)


async def sum_by(
    documents: Documents, where: Filter, field: str
) -> list[tuple[str, int, SummedMetrics]]:
    """Count and sum the records that are alike in a text `field`."""
    groups = await _group(documents, where, field)
    return [
        (value, _count(rows), _added_up(rows))
        for value, rows in sorted(groups.items())
    ]


async def _group(
    documents: Documents, where: Filter, field: str
) -> dict[str, Rows]:
    """Sum what is alike in a text field; one row a currency, or none."""
    currency = {"$ifNull": ["$processingMetrics.currency", ""]}
    key = {"$concat": [f"${field}", _KEY_SEPARATOR, currency]}
    sums = {
        name: {"$sum": f"$processingMetrics.{name}"}
        for name in (*_SUMS, *_COSTS)
    }
    stage = {"$group": {"_id": key, "n": {"$sum": 1}, **sums}}
    groups: dict[str, list[tuple[str | None, Document]]] = {}
    for row in await documents.aggregate(where, [stage]):
        value, _, code = row["_id"].rpartition(_KEY_SEPARATOR)
        groups.setdefault(value, []).append((code or None, row))
    return dict(groups)


def _count(rows: Rows) -> int:
    return sum(row["n"] for _, row in rows)


def _added_up(rows: Rows) -> SummedMetrics:
    fields: dict[str, Any] = {
        name: _exact(sum(row[name] for _, row in rows)) for name in _SUMS
    }
    costs: dict[str, dict[str, float]] = {}
    for code, row in rows:
        if code is not None:
            sums = costs.setdefault(code, dict.fromkeys(_COSTS, 0.0))
            for name in _COSTS:
                sums[name] = add_money(sums[name], row[name])
    if len(costs) == 1:
        ((code, sums),) = costs.items()
        fields |= {name: _exact(total) for name, total in sums.items()}
        fields["currency"] = code
    fields["costByCurrency"] = {
        code: _exact(sums["totalCost"]) for code, sums in costs.items()
    }
    return SummedMetrics(**fields)


def _exact(total: float) -> int | float:
    # Digits beyond these are the noise of adding floats.
    return round(total, 10)
