"""How many jobs there are by status, how fast they end, how long it takes."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from api.models.job_status import CANCELABLE, JobStatus
from utilities.cosmos_connector import Documents

# Speeds are those of the last seconds.
_WINDOW_MS = 30_000
_COUNT = {"$group": {"_id": "$status", "n": {"$sum": 1}}}
_ENDED_BY_WORK = tuple(
    status
    for status in JobStatus
    if status not in {*CANCELABLE, JobStatus.CANCELED}
)


@dataclass
class QueueNumbers:
    """Counts the jobs of a client, or of all, and remembers a while."""

    jobs: Documents
    client_id: str | None
    _seen: deque[tuple[int, int]] = field(default_factory=deque)

    async def look(self, now: int) -> dict[str, Any]:
        """Return the numbers of this moment (ms).

        Raises:
            StoreError: they cannot be counted now.
        """
        own = {} if self.client_id is None else {"clientId": self.client_id}
        counts = dict.fromkeys(map(str, JobStatus), 0)
        for row in await self.jobs.aggregate(own, [_COUNT]):
            if row["_id"] in counts:
                counts[row["_id"]] = int(row["n"])
        rate = self._rate(now, sum(counts[each] for each in _ENDED_BY_WORK))
        left = sum(counts[each] for each in CANCELABLE)
        return {
            "counts": counts,
            "perSecond": None if rate is None else round(rate, 2),
            "secondsLeft": round(left / rate) if rate else None,
        }

    def _rate(self, now: int, ended: int) -> float | None:
        self._seen.append((now, ended))
        while now - self._seen[0][0] > _WINDOW_MS:
            self._seen.popleft()
        before, ended_before = self._seen[0]
        if now <= before:
            return None
        # Removed jobs are no work that was undone.
        return max(ended - ended_before, 0) * 1000 / (now - before)
