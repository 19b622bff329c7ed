"""Runs on datasets: the real services, a store in memory, a fake worker."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from api.models.prompt_models import PromptStatus
from api.models.run_models import FinishReason, Run, RunStatus
from api.services.shared.paging import PageRequest
from benchmarks.optimizer.hidden_rules import HiddenRules
from llm_optimizers.build import build_dataset_runs
from tests.support.rule_worker import SMALL, RuleWorker
from tests.support.store import IN_MEMORY, Store, open_store


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(IN_MEMORY, tmp_path) as opened:
        yield opened


@pytest.fixture
def worker(store: Store) -> RuleWorker:
    return RuleWorker(store, HiddenRules(1, SMALL))


async def begun(worker: RuleWorker, **fields: Any) -> Run:
    store = worker.store
    return await store.application.services.runs.create_on_dataset(
        await worker.create(**fields), store.client
    )


async def ended(worker: RuleWorker, run: Run) -> Run:
    """Let orchestrator and worker take turns until the run has ended."""
    services = worker.store.application.services
    dataset_runs = build_dataset_runs(services)
    for _ in range(200):
        current = await services.runs.running_one(run.run_id)
        if current is None:
            return await services.runs.get(run.run_id, worker.store.client)
        await dataset_runs.advance(current)
        await worker.work()
    raise AssertionError("the run does not end")


async def prompt_of(worker: RuleWorker, run: Run) -> str:
    prompts = worker.store.application.services.prompts
    assert run.best_prompt_ids
    found = await prompts.usable(run.best_prompt_ids, run.client_id)
    return "\n\n".join(found[each].prompt for each in run.best_prompt_ids)


async def test_a_run_finds_the_rules_and_proves_it(worker: RuleWorker) -> None:
    run = await ended(worker, await begun(worker))
    assert run.status is RunStatus.COMPLETED, run.failure_reason
    assert run.finish_reason is FinishReason.TARGET_SCORE
    assert run.verdict == "improved"
    assert run.baseline is not None
    assert run.best is not None
    assert run.best.test is not None
    assert run.best.validation is not None
    assert run.best.validation.score >= 0.95
    assert run.best.test.score > 0.9
    prompt = await prompt_of(worker, run)
    assert worker.task.accuracy(prompt, "test") > 0.9
    assert run.jobs_used == sum(worker.answered.values())
    # Nothing was asked twice.
    assert set(worker.answered.values()) == {1}
    page = await worker.store.application.services.runs.candidates(
        run.run_id, worker.store.client, PageRequest()
    )
    assert len(page.items) == run.candidate_count
    assert page.items[0].change == "initial"
    services = worker.store.application.services
    published = await services.runs.publish(run.run_id, worker.store.client)
    assert published.published
    found = await services.prompts.get(
        published.best_prompt_ids[0], worker.store.client
    )
    assert found.status is PromptStatus.PUBLISHED
