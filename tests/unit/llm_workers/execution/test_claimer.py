"""What a claim leaves out, and when it may be claimed after all."""

from collections.abc import Sequence
from typing import Any, cast

from api.models.worker_models import WorkerConfig
from api.services.limits.claims import Claimable, ClaimGuard
from api.services.queue.job_queue import JobQueue
from api.services.queue.job_work import Claimant, ClaimedJob
from llm_workers.execution.claimer import Claimer

_CONFIG = WorkerConfig(poll_interval=1, max_items_per_batch=5)


class _Guard:
    def __init__(self, *closed: str) -> None:
        self.closed = frozenset(closed)

    def look(
        self,
        _client_id: str,
        _wanted: int | None = None,
        *,
        bulk: bool = True,
    ) -> Claimable:
        assert bulk
        return Claimable(self.closed, (), 0.2 if self.closed else None)


class _EmptyQueue:
    async def claim(self, *_given: Any) -> Sequence[ClaimedJob]:
        return []


async def test_tells_that_a_model_left_out_may_be_claimed_again() -> None:
    guard = _Guard("full", "other")
    claimer = Claimer(
        Claimant("p", "w"),
        "c",
        cast("JobQueue", _EmptyQueue()),
        cast("ClaimGuard", guard),
        lambda: 0,
        take=lambda _: None,
        look_at=lambda _: None,
    )
    assert not claimer.has_opened()
    assert await claimer.claim(_CONFIG, 5) is None
    assert not claimer.has_opened()
    guard.closed = frozenset({"other"})
    assert claimer.has_opened()
    await claimer.claim(_CONFIG, 5)
    # Claimed and nothing found: no reason to look again.
    assert not claimer.has_opened()
