"""Reports of real runs: a store in memory, a fake worker."""

import re
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from api.core.errors import NotFoundError
from api.models.run_models import Run
from api.services.shared.caller import Caller
from benchmarks.optimizer.hidden_rules import INSTRUCTION, HiddenRules
from llm_optimizers.build import build_dataset_runs
from llm_optimizers.report.build import build_run_reports
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
    services, client = worker.store.application.services, worker.store.client
    request = await worker.create(**fields)
    return await services.runs.create_on_dataset(request, client)


async def advanced(worker: RuleWorker, run: Run, steps: int = 200) -> Run:
    """Let orchestrator and worker take turns until the run has ended."""
    services = worker.store.application.services
    dataset_runs = build_dataset_runs(services)
    for _ in range(steps):
        current = await services.runs.running_one(run.run_id)
        if current is None:
            break
        await dataset_runs.advance(current)
        await worker.work()
    return await services.runs.get(run.run_id, worker.store.client)


async def written(worker: RuleWorker, run: Run) -> str:
    reports = build_run_reports(worker.store.application.services)
    page = await reports.page(run.run_id, Caller(run.client_id))
    return page.html


def words(html: str) -> str:
    """Give what a page says, without its marks."""
    body = html[html.index("<body>") :]
    text = unescape(re.sub(r"<[^>]*>", " ", body))
    return re.sub(r"\s+", " ", text)


async def test_a_run_from_its_beginning_to_its_end(worker: RuleWorker) -> None:
    run = await begun(worker, maxJobs=2000)
    page = words(await written(worker, run))
    assert "The run is running Nothing is measured yet." in page
    run = await advanced(worker, run, 4)
    page = words(await written(worker, run))
    assert "The best prompt so far scores 12." in page
    run = await advanced(worker, run)
    html = await written(worker, run)
    page = words(html)
    assert "The best prompt is better On 33 test items" in page
    assert "The target score was reached on validation." in page
    assert run.baseline is not None
    assert run.baseline.test is not None
    before = 100 * run.baseline.test.score
    assert f"Initial prompt, test {before:.1f} %" in page
    assert f"{INSTRUCTION} Rule hidden-" in page
    assert html.count('<details id="candidate-') == run.candidate_count
    assert "None: the best prompt answers all 33 test items right." in page
    for name, value in (("Seed", 0), ("Jobs at most", 2000)):
        assert f"{name} {value} " in page


async def test_failures_are_read_from_their_jobs(worker: RuleWorker) -> None:
    run = await advanced(worker, await begun(worker, maxIterations=1))
    asked = sum(worker.answered.values())
    page = words(await written(worker, run))
    assert "test items are not answered right by the best prompt" in page
    assert 'Input {"case":"case-' in page
    assert 'Answer {"answer":"wrong"}' in page
    # Expected by answered label.
    assert "Expected right (other) right" in page
    await worker.work()
    assert sum(worker.answered.values()) == asked


async def test_what_is_gone_is_left_out(worker: RuleWorker) -> None:
    run = await advanced(worker, await begun(worker, maxIterations=1))
    services, client = worker.store.application.services, worker.store.client
    assert run.dataset_id is not None
    await services.datasets.delete(run.dataset_id, client)
    for prompt_id in run.initial_working_prompt_ids:
        await services.prompts.delete(prompt_id, client)
    page = words(await written(worker, run))
    assert "cannot be shown: Dataset not found" in page
    assert "Its text is not stored." in page
    assert "The failures that remain" not in page


async def test_a_run_is_only_its_clients(worker: RuleWorker) -> None:
    run = await begun(worker)
    reports = build_run_reports(worker.store.application.services)
    with pytest.raises(NotFoundError):
        await reports.page(run.run_id, Caller("somebody else"))
