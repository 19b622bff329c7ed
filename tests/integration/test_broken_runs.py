"""Runs whose document is broken, and what deleting a run leaves alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from bson import ObjectId

from api.models.job_status import JobStatus
from api.models.metrics import Metrics
from api.models.run_models import Run, RunCreate
from api.services.queue.job_outcomes import Result
from api.services.queue.job_work import Succeeded
from api.services.shared.paging import PageRequest
from llm_optimizers.orchestrator import RunOrchestrator
from tests.support.store import Store
from utilities.cosmos_connector import Documents
from utilities.signals import Signals


async def made_run(store: Store) -> Run:
    request = RunCreate(
        initial_working_prompt_ids=[store.prompt],
        eval_prompt_id=store.prompt,
        eval_model=store.model,
        meta_prompt_id=store.prompt,
        meta_model=store.model,
        working_models=[store.model],
        max_iterations=1,
        request_data={"q": 1},
    )
    return await store.application.services.runs.create(request, store.client)


@asynccontextmanager
async def orchestrating(store: Store) -> AsyncIterator[None]:
    services = store.application.services
    orchestrator = RunOrchestrator(services.runs, services.jobs, Signals())
    task = asyncio.create_task(orchestrator.run())
    try:
        yield
    finally:
        orchestrator.stop()
        await task


async def run_of(store: Store, run_id: str) -> Run:
    return await store.application.services.runs.get(run_id, store.client)


async def becomes(store: Store, run_id: str, **wanted: Any) -> Run:
    async with asyncio.timeout(20):
        while True:
            run = await run_of(store, run_id)
            if all(getattr(run, name) == wanted[name] for name in wanted):
                return run
            await asyncio.sleep(0.02)


async def with_job(store: Store, run_id: str) -> Run:
    async with asyncio.timeout(20):
        while True:
            run = await run_of(store, run_id)
            if run.current_job_id is not None:
                return run
            await asyncio.sleep(0.02)


async def test_a_broken_run_fails_and_the_others_go_on(store: Store) -> None:
    broken, odd, sound = [await made_run(store) for _ in range(3)]
    documents = Documents(store.application.clients, "runs")
    for run, damage in (
        (broken, {"modelRuns": "not JSON", "maxIterations": "many"}),
        (odd, {"currentModelIndex": 7}),
    ):
        where = {"_id": ObjectId(run.run_id)}
        assert await documents.update(where, damage) is not None
    async with orchestrating(store):
        run = await becomes(store, broken.run_id, status="FAILED")
        assert "cannot be read" in str(run.failure_reason)
        assert run.working_models == [store.model]
        run = await becomes(store, odd.run_id, status="FAILED")
        assert "Metasync failed on this run" in str(run.failure_reason)
        await with_job(store, sound.run_id)
    services = store.application.services
    page = await services.runs.page(store.client, None, PageRequest())
    assert len(page.items) == 3
    await services.runs.delete(broken.run_id, store.client)


async def test_deleting_a_run_takes_no_cost_away(store: Store) -> None:
    runs = store.application.services.runs
    made = await made_run(store)
    async with orchestrating(store):
        run = await with_job(store, made.run_id)
        (job,) = await store.claim()
        done = Succeeded("{}", Metrics(10, 5, 1.0), "{}", "f" * 24)
        await store.queue.store([Result(job, done)])
        ended = await becomes(store, run.run_id, status="COMPLETED")
    assert ended.finish_reason == "MAX_ITERATIONS"
    (iteration,) = ended.model_runs[0].iterations
    assert iteration.started_at is not None
    assert iteration.finished_at is not None
    await runs.delete(run.run_id, store.client)
    assert await store.statuses() == {JobStatus.PROCESSED: 1}


async def test_cancelling_a_run_cancels_a_job_that_waits(
    store: Store,
) -> None:
    made = await made_run(store)
    async with orchestrating(store):
        await with_job(store, made.run_id)
    await store.application.services.runs.cancel(made.run_id, store.client)
    assert await store.statuses() == {JobStatus.CANCELED: 1}
    assert (await run_of(store, made.run_id)).finish_reason == "CANCELLED"
