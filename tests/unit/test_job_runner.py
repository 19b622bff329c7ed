from typing import Any

import pytest

from api.models.job_work import Claimant
from api.models.worker_models import WorkerConfig
from llm_sdks.model_gate import ModelGates
from llm_workers.job_runner import JobRunner


class Clock:
    """Milliseconds, which pass when the test says so."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def runner(clock: Clock) -> JobRunner:
    nothing: Any = None
    return JobRunner(
        Claimant("process", "worker"),
        "client",
        lambda: WorkerConfig(poll_interval=10, max_items_per_batch=50),
        nothing,
        nothing,
        nothing,
        ModelGates(),
        clock,
    )


def test_every_job_that_was_put_back_is_looked_for_when_it_is_due(
    runner: JobRunner, clock: Clock
) -> None:
    runner._poll_seconds = 10
    for due in (3.0, 1.0, 2.0, 1.02, 1.04):
        runner._remember_due(due)
    waits = []
    for _ in range(8):
        wait = runner._wait_seconds(free=1)
        assert wait is not None
        waits.append(round(wait, 3))
        clock.now += round(wait * 1000)
    # A wait of 0 claims what is due; those of one tick go together.
    assert waits == [1.0, 0.0, 0.1, 0.0, 0.9, 0.0, 1.0, 0.0]
    assert runner._wait_seconds(free=1) == 10


def test_without_a_free_place_nothing_is_looked_for(
    runner: JobRunner,
) -> None:
    runner._remember_due(0.0)
    assert runner._wait_seconds(free=0) is None
