"""What comes next in a run: a pure function of the run and its job.

No clock, no database: so it can be tested exhaustively, and two processes
that look at the same state decide alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api.models.job_models import Job, JobCreate
from api.models.job_status import JobStatus
from api.models.metrics import add_up
from api.models.run_models import (
    FinishReason,
    ModelRun,
    Run,
    RunIteration,
    RunStatus,
    StepFailure,
)
from api.services.queue.job_work import RUN_OPERATION
from api.services.runs.stored_runs import dump_model_runs

_ANSWERED = (JobStatus.PROCESSED, JobStatus.CONSUMED)
_WAITING = (JobStatus.PENDING, JobStatus.PROCESSING)


@dataclass(frozen=True, slots=True)
class Submit:
    """Queue this job; the same key makes it only once."""

    request: JobCreate
    key: str


@dataclass(frozen=True, slots=True)
class Change:
    """Write these fields, if the run is still as it was seen."""

    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do until the job ends."""


Step = Submit | Change | Wait


def next_step(run: Run, job: Job | None) -> Step:
    """Decide on a running run; `job` is its current job, if it exists."""
    if run.current_job_id is None:
        return _submit(run)
    if job is None:
        return fail(
            run,
            f"The job {run.current_job_id} of this iteration was deleted. "
            "Resume the run to try the iteration again.",
        )
    if job.status in _WAITING:
        return Wait()
    return _after(run, job)


def submitted(run: Run, job: Job) -> Change:
    """Note the job that was queued for the current iteration."""
    iteration = RunIteration(
        iteration=run.current_iteration,
        job_id=job.job_id,
        working_prompt_id=job.working_prompts[0],
        status=job.status,
        started_at=job.metadata.created_at,
    )
    return Change(
        {"currentJobId": job.job_id, **_with_iteration(run, iteration)}
    )


def fail(run: Run, reason: str) -> Change:
    """End the run until a person resumes it."""
    where = f"Model {_model_name(run)!r}, iteration {run.current_iteration}: "
    return Change(
        {
            "status": RunStatus.FAILED,
            "failureReason": where + reason,
            "finishReason": FinishReason.FAILED,
        }
    )


def _model_name(run: Run) -> str:
    index = run.current_model_index
    known = 0 <= index < len(run.working_models)
    return run.working_models[index] if known else f"number {index}"


def working_prompts(run: Run) -> list[str]:
    """Return the prompts of the current iteration."""
    if run.current_iteration == 0:
        return run.initial_working_prompt_ids
    before = _current(run).iterations[run.current_iteration - 1]
    return [str(before.suggested_prompt_id)]


def _submit(run: Run) -> Submit:
    place = f"{run.current_model_index}:{run.current_iteration}"
    request = JobCreate(
        operation=RUN_OPERATION,
        working_prompts=working_prompts(run),
        model=run.working_models[run.current_model_index],
        temperature=run.temperature,
        priority=run.priority,
        request_data=run.request_data or {},
        client_reference={
            "runId": run.run_id,
            "modelIndex": run.current_model_index,
            "iteration": run.current_iteration,
        },
        eval_prompt=run.eval_prompt_id,
        eval_model=run.eval_model,
        meta_prompt=run.meta_prompt_id,
        meta_model=run.meta_model,
    )
    return Submit(request, f"run:{run.run_id}:{place}:{run.attempt}")


def _after(run: Run, job: Job) -> Change:
    iteration = RunIteration(
        iteration=run.current_iteration,
        job_id=job.job_id,
        working_prompt_id=job.working_prompts[0],
        status=job.status,
        eval_result=job.eval_result,
        evaluation=_evaluation(job),
        eval_error=_failure_of("eval", job),
        meta_error=_failure_of("meta", job),
        suggested_prompt_id=job.suggested_prompt_id,
        processing_metrics=job.processing_metrics,
        started_at=job.metadata.created_at,
        finished_at=job.metadata.updated_at,
    )
    recorded = _with_iteration(run, iteration)
    problem = _problem(job)
    if problem is not None:
        return Change({**recorded, **fail(run, problem).fields})
    return Change({**recorded, **_onward(run)})


def _evaluation(job: Job) -> Any:  # noqa: ANN401 - the model's JSON
    """Give the evaluation without what a failed step has put into it."""
    result = job.eval_result
    if job.step_error is None or not isinstance(result, dict):
        return result
    rest = {
        name: value
        for name, value in result.items()
        if name not in {"error", "errorType"}
    }
    return rest or None


def _failure_of(step: str, job: Job) -> StepFailure | None:
    error = job.step_error
    if error is None or error.get("step") != step:
        return None
    return StepFailure(
        error_type=str(error.get("errorType")), error=str(error.get("error"))
    )


def _problem(job: Job) -> str | None:
    if job.status not in _ANSWERED:
        return _ended_badly(job)
    if (error := job.step_error) is not None:
        step = "evaluation" if error.get("step") == "eval" else "meta step"
        return (
            f"The {step} failed: {error.get('errorType')}: "
            f"{error.get('error')}. Correct its prompt or model, then resume "
            "the run."
        )
    if job.suggested_prompt_id is None:
        return "The meta step suggested no prompt. Resume to try again."
    return None


def _ended_badly(job: Job) -> str:
    if job.status is JobStatus.CANCELED:
        return f"The job {job.job_id} was cancelled. Resume to try again."
    error = job.error_data or {}
    return (
        f"The job {job.job_id} ended in {job.status}: "
        f"{error.get('errorType', 'unknown')}: {error.get('message', '')} "
        "Remove the cause, then resume the run."
    )


def _onward(run: Run) -> dict[str, Any]:
    if run.current_iteration + 1 < run.max_iterations:
        return {
            "currentJobId": None,
            "currentIteration": run.current_iteration + 1,
        }
    if run.current_model_index + 1 < len(run.working_models):
        return {
            "currentJobId": None,
            "currentModelIndex": run.current_model_index + 1,
            "currentIteration": 0,
        }
    return {
        "status": RunStatus.COMPLETED,
        "finishReason": FinishReason.MAX_ITERATIONS,
    }


def _current(run: Run) -> ModelRun:
    return run.model_runs[run.current_model_index]


def _with_iteration(run: Run, iteration: RunIteration) -> dict[str, Any]:
    current = _current(run)
    used = iteration.processing_metrics
    # A repeated iteration replaces the one that failed, but what that one
    # cost stays in the sums.
    iterations = [*current.iterations[: iteration.iteration], iteration]
    model_runs = list(run.model_runs)
    model_runs[run.current_model_index] = current.model_copy(
        update={
            "iterations": iterations,
            "processing_metrics": add_up([current.processing_metrics, used]),
        }
    )
    total = add_up([run.processing_metrics, used])
    return {
        "modelRuns": dump_model_runs(model_runs),
        "processingMetrics": total.model_dump(by_alias=True),
    }
