"""The working step of a job: its call, and what is made of the answer."""

from dataclasses import replace

import structlog

from api.services.calls.catalog import Catalog
from api.services.calls.model_call import Account, ModelAnswer, ModelCall
from api.services.calls.model_caller import ModelCaller
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
from llm_workers.execution.named_content import named_content
from llm_workers.execution.reading import (
    AnswerReader,
    ReadingLimitError,
    SchemaMismatchError,
)
from llm_workers.execution.reasking import (
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

log = structlog.get_logger(__name__)


class WorkingStep:
    """Makes the calls of jobs; evaluation and meta step come after."""

    def __init__(
        self,
        caller: ModelCaller,
        catalog: Catalog,
        reader: AnswerReader,
        clock: Clock,
    ) -> None:
        self._caller = caller
        self._catalog = catalog
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
        asked = asking(job, answers)
        done = await self._ask(job, asked, len(answers))
        if isinstance(done, Failed):
            return after(job, answers, done, self._clock)
        if asked.model is None:
            return done
        return replace(done, answered_by=asked.model)

    async def _ask(
        self, job: ClaimedJob, asked: NextAsk, answers: int
    ) -> Succeeded | Failed:
        model, system = await named_content(self._catalog, job)
        if asked.model is not None:
            model = await self._catalog.model(asked.model)
        job, system = in_full(job, system)
        # Each answer has a key of its own.
        call = ModelCall(
            model,
            system,
            job.request_json,
            job.temperature,
            call_key(job, f"work-{answers}" if answers else "work"),
            job.response_schema,
            account_of(job),
            job.bill,
        )
        answer = await ask(self._caller, job, call, asked)
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
