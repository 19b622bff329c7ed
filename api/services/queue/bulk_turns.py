"""Keeps a share of the claims for bulk jobs, while interactive ones flow.

For each interactive job that is claimed, `share` of a bulk job becomes due,
and jobs that are due are claimed first. So of n interactive jobs that a
process claims of a client while bulk jobs of it wait, the bulk jobs that it
claims meanwhile are more than share x n - 1.
"""

import threading
from collections.abc import Sequence

from api.models.job_fields import ServiceClass
from api.services.queue.job_work import ClaimedJob
from api.services.queue.waiting_jobs import Wanted

BULK_SHARE = 0.05


class BulkTurns:
    """Counts the bulk jobs that are due, by client; safe in any thread."""

    def __init__(self, share: float = BULK_SHARE) -> None:
        self._share = share
        self._lock = threading.Lock()
        self._due: dict[str, float] = {}

    def due(self, wanted: Wanted) -> int:
        """Return how many bulk jobs a claim is to take first."""
        if wanted.service_class is not None:
            return 0
        return int(self._due.get(wanted.client_id, 0.0))

    def claimed(
        self, wanted: Wanted, jobs: Sequence[ClaimedJob], *, was_for_bulk: bool
    ) -> None:
        """Note what was claimed; `was_for_bulk` if by what `due` said."""
        client_id = wanted.client_id
        bulk = sum(job.service_class is ServiceClass.BULK for job in jobs)
        if bulk == len(jobs) and client_id not in self._due:
            return
        with self._lock:
            due = self._due.get(client_id, 0.0) - bulk
            due += self._share * (len(jobs) - bulk)
            if due <= 0 or (was_for_bulk and not jobs):
                # Who has none that waits saves up nothing.
                self._due.pop(client_id, None)
            else:
                self._due[client_id] = due
