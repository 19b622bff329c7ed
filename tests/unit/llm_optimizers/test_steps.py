"""The loop as a pure function: no clock, no database."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.models.job_models import Job
from api.models.job_status import JobStatus
from api.models.metrics import ProcessingMetrics, add_up
from api.models.run_models import ModelRun, Run, RunStatus
from api.services.runs.stored_runs import dump_model_runs
from llm_optimizers.steps import (
    Change,
    Submit,
    Wait,
    fail,
    next_step,
    submitted,
)

METADATA = {
    "createdAt": datetime(2026, 1, 1, tzinfo=UTC),
    "updatedAt": datetime(2026, 1, 1, tzinfo=UTC),
}
TOKENS = 7


def make_run(models: int = 1, iterations: int = 1) -> dict[str, Any]:
    names = [f"m{number}" for number in range(models)]
    return {
        "_id": "0" * 24,
        "_metadata": METADATA,
        "clientId": "c",
        "status": "RUNNING",
        "initialWorkingPromptIds": ["p0", "p1"],
        "evalPromptId": "e",
        "evalModel": "m",
        "metaPromptId": "x",
        "metaModel": "m",
        "workingModels": names,
        "maxIterations": iterations,
        "temperature": 0.5,
        "priority": 9,
        "requestData": {"q": 1},
        "modelRuns": dump_model_runs([ModelRun(model=n) for n in names]),
    }


def make_job(submit: Submit, number: int, **fields: Any) -> Job:
    request = submit.request
    return Job.model_validate(
        {
            **request.model_dump(by_alias=True),
            "_metadata": METADATA,
            "jobId": f"j{number}",
            "clientId": "c",
            "workingPrompts": request.working_prompts,
            "status": "PROCESSED",
            "responseData": {},
            "evalResult": {"score": 1},
            "suggestedPromptId": f"s{number}",
            "processingMetrics": ProcessingMetrics(
                input_tokens=TOKENS, total_tokens=TOKENS, duration=1.0
            ),
            **fields,
        }
    )


def apply(document: dict[str, Any], change: Change) -> None:
    document.update(change.fields)


def read(document: dict[str, Any]) -> Run:
    return Run.from_document(document)


BAD_ENDS: list[dict[str, Any]] = [
    {"status": "ERROR_PROCESSING", "errorData": {"errorType": "X"}},
    {"status": "CANCELED"},
    {
        "evalResult": {"score": 1, "errorType": "TIMEOUT", "error": "late"},
        "stepError": {"step": "meta", "errorType": "TIMEOUT", "error": "late"},
        "suggestedPromptId": None,
    },
    {"suggestedPromptId": None},
]


@given(
    models=st.integers(1, 3),
    iterations=st.integers(1, 4),
    ends=st.lists(st.sampled_from([{}, {}, {}, *BAD_ENDS]), max_size=40),
)
def test_every_run_comes_to_its_end_through_any_failures(
    models: int, iterations: int, ends: list[dict[str, Any]]
) -> None:
    document, keys, number = make_run(models, iterations), set(), 0
    while document["status"] != RunStatus.COMPLETED:
        if document["status"] == RunStatus.FAILED:
            assert document["failureReason"].startswith("Model 'm")
            # As RunService.resume does.
            document |= {
                "status": RunStatus.RUNNING,
                "currentJobId": None,
                "attempt": document.get("attempt", 0) + 1,
            }
        step = next_step(read(document), None)
        assert isinstance(step, Submit)
        assert step.key not in keys
        keys.add(step.key)
        number += 1
        end = ends.pop() if ends else {}
        job = make_job(step, number, **end)
        waiting = job.model_copy(update={"status": JobStatus.PENDING})
        apply(document, submitted(read(document), waiting))
        assert next_step(read(document), waiting) == Wait()
        change = next_step(read(document), job)
        assert isinstance(change, Change)
        # Two that look at the same state decide alike.
        assert next_step(read(document), job) == change
        apply(document, change)
    run = read(document)
    assert [len(each.iterations) for each in run.model_runs] == [
        iterations
    ] * models
    for model_run in run.model_runs:
        prompt = "p0"
        for place, iteration in enumerate(model_run.iterations):
            assert iteration.iteration == place
            assert iteration.working_prompt_id == prompt
            prompt = str(iteration.suggested_prompt_id)
    # What failed was paid for, too.
    assert run.processing_metrics.total_tokens == TOKENS * number
    assert run.processing_metrics.total_tokens == sum(
        each.processing_metrics.total_tokens for each in run.model_runs
    )


def test_the_first_job_is_made_of_the_request() -> None:
    step = next_step(read(make_run(models=2, iterations=2)), None)
    assert isinstance(step, Submit)
    assert step.request.working_prompts == ["p0", "p1"]
    assert step.request.operation == "optimize"
    assert step.request.priority == 9
    assert step.request.temperature == 0.5
    assert step.request.client_reference == {
        "runId": "0" * 24,
        "modelIndex": 0,
        "iteration": 0,
    }
    assert (step.request.eval_prompt, step.request.meta_prompt) == ("e", "x")


def test_a_job_that_is_gone_fails_the_run() -> None:
    run = read({**make_run(), "currentJobId": "gone"})
    step = next_step(run, None)
    assert isinstance(step, Change)
    assert step.fields["status"] == RunStatus.FAILED
    assert "gone" in step.fields["failureReason"]


@pytest.mark.parametrize(
    ("end", "word"),
    [
        (BAD_ENDS[0], "X"),
        (BAD_ENDS[1], "cancelled"),
        (BAD_ENDS[2], "late"),
        (BAD_ENDS[3], "suggested no prompt"),
    ],
)
def test_a_failure_says_where_and_why(end: dict[str, Any], word: str) -> None:
    document = make_run(iterations=2)
    submit = next_step(read(document), None)
    assert isinstance(submit, Submit)
    job = make_job(submit, 1, **end)
    apply(document, submitted(read(document), job))
    step = next_step(read(document), job)
    assert isinstance(step, Change)
    reason = step.fields["failureReason"]
    assert "'m0', iteration 0" in reason
    assert word in reason


def test_what_a_failed_iteration_cost_is_counted() -> None:
    document = make_run()
    submit = next_step(read(document), None)
    assert isinstance(submit, Submit)
    job = make_job(submit, 1, stepError={"step": "eval", "errorType": "X"})
    apply(document, submitted(read(document), job))
    step = next_step(read(document), job)
    assert isinstance(step, Change)
    assert step.fields["processingMetrics"]["totalTokens"] == TOKENS


def test_failing_changes_nothing_but_the_status() -> None:
    change = fail(read(make_run()), "because")
    assert set(change.fields) == {"status", "failureReason", "finishReason"}


def test_sums_of_several_currencies_have_no_cost() -> None:
    def used(currency: str) -> ProcessingMetrics:
        return ProcessingMetrics(
            input_tokens=1,
            total_tokens=1,
            duration=1,
            input_cost=0.5,
            output_cost=0.0,
            total_cost=0.5,
            currency=currency,
        )

    dollars = add_up([None, used("USD"), used("USD")])
    assert (dollars.currency, dollars.total_cost) == ("USD", 1.0)
    mixed = add_up([dollars, used("EUR")])
    assert (mixed.currency, mixed.total_cost) == (None, None)
    assert mixed.total_tokens == 3
    assert add_up([mixed, used("EUR")]).currency is None
    assert add_up([]) == ProcessingMetrics()


def ended(**end: Any) -> Run:
    document = make_run()
    submit = next_step(read(document), None)
    assert isinstance(submit, Submit)
    job = make_job(submit, 1, **end)
    apply(document, submitted(read(document), job))
    step = next_step(read(document), job)
    assert isinstance(step, Change)
    apply(document, step)
    return read(document)


def test_a_run_says_why_it_ended() -> None:
    assert ended().finish_reason == "MAX_ITERATIONS"
    assert ended(suggestedPromptId=None).finish_reason == "FAILED"


def test_an_iteration_has_its_times() -> None:
    (iteration,) = ended().model_runs[0].iterations
    assert iteration.started_at == METADATA["createdAt"]
    assert iteration.finished_at == METADATA["updatedAt"]


def test_the_error_of_a_step_stands_apart_from_the_evaluation() -> None:
    (iteration,) = ended(**BAD_ENDS[2]).model_runs[0].iterations
    assert iteration.eval_result["errorType"] == "TIMEOUT"
    assert iteration.evaluation == {"score": 1}
    assert iteration.eval_error is None
    assert iteration.meta_error is not None
    assert iteration.meta_error.error_type == "TIMEOUT"


def test_an_evaluation_may_speak_of_errors() -> None:
    run = ended(evalResult={"errorType": "style", "error": "too long"})
    assert run.status is RunStatus.COMPLETED
    (iteration,) = run.model_runs[0].iterations
    assert iteration.evaluation == {"errorType": "style", "error": "too long"}


def test_a_run_that_points_nowhere_can_still_fail() -> None:
    run = read({**make_run(), "currentModelIndex": 7})
    assert "number 7" in fail(run, "because").fields["failureReason"]
