"""What was used and what it cost, by day, client, model, route and the like.

Only the ledger's counters are read: their number grows with the days and
the models, not with the calls.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from api.core.errors import ForbiddenError
from api.models.cost import from_units
from api.models.usage_models import UsageGroup, UsageReport, UsageSums
from api.services.limits.ledger import COUNT_FIELDS, SEPARATOR, units_of
from api.services.shared.caller import Caller
from api.services.shared.date_range import TimeRange
from utilities.cosmos_connector import Document, Documents


class GroupBy(StrEnum):
    """What usage can be grouped by."""

    DAY = "day"
    CLIENT = "client"
    MODEL = "model"
    OPERATION = "operation"
    CREDENTIAL = "credential"
    ROUTE = "route"

    @property
    def field(self) -> str:
        """The field of counters and of groups."""
        return "clientId" if self is GroupBy.CLIENT else self.value


@dataclass(slots=True)
class _Sum:
    """Adds up counters; currencies stay apart."""

    counts: list[int] = field(default_factory=lambda: [0] * len(COUNT_FIELDS))
    unpriced: int = 0
    units: dict[str, int] = field(default_factory=dict)

    def add(self, currency: str, counter: Document) -> None:
        for place, name in enumerate(COUNT_FIELDS):
            self.counts[place] += counter.get(name) or 0
        if currency:
            before = self.units.get(currency, 0)
            self.units[currency] = before + units_of(counter)
        else:
            self.unpriced += counter.get("requests") or 0

    def fields(self) -> dict[str, Any]:
        counts = dict(zip(COUNT_FIELDS, self.counts, strict=True))
        costs = {
            currency: from_units(units)
            for currency, units in sorted(self.units.items())
        }
        return {
            **counts,
            "totalTokens": counts["inputTokens"] + counts["outputTokens"],
            # What has no price is not free.
            "costByCurrency": costs or None,
            "unpricedRequests": self.unpriced,
        }


@dataclass(frozen=True, slots=True)
class UsageService:
    """Reads the ledger for clients and the administrator."""

    counters: Documents

    async def report(
        self, caller: Caller, times: TimeRange, by: Sequence[GroupBy]
    ) -> UsageReport:
        """Sum up the days of a range, whole days in UTC, by group.

        Raises:
            ForbiddenError: a client asks for what only the admin sees.
        """
        if GroupBy.CREDENTIAL in by and not caller.is_admin:
            # The variables of models' keys are shown to nobody else.
            raise ForbiddenError(
                "Only the administrator may see usage by credential"
            )
        total, groups = _Sum(), dict[tuple[str, ...], _Sum]()
        where = {**caller.own, "day": _days(times)}
        for row in await self.counters.aggregate(where, [_stage(by)]):
            *key, currency = row["_id"].split(SEPARATOR)
            total.add(currency, row)
            if by:
                groups.setdefault(tuple(key), _Sum()).add(currency, row)
        return UsageReport(
            total=UsageSums.model_validate(total.fields()),
            groups=[_group(by, key, groups[key]) for key in sorted(groups)],
        )


def _stage(by: Sequence[GroupBy]) -> Document:
    """Group counters by text fields and currency, inside the database."""
    parts: list[object] = []
    for each in by:
        # Counters have the last two only where there are such.
        parts += [{"$ifNull": [f"${each.field}", ""]}, SEPARATOR]
    sums = {
        name: {"$sum": f"${name}"}
        for name in (*COUNT_FIELDS, "costWhole", "costUnits")
    }
    key = {"$concat": [*parts, "$currency"]}
    return {"$group": {"_id": key, **sums}}


def _days(times: TimeRange) -> Document:
    # Counters of runs have no day.
    start = "0" if times.start is None else times.start.date().isoformat()
    end = {} if times.end is None else {"$lte": times.end.date().isoformat()}
    return {"$gte": start, **end}


def _group(
    by: Sequence[GroupBy], key: tuple[str, ...], sums: _Sum
) -> UsageGroup:
    named = {each.field: value for each, value in zip(by, key, strict=True)}
    return UsageGroup.model_validate({**sums.fields(), **named})
