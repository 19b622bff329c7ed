"""An evaluation under way, block by block, over a store in memory."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from api.core.errors import NotFoundError, RuleError
from api.models.dataset_models import DatasetCreate
from api.models.evaluation_models import (
    Evaluation,
    EvaluationCreate,
    EvaluationStatus,
)
from api.models.prompt_models import PromptUpdate
from api.services.jobs.job_filter import JobFilter
from llm_optimizers.evaluation import active as active_module
from llm_optimizers.evaluation import evaluation_runner
from llm_optimizers.evaluation.active import ActiveEvaluation
from llm_optimizers.evaluation.build import (
    build_evaluation_runner,
    build_evaluator,
)
from tests.support.samples import becomes
from tests.support.store import IN_MEMORY, Store, open_store
from tests.unit.llm_optimizers.evaluation.test_evaluator import run_jobs
from utilities.cosmos_connector import StoreError

ITEMS = 23


@pytest.fixture
async def store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Store]:
    monkeypatch.setattr(active_module, "_BLOCK", 5)
    async with open_store(IN_MEMORY, tmp_path) as opened:
        yield opened


async def created(store: Store, **fields: Any) -> Evaluation:
    services = store.application.services
    items = [{"requestData": {"n": n}, "expected": n} for n in range(ITEMS)]
    dataset = await services.datasets.create(
        DatasetCreate.model_validate({"name": "d", "items": items}),
        store.client,
    )
    request = EvaluationCreate.model_validate(
        {
            "datasetId": dataset.dataset_id,
            "promptIds": [store.prompt],
            "models": [store.model],
            "metric": {"type": "exact"},
            "parallelism": 7,
            **fields,
        }
    )
    return await services.evaluations.create(request, store.client)


async def begin(store: Store, evaluation: Evaluation) -> ActiveEvaluation:
    services = store.application.services
    return await ActiveEvaluation.begin(
        evaluation,
        services.datasets,
        services.evaluation_results,
        build_evaluator(services),
    )


async def jobs_of(store: Store) -> int:
    jobs = store.application.services.jobs
    return (await jobs.summary(store.client, JobFilter())).total


@pytest.mark.parametrize("crash_every_round", [False, True])
async def test_blocks_are_worked_on_and_stored(
    store: Store, *, crash_every_round: bool
) -> None:
    evaluation = await created(store)
    active = await begin(store, evaluation)
    await active.advance()
    while not active.is_done:
        # More than a block, but never more than may be open.
        assert 0 < len(active.open_jobs) <= 7
        await run_jobs(store, limit=4)
        if crash_every_round:
            active = await begin(store, evaluation)
        await active.advance()
    assert active.progress.done == active.progress.total == ITEMS
    assert await jobs_of(store) == ITEMS
    results = store.application.services.evaluation_results
    found = [
        each.item_id
        async for some in results.results(evaluation, 0)
        for each in some
    ]
    assert found == [str(n + 1) for n in range(ITEMS)]
    stored = await results.blocks(evaluation.evaluation_id)
    assert sorted(each.count for each in stored) == [3, 5, 5, 5, 5]


@pytest.mark.parametrize("restart", [False, True])
async def test_two_texts_of_a_prompt_are_not_mixed(
    store: Store, *, restart: bool
) -> None:
    evaluation = await created(store)
    active = await begin(store, evaluation)
    await active.advance()
    await run_jobs(store, limit=7)
    await active.advance()
    change = PromptUpdate(prompt="Another text.")
    await store.application.services.prompts.update(
        store.prompt, change, store.client
    )
    if restart:
        active = await begin(store, evaluation)
    await run_jobs(store)
    with pytest.raises(RuleError, match="was changed"):
        await active.advance()


async def test_nothing_stays_of_one_that_is_deleted_meanwhile(
    store: Store,
) -> None:
    evaluation = await created(store)
    services = store.application.services
    active = await begin(store, evaluation)
    await active.advance()
    await run_jobs(store)
    which = evaluation.evaluation_id
    await services.evaluations.delete(which, store.client)
    await active.advance()
    await services.evaluations.leave(which, evaluation.client_id)
    assert not await services.evaluation_results.blocks(which)
    assert "PENDING" not in await store.statuses()


async def test_a_deleted_dataset_ends_it(store: Store) -> None:
    evaluation = await created(store)
    services = store.application.services
    active = await begin(store, evaluation)
    await services.datasets.delete(evaluation.dataset_id, store.client)
    with pytest.raises(NotFoundError, match="Dataset"):
        await active.advance()
    with pytest.raises(NotFoundError, match="Dataset"):
        await begin(store, evaluation)


async def test_the_runner_survives_a_database_that_fails(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    services, shared = store.application.services, store.application.shared
    evaluation = await created(store)
    runner = build_evaluation_runner(shared, services)
    find, failures = services.answer_jobs.find, 3

    async def failing(job_ids: Any) -> Any:
        nonlocal failures
        failures -= 1
        if failures > 0:
            raise StoreError("away")
        return await find(job_ids)

    monkeypatch.setattr(services.answer_jobs, "find", failing)
    monkeypatch.setattr(evaluation_runner, "_POLL_SECONDS", 0.01)
    running = asyncio.create_task(runner.run())
    try:

        async def answer() -> Evaluation:
            while True:
                await run_jobs(store)
                runner.wake()
                current = await services.evaluations.get(
                    evaluation.evaluation_id, store.client
                )
                if current.status is not EvaluationStatus.RUNNING:
                    return current
                await asyncio.sleep(0)

        done = await asyncio.wait_for(answer(), 30)
    finally:
        runner.stop()
        await running
    assert done.status is EvaluationStatus.COMPLETED
    assert done.results[0].score == 1
    assert done.jobs_used == ITEMS


async def test_one_that_cannot_be_read_does_not_stop_others(
    store: Store,
) -> None:
    services, shared = store.application.services, store.application.shared
    broken, good = await created(store), await created(store)
    documents = services.evaluations._documents
    await documents.update_many(
        {"datasetId": broken.dataset_id}, {"metric": '{"type":"?"}'}
    )
    runner = build_evaluation_runner(shared, services)
    running = asyncio.create_task(runner.run())
    await becomes(lambda: runner._active)
    runner.stop()
    await running
    assert list(runner._active) == [good.evaluation_id]
    (document,) = await documents.find({"status": "FAILED"})
    assert document["failureReason"] == "It cannot be read"


async def ended(store: Store, evaluation: Evaluation) -> Evaluation:
    services = store.application.services
    while True:
        found = await services.evaluations.get(
            evaluation.evaluation_id, store.client
        )
        if found.status is not EvaluationStatus.RUNNING:
            return found
        await asyncio.sleep(0)


async def test_one_that_fails_leaves_no_job_waiting(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    services, shared = store.application.services, store.application.shared
    evaluation = await created(store)
    runner = build_evaluation_runner(shared, services)
    running = asyncio.create_task(runner.run())
    try:
        await becomes(
            lambda: any(
                len(each.open_jobs) == 7 for each in runner._active.values()
            )
        )
        monkeypatch.setattr(ActiveEvaluation, "advance", lambda _: 1 / 0)
        await run_jobs(store, limit=1)
        runner.wake()
        done = await asyncio.wait_for(ended(store, evaluation), 30)
        assert str(done.failure_reason).endswith("ZeroDivisionError")
        await becomes(lambda: not runner._active)
        gone = await created(
            store, metric={"type": "entryPoint", "name": "gone"}
        )
        done = await asyncio.wait_for(ended(store, gone), 30)
        assert "No installed package" in str(done.failure_reason)
    finally:
        runner.stop()
        await running
    assert await store.statuses() == {"PROCESSED": 1, "CANCELED": 6}


async def test_two_processes_bring_one_on_together(store: Store) -> None:
    services, shared = store.application.services, store.application.shared
    evaluation = await created(store)
    runners = [build_evaluation_runner(shared, services) for _ in range(2)]
    running = [asyncio.create_task(each.run()) for each in runners]
    try:
        await becomes(lambda: all(each._active for each in runners))
        while await run_jobs(store, limit=5) or runners[0]._active:
            for each in runners:
                each.wake()
            await asyncio.sleep(0.01)
        done = await asyncio.wait_for(ended(store, evaluation), 30)
    finally:
        for each in runners:
            each.stop()
        await asyncio.gather(*running)
    assert done.results[0].count == done.jobs_used == ITEMS
    assert done.results[0].score == 1
    assert await store.statuses() == {"PROCESSED": ITEMS}
