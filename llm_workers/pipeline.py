"""What a worker does with a job: working step, evaluation, meta step."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import stamina
import structlog
from pydantic import ValidationError

from api.core.errors import MetasyncError
from api.models.job_work import (
    ClaimedJob,
    Failed,
    Outcome,
    PutBack,
    Succeeded,
)
from api.models.prompt_models import Prompt, PromptCreate, PromptStatus
from api.services.prompt_service import PromptService
from config import MissingModelKeyError
from llm_sdks.errors import LLMError, RateLimitedError
from llm_workers.answers import NoJsonError, to_json_text
from llm_workers.catalog import Catalog
from llm_workers.llm_caller import Answer, Call, LLMCaller
from utilities import payload
from utilities.clock import Clock, now_ms
from utilities.cosmos_connector import StoreError

JSON_PARSING_ERROR = "JSON_PARSING_ERROR"
# The meta step gave nothing that could be kept as a prompt.
NO_SUGGESTION = "NO_SUGGESTION"
_FIRST_WAIT_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 60.0
_LONGEST_DELAY_SECONDS = 86_400.0
# A meta step is paid for when its prompt is to be kept: the store gets
# this long to come back before the step is given up and made again.
_PATIENCE_SECONDS = 300.0
_NO_STORE_DELAY_SECONDS = 1.0

# What a step can fail with; everything else is a defect of ours.
StepError = LLMError | MissingModelKeyError | MetasyncError | NoJsonError
_STEP_ERRORS = (LLMError, MissingModelKeyError, MetasyncError, NoJsonError)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how late a job runs again; `max_attempts` counts all."""

    max_attempts: int
    jitter: Callable[[], float] = random.random

    def wait_seconds(self, attempt: int) -> float:
        """Return how long to wait after the attempt of this number."""
        wait = min(
            _FIRST_WAIT_SECONDS * 2.0 ** (attempt - 1), _LONGEST_WAIT_SECONDS
        )
        return wait * (0.5 + self.jitter() / 2)


class Pipeline:
    """Runs claimed jobs; never raises for a job's own failure."""

    def __init__(
        self,
        caller: LLMCaller,
        catalog: Catalog,
        prompts: PromptService,
        retry: RetryPolicy,
        clock: Clock = now_ms,
    ) -> None:
        self._caller = caller
        self._catalog = catalog
        self._prompts = prompts
        self._retry = retry
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
            return self._later(job, error) or _failed(job, error)
        if isinstance(done, Failed):
            return done
        return await self._further_steps(job, prompts, done)

    async def _working_step(
        self, job: ClaimedJob, prompts: list[Prompt]
    ) -> Succeeded | Failed:
        system = "\n\n".join(prompt.prompt for prompt in prompts)
        answer = await self._caller.call(
            Call(job.model, system, job.request_json, job.temperature)
        )
        try:
            response_json = to_json_text(answer.completion.text)
        except NoJsonError as error:
            return Failed(_no_json(job, answer, error), answer.metrics)
        return Succeeded(response_json, answer.metrics)

    async def _further_steps(
        self, job: ClaimedJob, prompts: list[Prompt], done: Succeeded
    ) -> Succeeded | PutBack:
        try:
            if _wants_evaluation(job, done):
                done = await self._eval_step(job, done)
            if _wants_suggestion(job, done):
                done = await self._meta_step(job, prompts, done)
        except asyncio.CancelledError:
            # The worker stops. What has been paid for goes with the job.
            return PutBack(
                self._clock(),
                counted=False,
                reason="the worker stopped",
                checkpoint=done,
            )
        except StoreError as error:
            # Found missing before a call: nothing paid for is lost.
            due = self._clock() + _ms(_NO_STORE_DELAY_SECONDS)
            reason = type(error).__name__
            return PutBack(due, counted=False, reason=reason, checkpoint=done)
        except _PaidInVainError as error:
            return _with_step_error(error.done, error, error.kind)
        except _STEP_ERRORS as error:
            if (later := self._later(job, error)) is not None:
                return replace(later, checkpoint=done)
            # Without an evaluation there is nothing to learn from: the
            # meta step is left out too.
            return _with_step_error(done, error, _kind(error))
        return done

    async def _eval_step(self, job: ClaimedJob, done: Succeeded) -> Succeeded:
        user = {
            "original_input": payload.load(job.request_json),
            "working_result": payload.load(done.response_json),
        }
        answer = await self._step(job, job.eval_prompt, job.eval_model, user)
        done = replace(done, metrics=done.metrics + answer.metrics)
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
        answer = await self._step(job, job.meta_prompt, job.meta_model, user)
        done = replace(done, metrics=done.metrics + answer.metrics)
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
        prompt_id: str | None,
        model: str | None,
        user: dict[str, Any],
    ) -> Answer:
        (prompt,) = await self._catalog.prompts(
            [str(prompt_id)], job.client_id
        )
        return await self._caller.call(
            Call(
                str(model),
                prompt.prompt,
                payload.dump(user, max_depth=payload.MAX_DEPTH + 1),
                job.temperature,
            )
        )

    def _later(self, job: ClaimedJob, error: StepError) -> PutBack | None:
        """Say when to try again, if that can help."""
        now = self._clock()
        if isinstance(error, RateLimitedError):
            wait = error.retry_after
            if wait is None:
                wait = self._retry.wait_seconds(1)
            return PutBack(now + _ms(wait), counted=False, reason=_said(error))
        retryable = isinstance(error, LLMError) and error.retryable
        if retryable and job.attempts < self._retry.max_attempts:
            wait = self._retry.wait_seconds(job.attempts)
            return PutBack(now + _ms(wait), counted=True, reason=_said(error))
        log.warning("step_failed", errorType=_kind(error), reason=_said(error))
        return None


class _PaidInVainError(Exception):
    """A step's answer is of no use; `done` has what it cost."""

    def __init__(self, message: str, done: Succeeded, kind: str) -> None:
        super().__init__(message)
        self.done = done
        self.kind = kind


def _wants_evaluation(job: ClaimedJob, done: Succeeded) -> bool:
    wanted = bool(job.eval_prompt and job.eval_model)
    return wanted and done.eval_json is None


def _wants_suggestion(job: ClaimedJob, done: Succeeded) -> bool:
    wanted = bool(job.meta_prompt and job.meta_model)
    return wanted and done.suggested_prompt_id is None


def _failed(job: ClaimedJob, error: StepError) -> Failed:
    return Failed(_error_data(job, error))


def _ms(seconds: float) -> int:
    # No provider is believed that asks for more than a day.
    return round(min(seconds, _LONGEST_DELAY_SECONDS) * 1000)


def _said(error: Exception) -> str:
    return payload.printable(str(error))


def _kind(error: StepError) -> str:
    match error:
        case LLMError() | MissingModelKeyError():
            return error.kind
        case NoJsonError():
            return JSON_PARSING_ERROR
        case MetasyncError():
            return "NOT_FOUND"


def _error_data(job: ClaimedJob, error: StepError) -> dict[str, Any]:
    data = {
        "errorType": _kind(error),
        "message": _said(error),
        "model": job.model,
        "attempt": job.attempts,
    }
    for field, attribute in (
        ("httpStatus", "http_status"),
        ("requestId", "request_id"),
        ("failedResponseData", "partial_text"),
    ):
        if (value := getattr(error, attribute, None)) is not None:
            is_text = isinstance(value, str)
            data[field] = payload.printable(value) if is_text else value
    return data


def _no_json(
    job: ClaimedJob, answer: Answer, error: NoJsonError
) -> dict[str, Any]:
    text = answer.completion.text
    return {
        **_error_data(job, error),
        "sdk": answer.model.sdk,
        # The whole answer: it was paid for.
        "failedResponseData": payload.printable(text),
        "finishReason": answer.completion.finish_reason,
    }


def _with_step_error(
    done: Succeeded, error: Exception, kind: str
) -> Succeeded:
    evaluation = payload.load(done.eval_json) if done.eval_json else {}
    if not isinstance(evaluation, dict):
        evaluation = {"result": evaluation}
    evaluation |= {"error": _said(error), "errorType": kind}
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
