"""What a worker does with a job: working step, evaluation, meta step."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import stamina
import structlog
from pydantic import ValidationError

from api.core.errors import MetasyncError
from api.models.prompt_models import Prompt, PromptCreate, PromptStatus
from api.services.calls.catalog import Catalog
from api.services.calls.model_call import (
    FailedCallError,
    ModelAnswer,
    ModelCall,
)
from api.services.calls.model_caller import ModelCaller
from api.services.prompts.prompt_service import PromptService
from api.services.queue.job_work import (
    ClaimedJob,
    Failed,
    Outcome,
    Requeued,
    Succeeded,
)
from config import MissingModelKeyError
from llm_sdks.errors import (
    CallTimeoutError,
    LLMError,
    ModelUnavailableError,
    RateLimitedError,
)
from llm_workers.execution.answers import NoJsonError, to_json_text
from llm_workers.execution.error_data import (
    StepError,
    error_data,
    kind_of,
    said,
    unusable,
)
from utilities import json_schema, payload
from utilities.clock import Clock, now_ms
from utilities.cosmos_connector import StoreError
from utilities.log_summary import LogSummary

JSON_PARSING_ERROR = "JSON_PARSING_ERROR"
# The meta step gave nothing that could be kept as a prompt.
NO_SUGGESTION = "NO_SUGGESTION"
SCHEMA_MISMATCH = "SCHEMA_MISMATCH"
_LONGEST_DELAY_SECONDS = 86_400.0
# While its provider is down, a job's failures are not its own; but nothing
# is tried for ever.
_MOST_FAILURES = 100
# A meta step is paid for when its prompt is to be kept: the store gets
# this long to come back before the step is given up and made again.
_PATIENCE_SECONDS = 300.0
_NO_STORE_DELAY_SECONDS = 1.0

# What a step can fail with; everything else is a defect of ours.
_STEP_ERRORS = (FailedCallError, MissingModelKeyError, MetasyncError)

log = structlog.get_logger(__name__)


class Pipeline:
    """Runs claimed jobs; never raises for a job's own failure."""

    def __init__(
        self,
        caller: ModelCaller,
        catalog: Catalog,
        prompts: PromptService,
        *,
        max_attempts: int,
        clock: Clock = now_ms,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._caller = caller
        self._catalog = catalog
        self._prompts = prompts
        self._max_attempts = max_attempts
        self._chance = chance
        self._clock = clock

    async def run(self, job: ClaimedJob) -> Outcome:
        """Make all calls of a job and say what has come of it.

        Calls that an earlier attempt has paid for are not made again.
        """
        try:
            prompts = await self._catalog.prompts(
                job.working_prompts, job.client_id
            )
            done = job.checkpoint or await self._working_step(job, prompts)
        except _STEP_ERRORS as error:
            return self._requeue_later(job, error) or _failed(job, error)
        if isinstance(done, Failed):
            return done
        return await self._further_steps(job, prompts, done)

    async def _working_step(
        self, job: ClaimedJob, prompts: list[Prompt]
    ) -> Succeeded | Failed:
        system = "\n\n".join(prompt.prompt for prompt in prompts)
        answer = await self._caller.complete(
            ModelCall(
                await self._catalog.model(job.model),
                system,
                job.request_json,
                job.temperature,
                _call_key(job, "work"),
                job.response_schema,
            )
        )
        if answer.cut is not None:
            return unusable(job, answer, answer.cut.kind, str(answer.cut))
        return _read(job, answer)

    async def _further_steps(
        self, job: ClaimedJob, prompts: list[Prompt], done: Succeeded
    ) -> Succeeded | Requeued:
        try:
            if _wants_evaluation(job, done):
                done = await self._eval_step(job, done)
            if _wants_suggestion(job, done):
                done = await self._meta_step(job, prompts, done)
        except asyncio.CancelledError:
            # The worker stops. What has been paid for goes with the job.
            return Requeued(
                self._clock(),
                counted=False,
                reason="the worker stopped",
                checkpoint=done,
            )
        except StoreError as error:
            # Found missing before a call: nothing paid for is lost.
            due = self._clock() + _ms(_NO_STORE_DELAY_SECONDS)
            reason = type(error).__name__
            return Requeued(due, counted=False, reason=reason, checkpoint=done)
        except _PaidInVainError as error:
            return _with_step_error(error.done, error, error.kind)
        except _STEP_ERRORS as error:
            if (later := self._requeue_later(job, error)) is not None:
                return replace(later, checkpoint=done)
            # Without an evaluation there is nothing to learn from: the
            # meta step is left out too.
            return _with_step_error(done, error, kind_of(error))
        return done

    async def _eval_step(self, job: ClaimedJob, done: Succeeded) -> Succeeded:
        user = {
            "original_input": payload.load(job.request_json),
            "working_result": payload.load(done.response_json),
        }
        step = job.eval_prompt, job.eval_model, "eval"
        answer = await self._step(job, step, user)
        done = _with_cost_of(answer, done)
        try:
            evaluation = to_json_text(answer.completion.text)
        except NoJsonError as error:
            raise _PaidInVainError(
                str(error), done, JSON_PARSING_ERROR
            ) from None
        return replace(done, eval_json=evaluation)

    async def _meta_step(
        self, job: ClaimedJob, prompts: list[Prompt], done: Succeeded
    ) -> Succeeded:
        user = {
            "evaluation": done.eval_json and payload.load(done.eval_json),
            "original_prompts": [prompt.prompt for prompt in prompts],
            "working_result": payload.load(done.response_json),
        }
        step = job.meta_prompt, job.meta_model, "meta"
        answer = await self._step(job, step, user)
        done = _with_cost_of(answer, done)
        text = answer.completion.text.strip()
        if not text:
            raise _PaidInVainError(
                "The meta step gave no text", done, NO_SUGGESTION
            )
        try:
            draft = _draft(prompts[0], text)
            suggested = await self._keep(draft, job.client_id)
        except (ValidationError, MetasyncError) as error:
            raise _PaidInVainError(
                _first_problem(error), done, NO_SUGGESTION
            ) from None
        return replace(done, suggested_prompt_id=suggested.prompt_id)

    async def _keep(self, draft: PromptCreate, client_id: str) -> Prompt:
        async for attempt in stamina.retry_context(
            on=StoreError,
            attempts=None,
            timeout=_PATIENCE_SECONDS,
            wait_max=2.0,
        ):
            with attempt:
                return await self._prompts.add(draft, client_id)
        raise AssertionError  # pragma: no cover - the loop returns or raises

    async def _step(
        self,
        job: ClaimedJob,
        step: tuple[str | None, str | None, str],
        user: dict[str, Any],
    ) -> ModelAnswer:
        prompt_id, model, name = step
        (prompt,) = await self._catalog.prompts(
            [str(prompt_id)], job.client_id
        )
        return await self._caller.complete(
            ModelCall(
                await self._catalog.model(str(model)),
                prompt.prompt,
                payload.dump(user, max_depth=payload.MAX_DEPTH + 1),
                job.temperature,
                _call_key(job, name),
            )
        )

    def _requeue_later(
        self, job: ClaimedJob, error: StepError
    ) -> Requeued | None:
        """Say when to try again, if that can help."""
        later = None
        if isinstance(error, FailedCallError) and error.error.retryable:
            later = self._retry(job, error)
        if later is None:
            _tell_of_failure(job, error)
        return later

    def _retry(
        self, job: ClaimedJob, failed: FailedCallError
    ) -> Requeued | None:
        error, policy = failed.error, failed.model.resilience.policy.retry
        if isinstance(error, RateLimitedError | ModelUnavailableError):
            # Not this job's doing: its attempts stay as they are.
            wait = error.retry_after
            if wait is None:
                wait = policy.wait_seconds(1, self._chance)
            return self._requeue(job, error, wait, counted=False)
        job = replace(job, failures=job.failures + 1)
        is_outage = failed.is_outage and not isinstance(
            error, CallTimeoutError
        )
        ends_attempt = job.failures % policy.max_attempts == 0
        counted = ends_attempt and not is_outage
        if counted and job.attempts >= self._max_attempts:
            return None
        if job.failures >= _MOST_FAILURES:
            return None
        wait = policy.wait_seconds(job.failures, self._chance)
        wait = max(wait, error.retry_after or 0.0)
        return self._requeue(job, error, wait, counted=counted)

    def _requeue(
        self, job: ClaimedJob, error: LLMError, wait: float, *, counted: bool
    ) -> Requeued:
        due = self._clock() + _ms(wait)
        return Requeued(
            due, counted, reason=said(error), failures=job.failures
        )


# For all workers of the process: a model that refuses every call must not
# fill the log.
_FAILURES = LogSummary()


def _tell_of_failure(job: ClaimedJob, error: StepError) -> None:
    kind = kind_of(error)
    _FAILURES.tell(
        (job.model, kind),
        lambda count: log.warning(
            "step_failed",
            errorType=kind,
            reason=said(error),
            model=job.model,
            count=count,
        ),
    )


class _PaidInVainError(Exception):
    """A step's answer is of no use; `done` has what it cost."""

    def __init__(self, message: str, done: Succeeded, kind: str) -> None:
        super().__init__(message)
        self.done = done
        self.kind = kind


def _call_key(job: ClaimedJob, step: str) -> str:
    return f"metasync-{job.job_id}-{job.started_at}-{step}"


def _read(job: ClaimedJob, answer: ModelAnswer) -> Succeeded | Failed:
    """Make of a whole answer what the job wants of it."""
    text = answer.completion.text
    if job.as_text:
        kept = payload.dump({"text": payload.printable(text)})
        return Succeeded(kept, answer.metrics)
    try:
        response_json = to_json_text(text)
    except NoJsonError as error:
        return unusable(job, answer, JSON_PARSING_ERROR, str(error))
    if job.response_schema is not None:
        problem = json_schema.problem_of(response_json, job.response_schema)
        if problem is not None:
            message = f"The answer does not fit responseSchema: {problem}"
            return unusable(job, answer, SCHEMA_MISMATCH, message)
    return Succeeded(response_json, answer.metrics)


def _with_cost_of(answer: ModelAnswer, done: Succeeded) -> Succeeded:
    """Add what a step cost; an answer that is cut ends it there."""
    done = replace(done, metrics=done.metrics + answer.metrics)
    if answer.cut is not None:
        raise _PaidInVainError(str(answer.cut), done, answer.cut.kind)
    return done


def _wants_evaluation(job: ClaimedJob, done: Succeeded) -> bool:
    wanted = bool(job.eval_prompt and job.eval_model)
    return wanted and done.eval_json is None


def _wants_suggestion(job: ClaimedJob, done: Succeeded) -> bool:
    wanted = bool(job.meta_prompt and job.meta_model)
    return wanted and done.suggested_prompt_id is None


def _failed(job: ClaimedJob, error: StepError) -> Failed:
    return Failed(error_data(job, error))


def _ms(seconds: float) -> int:
    # No provider is believed that asks for more than a day.
    return round(min(seconds, _LONGEST_DELAY_SECONDS) * 1000)


def _with_step_error(
    done: Succeeded, error: Exception, kind: str
) -> Succeeded:
    evaluation = payload.load(done.eval_json) if done.eval_json else {}
    if not isinstance(evaluation, dict):
        evaluation = {"result": evaluation}
    evaluation |= {"error": said(error), "errorType": kind}
    return replace(done, eval_json=payload.dump(evaluation))


def _first_problem(error: ValidationError | MetasyncError) -> str:
    if isinstance(error, ValidationError):
        problem = error.errors(include_input=False, include_url=False)[0]
        return f"The suggested prompt cannot be kept: {problem['msg']}"
    return str(error)


def _draft(original: Prompt, text: str) -> PromptCreate:
    return PromptCreate(
        name=original.name,
        type=original.type,
        status=PromptStatus.DRAFT,
        prompt=text,
    )
