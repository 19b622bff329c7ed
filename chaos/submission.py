"""A client that does not give up: it repeats what may not have come through.

Each batch has a key of its own, so that a repeated one is not queued twice.
"""

import threading
import time
from collections.abc import Callable

import httpx2

from chaos.plan import Plan
from tests.support.api_user import ApiUser

_ACCEPTED = 201
_PAUSE_SECONDS = 0.5


class Submission(threading.Thread):
    """Submits all jobs of a plan, whatever happens to the API."""

    def __init__(
        self,
        plan: Plan,
        user: ApiUser,
        body: dict[str, object],
        ended: Callable[[], int],
    ) -> None:
        super().__init__(name="submission", daemon=True)
        self.repeated = 0
        self._plan = plan
        self._user = user
        self._body = body
        self._ended = ended

    def run(self) -> None:
        """Submit batch after batch, as the jobs end."""
        for first in range(0, self._plan.jobs, self._plan.batch):
            while first - self._ended() > self._plan.ahead:
                time.sleep(_PAUSE_SECONDS)
            last = min(first + self._plan.batch, self._plan.jobs)
            while not self._accepted(range(first, last)):
                self.repeated += 1
                time.sleep(_PAUSE_SECONDS)

    def _accepted(self, numbers: range) -> bool:
        jobs = [{**self._body, "requestData": {"n": n}} for n in numbers]
        try:
            answer = self._user.http.post(
                "/jobs/batch",
                json={"jobs": jobs},
                headers={
                    **self._user.headers,
                    "Idempotency-Key": f"batch-{numbers.start}",
                },
            )
        except httpx2.TransportError:
            return False
        return answer.status_code == _ACCEPTED
