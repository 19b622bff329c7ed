"""The evaluator, on the real services over a store in memory."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from api.core.errors import NotFoundError
from api.models.dataset_models import DatasetItem
from api.models.job_status import JobStatus
from api.models.job_update_models import JobUpdate
from api.models.metrics import Metrics
from api.models.model_models import ModelUpdate
from api.models.prompt_models import PromptUpdate
from api.services.jobs.job_filter import JobFilter
from api.services.queue.job_outcomes import Result
from api.services.queue.job_work import ClaimedJob, Failed, Outcome, Succeeded
from api.services.shared.caller import Caller
from llm_optimizers.evaluation.evaluator import Evaluator
from llm_optimizers.evaluation.item_scores import ItemScores
from llm_optimizers.evaluation.scoring import METRIC_ADAPTER
from llm_optimizers.evaluation.work import (
    EvaluationProgress,
    EvaluationWork,
    Source,
    SourceKind,
)
from tests.support.store import IN_MEMORY, Store, new_prompt, open_store
from utilities import payload

EXACT = METRIC_ADAPTER.validate_python({"type": "exact"})
USED = Metrics(10, 1, 0.5)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(IN_MEMORY, tmp_path) as opened:
        yield opened


def evaluator(store: Store) -> Evaluator:
    services = store.application.services
    return Evaluator(services.answer_jobs, services.models, services.prompts)


def items(count: int) -> list[DatasetItem]:
    return [
        DatasetItem(id=f"i{n}", request_data={"n": n}, expected=n)
        for n in range(count)
    ]


def work_of(store: Store, count: int = 3, **fields: Any) -> EvaluationWork:
    return EvaluationWork(
        **{
            "owner": str(store.client.client_id),
            "source": Source(SourceKind.EVALUATION, "e1"),
            "prompt_ids": (store.prompt,),
            "model": store.model,
            "items": items(count),
            "metric": EXACT,
            **fields,
        }
    )


def echo(job: ClaimedJob) -> Outcome:
    number = payload.load(job.request_json)["n"]
    return Succeeded(payload.dump({"n": number}), USED)


async def run_jobs(
    store: Store,
    answer: Callable[[ClaimedJob], Outcome] = echo,
    limit: int = 100,
) -> int:
    store.time.now += 1
    jobs = await store.claim(limit)
    await store.queue.store([Result(job, answer(job)) for job in jobs])
    return len(jobs)


async def finished(
    store: Store,
    scores: ItemScores,
    answer: Callable[[ClaimedJob], Outcome] = echo,
) -> EvaluationProgress:
    while not (progress := await scores.advance()).is_done:
        assert await run_jobs(store, answer)
    return progress


async def count(store: Store) -> int:
    jobs = store.application.services.jobs
    return (await jobs.summary(store.client, JobFilter())).total


async def test_items_are_asked_and_scored(store: Store) -> None:
    work = work_of(store)
    progress = await evaluator(store).advance(work)
    assert (progress.new_jobs, len(progress.open_jobs)) == (3, 3)
    assert not progress.is_done
    assert not progress.outcomes
    again = await evaluator(store).advance(work)
    assert (again.new_jobs, again.open_jobs) == (0, progress.open_jobs)
    await run_jobs(store, lambda _: Succeeded('{"n":1}', USED))
    done = await evaluator(store).advance(work)
    assert done.is_done
    assert [done.outcomes[f"i{n}"].score for n in range(3)] == [0, 1, 0]
    outcome = done.outcomes["i0"]
    assert outcome.detail == "expected 0, got 1"
    assert outcome.answer == {"n": 1}
    assert outcome.job_id in progress.open_jobs
    assert outcome.metrics is not None
    assert outcome.metrics.input_tokens == 10
    assert not outcome.cached


async def test_jobs_say_whose_they_are(store: Store) -> None:
    await evaluator(store).advance(work_of(store, 1, priority=7))
    jobs = store.application.services.jobs
    found = JobFilter(batch_key="e1", reference={"evaluationId": "e1"})
    assert (await jobs.summary(store.client, found)).total == 1
    (claimed,) = await store.claim()
    job = await jobs.get(str(claimed.job_id), store.client)
    assert (job.operation, job.priority) == ("evaluate", 7)
    assert job.client_reference == {"evaluationId": "e1", "itemId": "i0"}


async def test_no_more_jobs_are_open_than_asked_for(store: Store) -> None:
    scores = await evaluator(store).begin(work_of(store, 10, parallelism=3))
    progress = await scores.advance()
    assert (len(progress.open_jobs), progress.waiting) == (3, 7)
    assert (await scores.advance(0)).new_jobs == 0
    await run_jobs(store, limit=2)
    progress = await scores.advance()
    assert (progress.new_jobs, len(progress.open_jobs)) == (2, 3)
    done = await finished(store, scores)
    assert [each.score for each in done.outcomes.values()] == [1] * 10


async def test_the_same_content_is_asked_once(store: Store) -> None:
    begun = await evaluator(store).begin(work_of(store))
    await finished(store, begun)
    other = Source(SourceKind.RUN, "r1")
    work = work_of(store, 4, source=other)
    progress = await evaluator(store).advance(work)
    assert progress.new_jobs == 1
    assert all(each.cached for each in progress.outcomes.values())
    assert len(progress.outcomes) == 3
    # Another text, model setting, temperature or scope is another content.
    prompts = store.application.services.prompts
    same = await prompts.create(new_prompt("copy"), store.client)
    copied = await evaluator(store).advance(
        work_of(store, prompt_ids=(same.prompt_id,))
    )
    assert copied.is_done
    for fields in (
        {"temperature": 1.0},
        {"cache": False, "source": other},
        {"response_format": "text"},
    ):
        changed = work_of(store, **fields)
        assert (await evaluator(store).advance(changed)).new_jobs == 3


async def test_a_changed_prompt_or_model_is_asked_again(
    store: Store,
) -> None:
    services = store.application.services
    await evaluator(store).advance(work_of(store, 1))
    await services.prompts.update(
        store.prompt, PromptUpdate(prompt="y"), store.client
    )
    assert (await evaluator(store).advance(work_of(store, 1))).new_jobs == 1
    model = await services.models.find(store.model)
    await services.models.update(model.model_id, ModelUpdate(max_token=9))
    assert (await evaluator(store).advance(work_of(store, 1))).new_jobs == 1
    # What does not change answers makes no other content.
    await services.models.update(model.model_id, ModelUpdate(key="OTHER-KEY"))
    assert (await evaluator(store).advance(work_of(store, 1))).new_jobs == 0


async def test_equal_inputs_share_a_job(store: Store) -> None:
    twice = [
        DatasetItem(id=name, request_data={"n": 1}, expected=1)
        for name in "ab"
    ]
    scores = await evaluator(store).begin(work_of(store, items=twice))
    progress = await scores.advance()
    assert (progress.new_jobs, len(progress.open_jobs)) == (1, 1)
    done = await finished(store, scores)
    cached = {name: each.cached for name, each in done.outcomes.items()}
    assert cached == {"a": False, "b": True}


def fail(_: ClaimedJob) -> Outcome:
    return Failed({"errorType": "BROKEN", "message": "no"})


async def test_an_error_scores_0_and_is_tried_again_by_others(
    store: Store,
) -> None:
    work = work_of(store, 1)
    done = await finished(store, await evaluator(store).begin(work), fail)
    outcome = done.outcomes["i0"]
    assert (outcome.score, outcome.error, outcome.detail) == (
        *(0, "BROKEN"),
        "no",
    )
    assert (await evaluator(store).advance(work)).is_done
    for source in (
        replace(work.source, attempt=1),
        Source(SourceKind.EVALUATION, "e2"),
    ):
        begun = await evaluator(store).begin(replace(work, source=source))
        done = await finished(store, begun, fail)
        assert done.outcomes["i0"].error == "BROKEN"
    assert await count(store) == 3
    # For the first, its own failure stays what it was.
    assert (await evaluator(store).advance(work)).is_done


async def test_a_cancelled_job_is_an_error_and_a_deleted_one_is_repeated(
    store: Store,
) -> None:
    jobs = store.application.services.jobs
    begun = await evaluator(store).begin(work_of(store, 2))
    first, second = sorted((await begun.advance()).open_jobs)
    await jobs.update(
        first, JobUpdate(status=JobStatus.CANCELED), store.client
    )
    await jobs.delete(second, store.client)
    progress = await begun.advance()
    (outcome,) = progress.outcomes.values()
    assert (outcome.error, outcome.job_id) == ("CANCELED", first)
    assert progress.new_jobs == 1
    assert second not in progress.open_jobs
    await finished(store, begun)


async def test_a_job_that_its_client_has_changed_answers_nothing(
    store: Store,
) -> None:
    jobs = store.application.services.jobs
    work = work_of(store, 1)
    begun = await evaluator(store).begin(work)
    (job_id,) = (await begun.advance()).open_jobs
    other = JobUpdate(request_data={"n": 7})
    await jobs.update(job_id, other, store.client)
    done = await finished(store, begun)
    assert done.outcomes["i0"].job_id != job_id
    assert done.outcomes["i0"].score == 1


async def test_no_more_jobs_are_queued_than_allowed(store: Store) -> None:
    await finished(store, await evaluator(store).begin(work_of(store, 2)))
    other = Source(SourceKind.RUN, "r1")
    work = work_of(store, 6, source=other, most_new_jobs=3)
    begun = await evaluator(store).begin(work)
    done = await finished(store, begun)
    assert (len(done.outcomes), done.blocked) == (5, 1)
    assert await count(store) == 5


JUDGED = METRIC_ADAPTER.validate_python(
    [
        {"type": "exact"},
        {"type": "judge", "promptId": "P", "model": "M", "scorePath": "s"},
    ]
)


def judged_work(store: Store, count: int = 2) -> EvaluationWork:
    text = payload.dump(JUDGED.model_dump(mode="json", by_alias=True))
    text = text.replace('"P"', f'"{store.prompt}"')
    text = text.replace('"M"', f'"{store.model}"')
    metric = METRIC_ADAPTER.validate_python(payload.load(text))
    return work_of(store, count, metric=metric)


async def test_a_judge_is_asked_about_each_answer(store: Store) -> None:
    seen = []

    def answer(job: ClaimedJob) -> Outcome:
        if job.operation == "judge":
            seen.append(payload.load(job.request_json))
            return Succeeded('{"s":0.5}', USED)
        return echo(job)

    work = judged_work(store)
    done = await finished(store, await evaluator(store).begin(work), answer)
    assert [each.score for each in done.outcomes.values()] == [0.75, 0.75]
    assert {"input": {"n": 1}, "answer": {"n": 1}, "expected": 1} in seen
    outcome = done.outcomes["i0"]
    assert outcome.judge_metrics is not None
    assert outcome.judge_metrics.output_tokens == 1
    assert len(outcome.judge_job_ids) == 1
    assert (await evaluator(store).advance(work)).new_jobs == 0
    assert await count(store) == 4


@pytest.mark.parametrize("bad", [fail, lambda _: Succeeded("{}", USED)])
async def test_a_judge_that_fails_is_an_error(
    store: Store, bad: Callable[[ClaimedJob], Outcome]
) -> None:
    def answer(job: ClaimedJob) -> Outcome:
        return bad(job) if job.operation == "judge" else echo(job)

    work = judged_work(store, 1)
    done = await finished(store, await evaluator(store).begin(work), answer)
    outcome = done.outcomes["i0"]
    assert (outcome.score, outcome.error) == (0, "JUDGE_ERROR")
    assert outcome.answer == {"n": 0}


async def test_a_judge_that_cannot_be_asked_is_an_error(store: Store) -> None:
    deep = "[" * 101 + "]" * 101
    work = judged_work(store, 1)
    done = await finished(
        store,
        await evaluator(store).begin(work),
        lambda _: Succeeded(deep, USED),
    )
    outcome = done.outcomes["i0"]
    assert (outcome.score, outcome.error) == (0, "JUDGE_ERROR")
    assert "cannot be asked" in str(outcome.detail)


async def test_another_clients_answers_are_not_used(store: Store) -> None:
    await finished(store, await evaluator(store).begin(work_of(store)))
    public = new_prompt("p", isPublic=True)
    services = store.application.services
    admin = Caller(is_admin=True)
    prompt = await services.prompts.create(public, admin)
    work = work_of(store, owner="another", prompt_ids=(prompt.prompt_id,))
    assert (await evaluator(store).advance(work)).new_jobs == 3


async def test_what_is_gone_is_named(store: Store) -> None:
    for fields, name in (
        ({"model": "gone"}, "Model gone"),
        ({"prompt_ids": ("0" * 24,)}, "Prompt 0"),
        ({"owner": "another"}, "Prompt"),
    ):
        with pytest.raises(NotFoundError, match=name):
            await evaluator(store).begin(work_of(store, **fields))
