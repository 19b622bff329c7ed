"""Time as the store keeps it.

Times are stored as whole milliseconds since 1970 in UTC. Numbers compare,
sort and sum alike on every server that speaks MongoDB's protocol, which
dates inside `$set` and `$push` do not; pydantic reads them as datetimes.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache

Clock = Callable[[], int]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_MS = 86_400_000


def now_ms() -> int:
    """Return the wall-clock time in milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


def to_datetime(milliseconds: int) -> datetime:
    """Turn a stored time into an aware datetime in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def to_ms(moment: datetime) -> int:
    """Turn an aware datetime into a time as it is stored."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def day_of(milliseconds: int) -> str:
    """Give the day of a time, in UTC, as `2026-11-26`."""
    return _name_of(milliseconds // _DAY_MS)


# Asked for each call that has a budget.
@lru_cache(maxsize=100)
def _name_of(day: int) -> str:
    return (_EPOCH + timedelta(days=day)).date().isoformat()
