"""Jobs that a worker has claimed and not yet begun, and who may begin."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from api.models.job_fields import ServiceClass
from api.services.queue.job_work import ClaimedJob
from llm_sdks.resilience.fair_queue import BULK_SHARE
from llm_sdks.resilience.headroom import Headroom


class ClaimedJobs:
    """Interactive jobs first, then the others, as they were claimed.

    Bulk jobs leave places free as interactive ones needed them lately.
    """

    def __init__(
        self, timer: Callable[[], float], bulk_share: float = BULK_SHARE
    ) -> None:
        self._timer = timer
        self._bulk_share = bulk_share
        self._bulk_due = 0.0
        self._running = self._running_urgent = 0
        self._urgent: deque[ClaimedJob] = deque()
        self._bulk: deque[ClaimedJob] = deque()
        self._headroom = Headroom()

    def __len__(self) -> int:
        return len(self._urgent) + len(self._bulk)

    def __iter__(self) -> Iterator[ClaimedJob]:
        yield from self._urgent
        yield from self._bulk

    @property
    def are_mixed(self) -> bool:
        """Whether interactive jobs came lately."""
        return self._headroom.peak(self._timer()) > 0

    def add(self, jobs: Sequence[ClaimedJob]) -> None:
        """Add what was claimed."""
        for job in jobs:
            self._lane(job).append(job)
        if self._urgent:
            self._headroom.note(self._held_urgent, self._timer())

    def remove(self, job: ClaimedJob) -> None:
        """Take one out."""
        self._lane(job).remove(job)

    def pop(self) -> ClaimedJob:
        """Take the first one."""
        return (self._urgent or self._bulk).popleft()

    def next(self, concurrency: int) -> ClaimedJob | None:
        """Take the one that may begin now, if there is one.

        It counts as running until `ended`.
        """
        if self._running >= concurrency:
            return None
        if self._urgent and not self._is_bulk_due():
            self._running += 1
            self._running_urgent += 1
            return self._urgent.popleft()
        if not self._bulk or (
            self._running >= concurrency - self.kept(concurrency)
        ):
            return None
        self._running += 1
        return self._bulk.popleft()

    def ended(self, job: ClaimedJob) -> None:
        """Note that a job runs no longer."""
        self._running -= 1
        self._running_urgent -= job.service_class is ServiceClass.INTERACTIVE

    def kept(self, concurrency: int) -> int:
        """Return how many places bulk jobs leave free."""
        if not self.are_mixed:
            return 0
        return self._headroom.kept(
            concurrency, self._held_urgent, self._timer()
        )

    def urgent_room(self, concurrency: int) -> int:
        """Return how many more interactive jobs may be claimed.

        They get the next places that come free, whoever has them now.
        """
        return concurrency - self._held_urgent

    def _is_bulk_due(self) -> bool:
        """Tell whether a bulk job begins before interactive ones."""
        if not self._bulk:
            return False
        self._bulk_due += self._bulk_share
        if self._bulk_due < 1:
            return False
        self._bulk_due -= 1
        return True

    @property
    def _held_urgent(self) -> int:
        return self._running_urgent + len(self._urgent)

    def _lane(self, job: ClaimedJob) -> deque[ClaimedJob]:
        is_bulk = job.service_class is ServiceClass.BULK
        return self._bulk if is_bulk else self._urgent
