"""Questions for a better prompt, as jobs that are known by their content."""

from collections.abc import Sequence
from dataclasses import dataclass

from api.core.errors import NotFoundError
from api.models.job_fields import ResponseFormat
from api.models.job_models import JobCreate
from api.models.run_models import Run
from api.services.jobs.answer_jobs import (
    AnswerJob,
    AnswerJobs,
    Content,
    content_of,
    job_id_of,
)
from api.services.models.model_service import ModelService
from llm_optimizers.evaluation.work import Source
from llm_optimizers.run_prompts import RunPrompts
from llm_optimizers.strategies.protocol import Ask
from llm_optimizers.wave_cut import Size

REFLECT_OPERATION = "reflect"
# New ideas need chance; the same question still gets the same answer.
_TEMPERATURE = 0.7
_MOST_ATTEMPTS = 100


@dataclass(slots=True)
class _Question:
    """One question, and what became of it."""

    request: JobCreate
    content: Content
    attempt: int = 0
    job: AnswerJob | None = None
    # It has failed for this run: there is no answer.
    failed: bool = False
    # The run may queue no more jobs.
    blocked: bool = False

    @property
    def is_done(self) -> bool:
        return (
            self.failed
            or self.blocked
            or (self.job is not None and self.job.is_answered)
        )


class AskJobs:
    """The questions of one wave; made by `AskMaker.begin`."""

    def __init__(
        self,
        questions: Sequence[_Question],
        jobs: AnswerJobs,
        owner: str,
        source: Source,
    ) -> None:
        self._questions = questions
        self._jobs = jobs
        self._owner = owner
        self._source = source
        self._new_jobs = 0

    @property
    def new_jobs(self) -> int:
        """How many jobs were queued in all."""
        return self._new_jobs

    async def advance(self, room: int, most_new: int | None = None) -> int:
        """Read what has ended, and queue at most `room` more in all.

        `most_new` is how many more may ever be queued; None: any number.
        Returns how many are unfinished then.
        """
        while looked := [q for q in self._questions if not q.is_done]:
            # Equal questions share a job.
            ids = {self._id(each): each for each in looked}
            found = await self._jobs.find(list(ids))
            repeated = [
                each
                for each in looked
                if (job := found.get(self._id(each))) is not None
                and self._take(each, job)
            ]
            if not repeated:
                if most_new is not None:
                    self._block(ids, set(found), most_new)
                return await self._submit(ids, set(found), room)
        return 0

    def texts(self) -> list[str | None]:
        """Return the answers; None for a question that has failed."""
        return [
            _text(each.job) if each.job and not each.failed else None
            for each in self._questions
        ]

    @property
    def failure(self) -> str | None:
        """Why all of them have failed, if so."""
        if not self._questions or not all(q.failed for q in self._questions):
            return None
        job = self._questions[0].job
        error = (job.error if job else None) or {}
        kind = error.get("errorType") or (job.status if job else "unknown")
        return f"{kind}: {error.get('message', '')}"

    @property
    def cached(self) -> int:
        """How many answers the run has not caused."""
        return sum(
            each.job is not None
            and self._source.id != each.job.reference.get("runId")
            for each in self._questions
        )

    @property
    def largest(self) -> Size:
        """What the largest answer has used."""
        size = Size()
        for each in self._questions:
            size = size.with_one(each.job.metrics if each.job else None)
        return size

    def _take(self, question: _Question, job: AnswerJob) -> bool:
        """Note what became of a job; tell whether to look at another one."""
        question.job = job
        if job.is_open or job.is_answered:
            return False
        final = question.attempt >= _MOST_ATTEMPTS
        if final or (
            not job.is_deleted and self._source.caused(job.reference)
        ):
            question.failed = True
            return False
        question.attempt += 1
        return True

    def _block(
        self, ids: dict[str, _Question], found: set[str], most_new: int
    ) -> None:
        """Give up what may not be queued any more."""
        missing = [job_id for job_id in ids if job_id not in found]
        for job_id in missing[most_new:]:
            content = ids.pop(job_id).content
            for each in self._questions:
                each.blocked = each.blocked or each.content == content

    async def _submit(
        self, ids: dict[str, _Question], found: set[str], room: int
    ) -> int:
        open_ = sum(
            1
            for job_id, each in ids.items()
            if job_id in found and not each.is_done
        )
        missing = [job_id for job_id in ids if job_id not in found]
        new = missing[: max(room - open_, 0)]
        self._new_jobs += await self._jobs.submit(
            {each: (ids[each].request, ids[each].content) for each in new},
            self._owner,
        )
        return open_ + len(missing)

    def _id(self, question: _Question) -> str:
        key = question.content.key
        return job_id_of(self._owner, key, question.attempt)


class AskMaker:
    """Makes the jobs of a wave's questions."""

    def __init__(
        self, jobs: AnswerJobs, models: ModelService, prompts: RunPrompts
    ) -> None:
        self._jobs = jobs
        self._models = models
        self._prompts = prompts

    async def begin(
        self, run: Run, asks: Sequence[tuple[Ask, str]], source: Source
    ) -> AskJobs:
        """Prepare questions, each with the model of its candidate.

        Raises:
            NotFoundError: a prompt or model is gone; names it.
        """
        questions = [await self._question(run, *each, source) for each in asks]
        return AskJobs(questions, self._jobs, run.client_id, source)

    async def _question(
        self, run: Run, ask: Ask, working_model: str, source: Source
    ) -> _Question:
        name = run.meta_model or working_model
        prompt_id, system = await self._prompts.asking(run, ask.purpose)
        request = JobCreate(
            operation=REFLECT_OPERATION,
            working_prompts=[prompt_id],
            model=name,
            temperature=_TEMPERATURE,
            priority=run.priority,
            request_data=dict(ask.data),
            response_format=ResponseFormat.TEXT,
            client_reference=source.reference,
            batch_key=run.run_id,
        )
        try:
            model = await self._models.find(name)
        except NotFoundError:
            raise NotFoundError(f"Model {name}") from None
        scope = "" if run.cache else run.run_id
        content = content_of(request, system, model, scope=scope)
        return _Question(request, content)


def _text(job: AnswerJob) -> str | None:
    answer = job.answer
    text = answer.get("text") if isinstance(answer, dict) else None
    return text if isinstance(text, str) else None
