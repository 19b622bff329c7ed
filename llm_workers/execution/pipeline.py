"""What a worker does with a job: working step, evaluation, meta step."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import stamina
import structlog
from pydantic import ValidationError

from api.core.errors import MetasyncError
from api.models.prompt_models import (
    Prompt,
    PromptCreate,
    PromptDraft,
    PromptSource,
    PromptStatus,
)
from api.models.tried_models import Tries
from api.services.calls.catalog import Catalog
from api.services.calls.model_call import (
    FailedCallError,
    ModelAnswer,
    ModelCall,
)
from api.services.calls.model_caller import ModelCaller
from api.services.calls.routing.choosing import Question
from api.services.calls.routing.route_book import NO_ROUTES
from api.services.calls.routing.router import Router, Routing
from api.services.prompts.prompt_service import PromptService
from api.services.queue.job_work import (
    ClaimedJob,
    Failed,
    Outcome,
    Requeued,
    Succeeded,
)
from config import MissingModelKeyError
from llm_workers.execution import thinking
from llm_workers.execution.answers import NoJsonError
from llm_workers.execution.conversing import (
    question_json,
)
from llm_workers.execution.error_data import (
    StepError,
    cost_of,
    error_data,
    kind_of,
    said,
)
from llm_workers.execution.line_step import LineStep, line_failed
from llm_workers.execution.reading import (
    AnswerReader,
    ReadingLimitError,
    shared_reader,
)
from llm_workers.execution.retries import HoldsRoute, Retries, no_route
from llm_workers.execution.working_step import (
    INTERNAL_ERROR,
    JSON_PARSING_ERROR,
    VALIDATION_LIMIT,
    WorkingStep,
    account_of,
    call_key,
)
from utilities import payload
from utilities.clock import Clock, now_ms
from utilities.cosmos_connector import StoreError

# The meta step gave nothing that could be kept as a prompt.
NO_SUGGESTION = "NO_SUGGESTION"
# What a step is sent has the answer within.
_DEEPER = payload.MAX_DEPTH + 1
# A meta step is paid for when its prompt is to be kept: the store gets
# this long to come back before the step is given up and made again.
_PATIENCE_SECONDS = 300.0
_NO_STORE_DELAY_MS = 1000

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
        reader: AnswerReader | None = None,
        routing: Routing | None = None,
        holds_route: HoldsRoute | None = None,
    ) -> None:
        self._caller = caller
        self._catalog = catalog
        self._prompts = prompts
        self._retries = Retries(
            max_attempts, clock, chance, holds_route or no_route
        )
        self._clock = clock
        self._reader = reader or shared_reader()
        self._router = Router(routing or Routing(NO_ROUTES), catalog)
        self._work = WorkingStep(
            caller, catalog, self._router, self._reader, clock
        )
        self._lines = LineStep(caller, self._router, clock)

    async def run(self, job: ClaimedJob) -> Outcome:
        """Make all calls of a job and give its outcome.

        Calls that an earlier attempt has paid for are not made again.
        """
        if job.checkpoint is not None:
            return await self._further_steps(job, job.checkpoint)
        step = self._work if job.interface is None else self._lines
        try:
            done = await step.run(job)
        except _STEP_ERRORS as error:
            return self._retries.later(job, error) or _failed(job, error)
        if not isinstance(done, Succeeded):
            return done
        return await self._further_steps(job, done)

    async def _working_prompts(self, job: ClaimedJob) -> list[Prompt]:
        return await self._catalog.prompts(job.working_prompts, job.client_id)

    async def _further_steps(
        self, job: ClaimedJob, done: Succeeded
    ) -> Succeeded | Requeued:
        for name, step in (
            ("eval", self._eval_step),
            ("meta", self._meta_step),
        ):
            try:
                done = await step(job, done)
            except asyncio.CancelledError:
                # The worker stops. What has been paid for goes with the job.
                return self._with_checkpoint(done, "the worker stopped", 0)
            except StoreError as error:
                # Found missing before a call: nothing paid for is lost.
                reason = type(error).__name__
                return self._with_checkpoint(done, reason, _NO_STORE_DELAY_MS)
            except Exception as error:  # noqa: BLE001 - judged there
                # Without an evaluation there is nothing to learn from: the
                # meta step is left out too.
                return self._step_failed(job, name, done, error)
        return done

    def _step_failed(
        self, job: ClaimedJob, step: str, done: Succeeded, error: Exception
    ) -> Succeeded | Requeued:
        if isinstance(error, _PaidInVainError):
            return _with_step_error(error.done, step, error, error.kind)
        if not isinstance(error, _STEP_ERRORS):
            # A defect of ours must not lose the answer, which is paid for.
            log.error("step_defect", step=step, exc_info=error)
            return _with_step_error(done, step, error, INTERNAL_ERROR)
        if (later := self._retries.later(job, error)) is not None:
            return replace(later, checkpoint=done)
        done = replace(done, metrics=done.metrics + cost_of(error))
        return _with_step_error(done, step, error, kind_of(error))

    def _with_checkpoint(
        self, done: Succeeded, reason: str, wait_ms: int
    ) -> Requeued:
        return Requeued(
            self._clock() + wait_ms,
            counted=False,
            reason=reason,
            checkpoint=done,
        )

    async def _eval_step(self, job: ClaimedJob, done: Succeeded) -> Succeeded:
        if not _wants_evaluation(job, done):
            return done
        user = {
            "original_input": payload.load(question_json(job)),
            "working_result": payload.load(done.response_json),
        }
        step = job.eval_prompt, job.eval_model, "eval"
        answer = await self._step(job, step, user)
        done = _with_cost_of(answer, done)
        try:
            evaluation = await self._reader.json_of(
                answer.completion.text, [payload.dump(user, max_depth=_DEEPER)]
            )
        except NoJsonError as error:
            raise _PaidInVainError(
                str(error), done, JSON_PARSING_ERROR
            ) from None
        except ReadingLimitError as error:
            raise _PaidInVainError(
                str(error), done, VALIDATION_LIMIT
            ) from None
        return replace(done, eval_json=evaluation)

    async def _meta_step(self, job: ClaimedJob, done: Succeeded) -> Succeeded:
        if not _wants_suggestion(job, done):
            return done
        prompts = await self._working_prompts(job)
        user = {
            "evaluation": done.eval_json and payload.load(done.eval_json),
            "original_prompts": [prompt.prompt for prompt in prompts],
            "working_result": payload.load(done.response_json),
        }
        step = job.meta_prompt, job.meta_model, "meta"
        answer = await self._step(job, step, user)
        done = _with_cost_of(answer, done)
        text = thinking.visible(answer.completion.text)
        if not text:
            raise _PaidInVainError(
                "The meta step returned no text", done, NO_SUGGESTION
            )
        try:
            draft = _draft(job, prompts[0], text)
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
        text = payload.dump(user, max_depth=_DEEPER)
        question = partial(_question, prompt.prompt, text)
        plan = await self._router.plan(str(model), question)
        call = ModelCall(
            plan.models[0],
            prompt.prompt,
            text,
            job.temperature,
            call_key(job, name),
            account=account_of(job),
            bill=job.bill,
        )
        tries = Tries(job.tries.made)
        answer = await self._router.answer(
            plan,
            lambda target: self._caller.complete(target.call(call)),
            tries,
            question=question,
        )
        return replace(answer, metrics=answer.metrics + tries.cost)


def _question(system: str, user: str) -> Question:
    return Question(len(system.encode()) + len(user.encode()))


class _PaidInVainError(Exception):
    """A step's answer is of no use; `done` has what it cost."""

    def __init__(self, message: str, done: Succeeded, kind: str) -> None:
        super().__init__(message)
        self.done = done
        self.kind = kind


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
    if job.interface is not None:
        return line_failed(job, error)
    return Failed(error_data(job, error), cost_of(error))


def _with_step_error(
    done: Succeeded, step: str, error: Exception, kind: str
) -> Succeeded:
    evaluation = payload.load(done.eval_json) if done.eval_json else {}
    if not isinstance(evaluation, dict):
        evaluation = {"result": evaluation}
    failure = {"error": said(error), "errorType": kind}
    return replace(
        done,
        eval_json=payload.dump(evaluation | failure),
        step_error=payload.dump({"step": step, **failure}),
    )


def _first_problem(error: ValidationError | MetasyncError) -> str:
    if isinstance(error, ValidationError):
        problem = error.errors(include_input=False, include_url=False)[0]
        return f"The suggested prompt cannot be kept: {problem['msg']}"
    return str(error)


def _draft(job: ClaimedJob, original: Prompt, text: str) -> PromptDraft:
    return PromptDraft(
        name=original.name,
        type=original.type,
        status=PromptStatus.DRAFT,
        prompt=text,
        source=_source(job, original),
    )


def _source(job: ClaimedJob, original: Prompt) -> PromptSource:
    iteration = job.run_notes.get("iteration")
    return PromptSource(
        job_id=str(job.job_id),
        prompt_id=original.prompt_id,
        run_id=job.run_id,
        iteration=iteration if isinstance(iteration, int) else None,
    )
