"""The working step of a job: its calls, and what is made of an answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import structlog

from api.models.model_models import ModelWithKey
from api.models.reask_models import UnusableAnswer
from api.models.route_models import Route
from api.services.calls.catalog import Catalog
from api.services.calls.model_call import Account, ModelAnswer, ModelCall
from api.services.calls.model_caller import ModelCaller
from api.services.calls.routing.choosing import Question
from api.services.calls.routing.router import Plan, Router, Target
from api.services.queue.job_work import (
    ClaimedJob,
    Failed,
    Requeued,
    Succeeded,
)
from llm_workers.execution import thinking
from llm_workers.execution.answers import NoJsonError
from llm_workers.execution.conversing import (
    ask,
    question_json,
    read_unread,
    succeeded,
)
from llm_workers.execution.error_data import unusable
from llm_workers.execution.named_content import is_other_work, named_content
from llm_workers.execution.reading import (
    AnswerReader,
    ReadingLimitError,
    SchemaMismatchError,
)
from llm_workers.execution.reasking import (
    Asked,
    NextAsk,
    after,
    answers_of,
    asking,
)
from llm_workers.execution.templated import in_full
from utilities import payload
from utilities.clock import Clock
from utilities.schema_size import SchemaError

JSON_PARSING_ERROR = "JSON_PARSING_ERROR"
SCHEMA_MISMATCH = "SCHEMA_MISMATCH"
# Reading the answer, or checking it, was ended: it took too long.
VALIDATION_LIMIT = "VALIDATION_LIMIT"
# A text answer that has nothing but the model's thoughts.
NO_ANSWER = "NO_ANSWER"
INTERNAL_ERROR = "INTERNAL_ERROR"
# As `payload.dump` writes it; within a text, its quotes are escaped.
_IMAGE = '"type":"image_url"'

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Planned:
    """Whom a job may ask now, and what: its templates are filled.

    `route` is its own, with all its targets. `is_other_work` says that the
    answer must not be found by the job's key.
    """

    job: ClaimedJob
    system: str
    plan: Plan
    asked: NextAsk
    question: Callable[[], Question]
    route: Route | None
    targets: tuple[str, ...]
    is_other_work: bool


class WorkingStep:
    """Makes the calls of jobs; evaluation and meta step come after."""

    def __init__(
        self,
        caller: ModelCaller,
        catalog: Catalog,
        router: Router,
        reader: AnswerReader,
        clock: Clock,
    ) -> None:
        self._caller = caller
        self._catalog = catalog
        self._router = router
        self._reader = reader
        self._clock = clock

    async def run(self, job: ClaimedJob) -> Succeeded | Failed | Requeued:
        """Make the call, and read its answer.

        Raises:
            FailedCallError: there is no answer, whatever the reason.
            MissingModelKeyError: names the variable that should be set.
            MetasyncError: a prompt or the model is gone, or has changed.
        """
        answers = answers_of(job)
        step = await self._planned(job, answers)
        done, model = await self._router.answer(
            step.plan,
            partial(self._ask, step, len(answers)),
            job.tries,
            question=step.question,
        )
        if job.tries:
            done = replace(done, metrics=done.metrics + job.tries.cost)
        name = model.name if step.plan.route else step.asked.model
        if isinstance(done, Failed):
            # What was answered is stored before another model is asked.
            asker = Asked(name or job.model, step.route, step.targets)
            return after(job, answers, done, self._clock, asker)
        if step.is_other_work or name is not None:
            done = replace(done, is_other_work=True)
        return done if name is None else replace(done, answered_by=name)

    async def _planned(
        self, job: ClaimedJob, answers: Sequence[UnusableAnswer]
    ) -> _Planned:
        """Decide which models the job may ask now."""
        named, system = await named_content(self._router, self._catalog, job)
        is_other = is_other_work(job, named, system)
        job, system = in_full(job, system)
        question = partial(question_of, job, system)
        plan = await self._router.plan_of(named, question)
        route = plan.route
        targets = tuple(each.name for each in plan.models) if route else ()
        asked = asking(job, answers, route, targets)
        if asked.model is not None:
            plan = await self._router.plan(asked.model, question)
        elif route is not None:
            plan = _continued(plan, asked)
        return _Planned(
            job, system, plan, asked, question, route, targets, is_other
        )

    async def _ask(
        self, planned: _Planned, answers: int, target: Target
    ) -> tuple[Succeeded | Failed, ModelWithKey]:
        job, model, asked = planned.job, target.model, planned.asked
        if asked.before and asked.before[-1].model not in (
            model.name,
            job.model,
            asked.model,
        ):
            # Another target: it has nothing to correct.
            asked = replace(asked, before=())
        # Each answer has a key of its own.
        step = f"work-{answers}" if answers else "work"
        call = ModelCall(
            model,
            planned.system,
            job.request_json,
            job.temperature,
            call_key(job, step),
            job.response_schema,
            account_of(job),
            job.bill,
        )
        answer = await ask(self._caller, job, target.call(call), asked)
        done = await self._made_of(job, answer)
        if isinstance(done, Failed) and answer.cut is None:
            self._router.history.unusable(model.model_id)
        return done, model

    async def _made_of(
        self, job: ClaimedJob, answer: ModelAnswer
    ) -> Succeeded | Failed:
        if answer.cut is not None:
            return unusable(job, answer, answer.cut.kind, str(answer.cut))
        try:
            return await self._read(job, answer)
        except Exception:
            # A defect of ours must not lose what was paid for.
            log.exception("answer_not_read")
            message = "Metasync failed on this answer; see the worker's log"
            return unusable(job, answer, INTERNAL_ERROR, message)

    async def _read(
        self, job: ClaimedJob, answer: ModelAnswer
    ) -> Succeeded | Failed:
        """Make of a whole answer what the job wants of it."""
        text = answer.completion.text
        if job.asked and (done := read_unread(job, answer)) is not None:
            return done
        if job.as_text:
            return _as_text(job, answer)
        try:
            if job.response_schema is None:
                found = await self._reader.json_of(text, [question_json(job)])
            else:
                echoes = [question_json(job), job.response_schema]
                found = await self._reader.fitting_json_of(
                    text, job.response_schema, echoes
                )
        except NoJsonError as error:
            return unusable(job, answer, JSON_PARSING_ERROR, str(error))
        except ReadingLimitError as error:
            return unusable(job, answer, VALIDATION_LIMIT, str(error))
        except (SchemaMismatchError, SchemaError) as error:
            message = f"The answer does not fit responseSchema: {error}"
            return unusable(job, answer, SCHEMA_MISMATCH, message)
        return succeeded(found, answer)


def _continued(plan: Plan, asked: NextAsk) -> Plan:
    """Leave out the targets that are done; who was told comes first."""
    last = asked.before[-1].model if asked.before else None
    return plan.without(asked.done).first(last)


def question_of(job: ClaimedJob, system: str = "") -> Question:
    """Say what a job asks, as far as the choice of a model depends on it."""
    texts = (system, job.request_json, *job.asked.values())
    return Question(
        sum(len(each.encode(errors="replace")) for each in texts),
        has_images=_IMAGE in job.asked.get("messages", ""),
        has_tools="tools" in job.asked,
    )


def account_of(job: ClaimedJob) -> Account:
    """Say who is charged for a job's calls."""
    return Account(job.client_id, job.operation, job.run_id, job.service_class)


def call_key(job: ClaimedJob, step: str) -> str:
    """Name a call: the same as long as the job is not started anew."""
    return f"metasync-{job.job_id}-{job.started_at}-{step}"


def _as_text(job: ClaimedJob, answer: ModelAnswer) -> Succeeded | Failed:
    text = answer.completion.text
    shown = thinking.visible(text) if thinking.mentions(text) else text
    if text.strip() and not shown:
        message = "The answer contains only the model's thoughts"
        return unusable(job, answer, NO_ANSWER, message)
    kept = payload.dump({"text": payload.printable(shown)})
    return succeeded(kept, answer)
