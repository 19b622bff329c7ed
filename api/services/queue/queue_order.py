"""The order in which waiting jobs are claimed: one number for each job.

A job's *rank* is stored when it is submitted and never has to be changed
while it waits, so that a claim is one range of an index, however many jobs
wait:

    rank = time of submission (ms) + priority x step

Of jobs that were submitted at about the same time, the one with the lower
priority value goes first, then the older one. A job with priority p goes
before every job with priority q < p that was submitted more than
(p - q) steps later: that bounds how long others can overtake it. It is
static-priority ageing with a linear rate, where the order of two waiting
jobs never changes (Kleinrock, "A delay dependent queue discipline", 1964).

The ranks of interactive jobs are below zero, those of bulk jobs are not:
each class is a range as well.
"""

from dataclasses import dataclass

from api.models.job_fields import ServiceClass
from utilities.cosmos_connector import Document

QUEUE_ORDER = [("rank", 1), ("sequence", 1)]
# Below every time in ms since 1970.
_INTERACTIVE = -(10**14)
_RANKS: dict[ServiceClass | None, Document] = {
    None: {},
    ServiceClass.INTERACTIVE: {"rank": {"$lt": 0}},
    ServiceClass.BULK: {"rank": {"$gte": 0}},
}
AGING_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Aging:
    """One step of priority is worth `seconds` of waiting."""

    seconds: float = AGING_SECONDS

    def rank(
        self, service_class: ServiceClass, priority: int, submitted: int
    ) -> int:
        """Give a job's rank; `submitted` is a time in ms."""
        rank = submitted + round(priority * self.seconds * 1000)
        is_bulk = service_class is ServiceClass.BULK
        return rank if is_bulk else rank + _INTERACTIVE


def ranks_of(service_class: ServiceClass | None) -> Document:
    """Give the condition for jobs of one class; None is all of them."""
    return _RANKS[service_class]
