"""Counting records and summing what they used, inside the database."""

from collections.abc import Mapping, Sequence
from typing import Any

from api.models.usage_models import SummedMetrics
from utilities.cosmos_connector import Document, Documents, Filter

# Joins the parts of a group's key: `$group` by several fields at once is
# not something that every server can do.
_KEY_SEPARATOR = "\x1f"

_SUMS = ("inputTokens", "outputTokens", "totalTokens", "duration")
_COSTS = ("inputCost", "outputCost", "totalCost")


async def count_by_status(
    documents: Documents, where: Filter
) -> dict[str, int]:
    """Count the records of every status that occurs."""
    rows = await _group(documents, where, "$status", {"n": {"$sum": 1}})
    return {row["_id"]: row["n"] for row in rows}


async def sum_metrics(documents: Documents, where: Filter) -> SummedMetrics:
    """Sum the records' `processingMetrics`."""
    rows = await _group(
        documents, where, "$processingMetrics.currency", _sums()
    )
    return _added_up({row["_id"]: row for row in rows})


async def sum_by(
    documents: Documents, where: Filter, field: str
) -> list[tuple[str, int, SummedMetrics]]:
    """Count and sum the records that are alike in a text `field`."""
    currency = {"$ifNull": ["$processingMetrics.currency", ""]}
    key = {"$concat": [f"${field}", _KEY_SEPARATOR, currency]}
    fields = {"n": {"$sum": 1}, **_sums()}
    groups: dict[str, dict[str | None, Document]] = {}
    for row in await _group(documents, where, key, fields):
        value, _, code = row["_id"].rpartition(_KEY_SEPARATOR)
        groups.setdefault(value, {})[code or None] = row
    return [
        (value, sum(row["n"] for row in rows.values()), _added_up(rows))
        for value, rows in sorted(groups.items())
    ]


async def _group(
    documents: Documents,
    where: Filter,
    key: str | Mapping[str, Any],
    fields: Document,
) -> Sequence[Document]:
    return await documents.aggregate(
        where, [{"$group": {"_id": key, **fields}}]
    )


def _sums() -> Document:
    return {
        name: {"$sum": f"$processingMetrics.{name}"}
        for name in (*_SUMS, *_COSTS)
    }


def _added_up(by_currency: Mapping[str | None, Document]) -> SummedMetrics:
    rows = by_currency.values()
    fields: dict[str, Any] = {
        name: _exact(sum(row[name] for row in rows)) for name in _SUMS
    }
    priced = {
        code: row for code, row in by_currency.items() if code is not None
    }
    if len(priced) == 1:
        ((code, row),) = priced.items()
        fields |= {name: _exact(row[name]) for name in _COSTS}
        fields["currency"] = code
    fields["costByCurrency"] = {
        code: _exact(row["totalCost"]) for code, row in priced.items()
    }
    return SummedMetrics(**fields)


def _exact(total: float) -> int | float:
    # Digits beyond these are the noise of adding floats.
    return round(total, 10)
