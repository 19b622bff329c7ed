"""`from` and `to` of a query: inclusive, in UTC."""

from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import Any

from api.core.errors import RuleError
from utilities.clock import to_ms

_DATE_LENGTH = len("2026-01-31")


@dataclass(frozen=True, slots=True)
class TimeRange:
    """Two moments that both belong to the range; None is open."""

    start: datetime | None = None
    end: datetime | None = None

    def to_query(self) -> dict[str, Any]:
        """Give a condition on a time in milliseconds; empty if open."""
        condition = {}
        if self.start is not None:
            condition["$gte"] = to_ms(self.start)
        if self.end is not None:
            condition["$lte"] = to_ms(self.end)
        return condition


def read_range(start: str | None, end: str | None) -> TimeRange:
    """Read ISO 8601 dates or times; a date as the end is its whole day.

    Raises:
        RuleError: one of them is neither; says which.
    """
    return TimeRange(
        None if start is None else _read("from", start, time.min),
        None if end is None else _read("to", end, time.max),
    )


def _read(name: str, text: str, time_of_day: time) -> datetime:
    # In a query string, the plus sign of an offset arrives as a space.
    text = text.strip().replace(" ", "+") if "T" in text else text.strip()
    try:
        moment = datetime.fromisoformat(text)
        if len(text) <= _DATE_LENGTH:
            moment = datetime.combine(moment.date(), time_of_day)
        if moment.tzinfo is None:
            return moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise RuleError(
            f"{name} must be an ISO 8601 date or time, such as 2026-01-31 "
            "or 2026-01-31T12:00:00Z"
        ) from None
