"""The orchestrator looks at the runs whose jobs end, and at no others."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from api.models.run_models import Run, RunStatus
from api.services.runs.run_service import RunService
from benchmarks.optimizer.hidden_rules import HiddenRules
from llm_optimizers.build import build_dataset_runs
from llm_optimizers.orchestrator import RunOrchestrator
from tests.support.rule_worker import TINY, RuleWorker
from tests.support.store import IN_MEMORY, Store, open_store
from tests.support.waiting import eventually_so
from utilities.signals import RUNS_CHANGED, Signals, run_changed

FOR_EVER = 3600.0


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(IN_MEMORY, tmp_path) as opened:
        yield opened


class Looks:
    """Counts what the orchestrator reads."""

    def __init__(
        self, runs: RunService, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.at_all = 0
        self.at_one: list[str] = []
        running, running_one = runs.running, runs.running_one

        async def counted() -> object:
            self.at_all += 1
            return await running()

        async def counted_one(run_id: str) -> Run | None:
            self.at_one.append(run_id)
            return await running_one(run_id)

        monkeypatch.setattr(runs, "running", counted)
        monkeypatch.setattr(runs, "running_one", counted_one)


async def test_the_end_of_a_job_costs_a_look_at_its_run(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    services, signals = store.application.services, Signals()
    worker = RuleWorker(store, HiddenRules(1, TINY))
    request = await worker.create()
    first, second = [
        (await services.runs.create_on_dataset(request, store.client)).run_id
        for _ in range(2)
    ]
    looks = Looks(services.runs, monkeypatch)
    orchestrator = RunOrchestrator(
        services.runs,
        services.jobs,
        signals,
        build_dataset_runs(services),
        poll_seconds=FOR_EVER,
    )
    task = asyncio.create_task(orchestrator.run())
    try:
        await eventually_so(lambda: looks.at_all == 1)
        await eventually_so(lambda: _waiting(store))
        signals.publish(run_changed(first))
        await eventually_so(lambda: looks.at_one == [first])
        # One that is not known here costs nothing.
        signals.publish(run_changed("0" * 24))
        await services.runs.cancel(second, store.client)
        signals.publish(run_changed(second))
        await eventually_so(lambda: looks.at_one == [first, second])
        assert looks.at_all == 1
        signals.publish(RUNS_CHANGED)
        await eventually_so(lambda: looks.at_all == 2)
        # It runs no more: nobody listens to its jobs.
        signals.publish(run_changed(second))
        assert looks.at_one == [first, second]
        await _worked(store, worker, signals, first)
    finally:
        orchestrator.stop()
        await task
    run = await services.runs.get(first, store.client)
    assert run.status is RunStatus.COMPLETED
    assert looks.at_all == 2


async def _waiting(store: Store) -> bool:
    return bool(await store.statuses())


async def _worked(
    store: Store, worker: RuleWorker, signals: Signals, run_id: str
) -> None:
    """Answer jobs, and tell of their ends, until the run has ended."""

    async def step() -> bool:
        if await worker.work():
            signals.publish(run_changed(run_id))
        runs = store.application.services.runs
        run = await runs.get(run_id, store.client)
        return run.status is not RunStatus.RUNNING

    await eventually_so(step)
