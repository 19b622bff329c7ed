"""What was tried of a route before its answer, or its failure."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from api.models.base import ApiModel, is_unset
from api.models.metrics import Metrics

# How many targets a record names.
MOST_TRIED = 50


class Fallback(StrEnum):
    """For what the next target of a route is taken."""

    OUTAGE = "outage"
    RATE_LIMIT = "rateLimit"
    CONTEXT_TOO_LONG = "contextTooLong"
    CONTENT_FILTER = "contentFilter"
    UNUSABLE_ANSWER = "unusableAnswer"
    SUSPENDED = "suspended"


class Tried(ApiModel):
    """A target of a route that gave no answer."""

    model: str
    fallback: Annotated[
        Fallback | None,
        Field(
            description="The kind of its failure, as in the route's "
            "`fallbackOn`; absent if it is of none of them.",
            exclude_if=is_unset,
        ),
    ] = None
    error_type: str
    message: str
    at: datetime


@dataclass(slots=True)
class Tries:
    """Takes the targets of routes that one attempt has tried in vain.

    `cost` is what the calls before the latest one have cost.
    """

    made: list[Tried] = field(default_factory=list)
    cost: Metrics = field(default_factory=Metrics)

    def add(self, tried: Tried) -> None:
        """Take one more; the latest ones are kept."""
        self.made.append(tried)
        # A call may wait, and try again, for long.
        del self.made[:-MOST_TRIED]

    def __bool__(self) -> bool:
        return bool(self.made)
