"""Runs on datasets under hostile data, metrics, and changes meanwhile."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from api.core.errors import RuleError
from api.models.dataset_models import DatasetCreate
from api.models.metrics import Metrics
from api.models.optimization_models import DatasetRunCreate
from api.models.prompt_models import PromptUpdate
from api.models.run_models import FinishReason, Run, RunStatus
from api.services.jobs.answer_jobs import JUDGE_OPERATION
from api.services.queue.job_work import ClaimedJob, Failed, Outcome, Succeeded
from api.services.shared.caller import Caller
from benchmarks.optimizer.hidden_rules import HiddenRules
from llm_optimizers.build import build_dataset_runs
from llm_optimizers.dataset_runs import DatasetRuns
from tests.support.rule_worker import TINY, RuleWorker
from tests.support.samples import nested
from tests.support.store import IN_MEMORY, Store, open_store
from utilities.cosmos_connector import Documents

SOME_TEXT = '{"label":"wrong"}'


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(IN_MEMORY, tmp_path) as opened:
        yield opened


@pytest.fixture
def worker(store: Store) -> RuleWorker:
    return RuleWorker(store, HiddenRules(1, TINY))


class Wrong(RuleWorker):
    """Answers all items wrong, questions with a new prompt."""

    judges = '{"thoughts":"hm"}'

    async def _answer(self, job: ClaimedJob) -> Outcome:
        count = len(self.answered)
        self.answered[f"{job.operation}:{count}"] += 1
        if job.operation == JUDGE_OPERATION:
            return Succeeded(self.judges, Metrics(1, 1))
        if job.as_text:
            text = f'{{"text":"<prompt>Be careful, {count}.</prompt>"}}'
            return Succeeded(text, Metrics(1, 1))
        return Succeeded(SOME_TEXT, Metrics(1, 1))


async def on(
    worker: RuleWorker, items: list[dict[str, Any]], **fields: Any
) -> Run:
    """Begin a run on these items."""
    services, client = worker.store.application.services, worker.store.client
    dataset = await services.datasets.create(
        DatasetCreate.model_validate({"name": "d", "items": items}), client
    )
    request = await worker.create()
    body = request.model_dump(by_alias=True) | fields
    body["datasetId"] = dataset.dataset_id
    return await services.runs.create_on_dataset(
        DatasetRunCreate.model_validate(body), client
    )


async def ended(
    worker: RuleWorker, run: Run, runs: DatasetRuns | None = None
) -> Run:
    services = worker.store.application.services
    runs = runs or build_dataset_runs(services)
    for _ in range(200):
        current = await services.runs.running_one(run.run_id)
        if current is None:
            return await services.runs.get(run.run_id, worker.store.client)
        await runs.advance(current)
        await worker.work()
    raise AssertionError("the run does not end")


def item(number: int, **fields: Any) -> dict[str, Any]:
    return {"requestData": {"n": number}, "expected": "right", **fields}


async def test_items_without_expected_are_refused_before_a_job_is_paid(
    worker: RuleWorker,
) -> None:
    items = [item(n, expected=n or None) for n in range(9)]
    with pytest.raises(RuleError, match="1 of the dataset's 9 items"):
        await on(worker, items)


@pytest.mark.parametrize(
    "wrong",
    [
        {"workingModels": ["a", "a"]},
        {"responseFormat": "text", "responseSchema": {"type": "object"}},
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    body = {
        "datasetId": "d",
        "metric": {"type": "exact"},
        "initialWorkingPromptIds": ["p"],
        "workingModels": ["m"],
    }
    DatasetRunCreate.model_validate(body)
    with pytest.raises(ValidationError):
        DatasetRunCreate.model_validate({**body, **wrong})


async def test_a_metric_that_is_not_installed_costs_nothing(
    worker: RuleWorker,
) -> None:
    metric = {"type": "entryPoint", "name": "nobody"}
    run = await ended(
        worker, await on(worker, [item(n) for n in range(40)], metric=metric)
    )
    assert run.status is RunStatus.FAILED
    assert "'nobody'" in str(run.failure_reason)
    assert not worker.answered


@pytest.mark.parametrize("tokens", [None, 100_000])
async def test_a_judge_that_answers_rubbish_ends_the_run(
    store: Store, tokens: int | None
) -> None:
    worker = Wrong(store, HiddenRules(1, TINY))
    metric = {"type": "judge", "promptId": store.prompt, "model": store.model}
    items = [item(n) for n in range(40)]
    run = await on(worker, items, metric=metric, maxTokens=tokens)
    run = await ended(worker, run)
    assert run.status is RunStatus.FAILED
    assert "The judge gave no score" in str(run.failure_reason)
    assert len(worker.answered) <= 22


async def test_a_few_rubbish_judgements_are_only_counted(
    store: Store,
) -> None:
    class SometimesWrong(Wrong):
        @property
        def judges(self) -> str:  # type: ignore[override]
            return '{"score":1}' if len(self.answered) % 5 else "{}"

    worker = SometimesWrong(store, HiddenRules(1, TINY))
    metric = {"type": "judge", "promptId": store.prompt, "model": store.model}
    run = await on(worker, [item(n) for n in range(40)], metric=metric)
    run = await ended(worker, run)
    assert run.status is RunStatus.COMPLETED, run.failure_reason


@pytest.mark.parametrize("strategy", ["metaprompt", "reflective", "fewshot"])
@pytest.mark.parametrize(
    "data",
    [
        {"deep": nested(97)},
        {f"k{n}": "x" * 1999 for n in range(1000)},
        {"texts": ["\u0000\u2028é🦜" * 300] * 60},
    ],
    ids=["deep", "wide", "odd"],
)
async def test_large_and_deep_inputs_can_be_asked_about(
    store: Store, data: dict[str, Any], strategy: str
) -> None:
    worker = Wrong(store, HiddenRules(1, TINY))
    items = [item(n, requestData={"n": n, **data}) for n in range(9)]
    run = await on(worker, items, strategy=strategy, maxIterations=1)
    run = await ended(worker, run)
    assert run.status is RunStatus.COMPLETED, run.failure_reason


async def test_a_resumed_run_keeps_to_its_limit_of_jobs(store: Store) -> None:
    worker = RuleWorker(store, HiddenRules(1, TINY))
    run = await on(worker, [item(n) for n in range(80)], maxJobs=50)
    worker.fails = True
    failed = await ended(worker, run)
    assert failed.status is RunStatus.FAILED
    services = store.application.services
    for _ in range(8):
        await services.runs.resume(run.run_id, store.client)
        run = await ended(worker, run)
    # Nothing is left to measure with, and it says so.
    assert run.status is RunStatus.COMPLETED, run.failure_reason
    assert run.finish_reason is FinishReason.MAX_JOBS
    assert run.verdict is None
    jobs = Documents(store.application.clients, "jobs")
    assert len(await jobs.find({"batchKey": run.run_id})) <= 50


async def asking_prompt(store: Store) -> str:
    prompts = Documents(store.application.clients, "prompts")
    (found,) = await prompts.find({"name": "metasync-reflect"})
    return str(found["_id"])


@pytest.mark.parametrize("change", ["delete", "edit"])
async def test_a_run_needs_no_prompt_that_its_client_has_changed(
    store: Store, change: str
) -> None:
    worker = RuleWorker(store, HiddenRules(1, TINY))
    services = store.application.services
    create = services.runs.create_on_dataset
    request = await worker.create(cache=False)
    await ended(worker, await create(request, store.client))
    prompt = await asking_prompt(store)
    if change == "delete":
        await services.prompts.delete(prompt, store.client)
    else:
        await services.prompts.update(
            prompt, PromptUpdate(prompt="Sing."), store.client
        )
    run = await ended(worker, await create(request, store.client))
    assert run.status is RunStatus.COMPLETED, run.failure_reason
    assert not any("Sing." in each for each in worker.answered)


async def test_a_run_keeps_the_text_that_it_has_begun_with(
    worker: RuleWorker,
) -> None:
    store = worker.store
    services = store.application.services
    request = await worker.create(strategy="fewshot", maxIterations=2)
    run = await services.runs.create_on_dataset(request, store.client)
    runs = build_dataset_runs(services)
    await runs.advance(run)
    await worker.work()
    (prompt,) = request.initial_working_prompt_ids
    change = PromptUpdate(prompt="Another text.")
    await services.prompts.update(prompt, change, Caller(run.client_id))
    done = await ended(worker, run)
    assert done.status is RunStatus.COMPLETED, done.failure_reason
    assert not any("Another text." in each for each in worker.answered)


async def test_nothing_stays_of_a_run_that_is_deleted_meanwhile(
    worker: RuleWorker,
) -> None:
    store = worker.store
    services = store.application.services
    run = await services.runs.create_on_dataset(
        await worker.create(), store.client
    )
    runs = build_dataset_runs(services)
    await runs.advance(run)
    await worker.work()
    await services.runs.delete(run.run_id, store.client)
    # It has been read before.
    await runs.advance(run)
    await services.runs.cancel_left(run.run_id)
    for name in ("run_waves", "run_candidates"):
        documents = Documents(store.application.clients, name)
        assert not await documents.find({"runId": run.run_id})
    assert "PENDING" not in await store.statuses()


async def test_a_budget_that_is_not_the_runs_own_is_named(
    store: Store,
) -> None:
    class Refused(RuleWorker):
        refuses_after = 20

        async def _answer(self, job: ClaimedJob) -> Outcome:
            if len(self.answered) >= self.refuses_after:
                kind = "BUDGET_EXHAUSTED"
                message = "The budget of the client is spent."
                return Failed({"errorType": kind, "message": message})
            return await super()._answer(job)

    worker = Refused(store, HiddenRules(1, TINY))
    services = store.application.services
    run = await services.runs.create_on_dataset(
        await worker.create(), store.client
    )
    failed = await ended(worker, run)
    assert failed.status is RunStatus.FAILED
    assert "The budget of the client is spent." in str(failed.failure_reason)
    worker.refuses_after = 10_000
    await services.runs.resume(run.run_id, store.client)
    done = await ended(worker, run)
    assert done.status is RunStatus.COMPLETED, done.failure_reason
    assert set(worker.answered.values()) == {1}
