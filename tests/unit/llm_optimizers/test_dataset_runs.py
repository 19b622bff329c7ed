"""Runs on datasets: the real services, a store in memory, a fake worker."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from api.core.errors import RuleError
from api.models.model_models import CostInput, ModelCreate
from api.models.optimization_models import DatasetRunCreate
from api.models.prompt_models import PromptStatus
from api.models.run_models import FinishReason, Run, RunStatus
from api.services.shared.paging import PageRequest
from benchmarks.optimizer.hidden_rules import HiddenRules
from llm_optimizers.ask_jobs import AskMaker
from llm_optimizers.build import build_dataset_runs
from llm_optimizers.dataset_runs import DatasetRuns
from llm_optimizers.evaluation.work import Source, SourceKind
from llm_optimizers.run_prompts import RunPrompts
from llm_optimizers.strategies.protocol import Ask, Purpose
from tests.support.rule_worker import SMALL, TINY, RuleWorker
from tests.support.store import IN_MEMORY, Store, open_store
from utilities.cosmos_connector import Documents


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
    assert run.best_prompt_ids
    for each in run.best_prompt_ids:
        found = await services.prompts.get(each, worker.store.client)
        assert found.status is PromptStatus.PUBLISHED
        assert found.source is not None
        assert found.source.run_id == run.run_id


@pytest.mark.parametrize("strategy", ["metaprompt", "fewshot", "auto"])
async def test_every_strategy_ends_within_its_limits(
    store: Store, strategy: str
) -> None:
    worker = RuleWorker(store, HiddenRules(1, TINY))
    run = await ended(
        worker, await begun(worker, strategy=strategy, maxJobs=150)
    )
    assert run.status is RunStatus.COMPLETED, run.failure_reason
    assert run.jobs_used is not None
    assert run.jobs_used <= 150
    assert run.jobs_used == sum(worker.answered.values())
    assert run.best is not None
    assert run.best.test is not None


@pytest.mark.parametrize("most", [1, 3, 10, 40, 80])
async def test_no_limit_of_jobs_is_passed(store: Store, most: int) -> None:
    worker = RuleWorker(store, HiddenRules(1, TINY))
    run = await ended(worker, await begun(worker, maxJobs=most))
    assert run.status is RunStatus.COMPLETED, run.failure_reason
    assert sum(worker.answered.values()) <= most
    assert (run.finish_reason is FinishReason.MAX_JOBS) == (most < 80)
    warned = any("proposals" in each for each in run.warnings or ())
    assert warned == (most < 80)


async def test_no_limit_of_tokens_is_passed(store: Store) -> None:
    worker = RuleWorker(store, HiddenRules(1, TINY))
    run = await ended(worker, await begun(worker, maxTokens=700))
    assert run.status is RunStatus.COMPLETED, run.failure_reason
    assert run.finish_reason is FinishReason.MAX_TOKENS
    assert run.tokens_used is not None
    assert 300 < run.tokens_used <= 700


async def test_a_second_run_pays_nothing_for_the_same_answers(
    store: Store,
) -> None:
    worker = RuleWorker(store, HiddenRules(1, TINY))
    request = await worker.create()
    runs = store.application.services.runs
    first = await ended(
        worker, await runs.create_on_dataset(request, store.client)
    )
    asked = sum(worker.answered.values())
    second = await ended(
        worker, await runs.create_on_dataset(request, store.client)
    )
    assert sum(worker.answered.values()) == asked
    assert second.jobs_used == 0
    assert second.cached_answers
    assert await prompt_of(worker, second) == await prompt_of(worker, first)
    alone = request.model_copy(update={"cache": False})
    third = await ended(
        worker, await runs.create_on_dataset(alone, store.client)
    )
    assert third.cached_answers == 0
    assert sum(worker.answered.values()) == 2 * asked


async def test_later_models_begin_with_the_best_of_earlier_ones(
    store: Store,
) -> None:
    worker = RuleWorker(store, HiddenRules(1, TINY))
    other = await store.application.services.models.create(
        await other_model(store)
    )
    request = await worker.create(
        workingModels=[store.model, other.name], metaModel=store.model
    )
    runs = store.application.services.runs
    run = await ended(
        worker, await runs.create_on_dataset(request, store.client)
    )
    assert run.model_results is not None
    first, second = run.model_results
    assert (first.model, second.model) == (store.model, other.name)
    assert second.baseline.validation is not None
    assert second.best.validation is not None
    # The first prompt, and the best of the other model: no more was needed.
    assert second.best.validation.score >= 0.95
    reflections = [e for e in worker.answered if e.startswith("reflect")]
    assert reflections


async def other_model(store: Store) -> ModelCreate:
    return ModelCreate(
        name=f"{store.model}-2",
        sdk="test",
        max_token=1,
        cost=CostInput(input=1, output=1),
    )


async def test_a_cancelled_run_cancels_all_its_waiting_jobs(
    store: Store,
) -> None:
    worker = RuleWorker(store, HiddenRules(1, TINY))
    run = await begun(worker)
    services = store.application.services
    await build_dataset_runs(services).advance(run)
    assert await store.statuses() == {"PENDING": 8}
    await services.runs.cancel(run.run_id, store.client)
    assert await store.statuses() == {"CANCELED": 8}
    with pytest.raises(RuleError, match="COMPLETED"):
        await services.runs.publish(run.run_id, store.client)


async def test_a_failing_model_fails_the_run_which_can_go_on(
    store: Store,
) -> None:
    worker = RuleWorker(store, HiddenRules(1, TINY))
    run = await begun(worker)
    services = store.application.services
    dataset_runs = build_dataset_runs(services)
    await dataset_runs.advance(run)
    worker.fails = True
    await worker.work()
    await dataset_runs.advance(run)
    failed = await services.runs.get(run.run_id, store.client)
    assert failed.status is RunStatus.FAILED
    assert "NO_KEY" in str(failed.failure_reason)
    worker.fails = False
    resumed = await services.runs.resume(run.run_id, store.client)
    done = await ended(worker, resumed)
    assert done.status is RunStatus.COMPLETED
    assert done.verdict == "improved"


class KilledError(BaseException):
    """The process dies here."""


class Killer:
    """Lets the process die at one of the writes of its orchestrator."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.writes = 0
        self.dies_at: int | None = None
        self.is_watching = False
        for name in ("insert", "insert_many", "update", "update_each"):
            original = getattr(Documents, name)
            monkeypatch.setattr(Documents, name, self._watched(original))

    def _watched(self, original: Callable[..., Any]) -> Callable[..., Any]:
        async def watched(*args: Any, **options: Any) -> Any:
            if not self.is_watching:
                return await original(*args, **options)
            self.writes += 1
            at = self.writes
            # Every second time, the write itself is done before the end.
            if at == self.dies_at and at % 2:
                raise KilledError
            done = await original(*args, **options)
            if at == self.dies_at:
                raise KilledError
            return done

        return watched


async def ended_with_kills(
    worker: RuleWorker, request: DatasetRunCreate, killer: Killer
) -> Run:
    services = worker.store.application.services
    run = await services.runs.create_on_dataset(request, worker.store.client)
    dataset_runs: DatasetRuns = build_dataset_runs(services)
    for _ in range(200):
        current = await services.runs.running_one(run.run_id)
        if current is None:
            return await services.runs.get(run.run_id, worker.store.client)
        killer.is_watching = True
        try:
            await dataset_runs.advance(current)
        except KilledError:
            dataset_runs = build_dataset_runs(services)
        killer.is_watching = False
        await worker.work()
    raise AssertionError("the run does not end")


async def test_killed_anywhere_it_ends_with_the_same_prompt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killer = Killer(monkeypatch)
    found: set[str] = set()
    calls: set[int] = set()
    points: list[int | None] = [None]
    for index in range(21):
        directory = tmp_path / str(index)
        directory.mkdir()
        async with open_store(IN_MEMORY, directory) as store:
            worker = RuleWorker(store, HiddenRules(3, TINY))
            request = await worker.create()
            killer.writes, killer.dies_at = 0, points[index]
            run = await ended_with_kills(worker, request, killer)
            assert run.status is RunStatus.COMPLETED, run.failure_reason
            found.add(await prompt_of(worker, run))
            assert set(worker.answered.values()) == {1}
            calls.add(sum(worker.answered.values()))
            assert run.jobs_used == sum(worker.answered.values())
        if index == 0:
            writes = killer.writes
            points += [1 + place * writes // 20 for place in range(20)]
    assert len(set(points)) == 21
    assert len(found) == len(calls) == 1


async def test_two_processes_may_bring_a_run_on(store: Store) -> None:
    worker = RuleWorker(store, HiddenRules(3, TINY))
    services = store.application.services
    run = await services.runs.create_on_dataset(
        await worker.create(), store.client
    )
    both = [build_dataset_runs(services) for _ in range(2)]
    for _ in range(200):
        current = await services.runs.running_one(run.run_id)
        if current is None:
            break
        await asyncio.gather(*(each.advance(current) for each in both))
        await worker.work()
    done = await services.runs.get(run.run_id, store.client)
    assert done.status is RunStatus.COMPLETED, done.failure_reason
    assert set(worker.answered.values()) == {1}
    alone = RuleWorker(store, HiddenRules(3, TINY))
    same = await ended(alone, await begun(alone, cache=False))
    assert await prompt_of(alone, same) == await prompt_of(worker, done)


async def test_equal_questions_are_asked_once_and_answered_alike(
    store: Store,
) -> None:
    worker = RuleWorker(store, HiddenRules(1, TINY))
    run = await begun(worker)
    services = store.application.services
    maker = AskMaker(
        services.answer_jobs, services.models, RunPrompts(services.prompts)
    )
    ask = Ask(Purpose.REFLECT, 0, {"currentPrompt": "x", "failures": []})
    source = Source(SourceKind.RUN, run.run_id)
    asks = await maker.begin(run, [(ask, store.model)] * 2, source)
    assert await asks.advance(10) == 1
    await worker.work()
    assert await asks.advance(10) == 0
    first, second = asks.texts()
    assert first == second is not None
    assert sum(worker.answered.values()) == 1
    worker.fails = True
    other = Ask(Purpose.MERGE, 0, {"originalPrompt": "x", "versions": ["y"]})
    asks = await maker.begin(run, [(other, store.model)] * 2, source)
    await asks.advance(10)
    await worker.work()
    assert await asks.advance(10) == 0
    assert asks.texts() == [None, None]
    assert asks.failure == "NO_KEY: no key"
