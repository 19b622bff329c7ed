"""The scoring of one work under way: from questions to scores."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from api.models.dataset_models import DatasetItem
from api.models.metrics import add_up
from api.services.jobs.answer_jobs import AnswerJob, AnswerJobs
from llm_optimizers.evaluation.metrics import (
    JUDGE_ERROR,
    Score,
    ScoringError,
)
from llm_optimizers.evaluation.questions import Question, Questions
from llm_optimizers.evaluation.scoring import Scorer
from llm_optimizers.evaluation.work import (
    EvaluationProgress,
    EvaluationWork,
    ItemOutcome,
)
from utilities.slices import in_slices

# Questions of one look at the database.
_CHUNK = 500
# As often, a question that failed for others is asked again.
_MOST_ATTEMPTS = 100


@dataclass(slots=True)
class _Answered:
    """An item with an answer, whose judges are being asked."""

    job: AnswerJob
    judges: dict[int, AnswerJob] = field(default_factory=dict)


class ItemScores:
    """Scores the items of a work; made by `Evaluator.begin`."""

    def __init__(
        self, work: EvaluationWork, questions: Questions, jobs: AnswerJobs
    ) -> None:
        self._work = work
        self._questions = questions
        self._jobs = jobs
        self._scorer = Scorer(work.metric)
        self._outcomes: dict[str, ItemOutcome] = {}
        self._items: deque[DatasetItem] = deque(work.items)
        # Not looked for yet; before the items, so that those end first.
        self._ready: deque[Question] = deque()
        self._open: dict[str, list[Question]] = {}
        self._answered: dict[str, _Answered] = {}
        self._blocked: list[Question] = []
        self._new_jobs = 0
        self._most_new_jobs = work.most_new_jobs

    @property
    def named(self) -> str:
        """A digest of the prompts' texts and models that it asks with."""
        return self._questions.named

    @property
    def new_jobs(self) -> int:
        """How many jobs were queued in all."""
        return self._new_jobs

    @property
    def open_jobs(self) -> frozenset[str]:
        """The jobs whose ends bring the scoring on."""
        return frozenset(self._open)

    async def advance(
        self, room: int | None = None, most_new: int | None = None
    ) -> EvaluationProgress:
        """Read what has ended, and queue what there is room for.

        `room` is how many more jobs may be open than are; None: as many as
        the work's `parallelism` leaves. `most_new` is how many more may
        ever be queued; None: as the work says.
        """
        if most_new is not None:
            self._most_new_jobs = self._new_jobs + most_new
        most = self._work.parallelism
        if room is not None:
            most = min(most, len(self._open) + room)
        before = self._new_jobs
        await self._read_ended()
        while (left := most - len(self._open)) > 0 and (
            self._ready or self._items
        ):
            await self._ask(await self._next(min(left, _CHUNK)))
        return EvaluationProgress(
            self._outcomes,
            self.open_jobs,
            len(self._ready) + len(self._items),
            len(self._blocked),
            self._new_jobs - before,
        )

    async def _read_ended(self) -> None:
        ended = await self._jobs.ended(list(self._open))
        found = await self._jobs.find(list(ended))
        for job_id in ended:
            for question in self._open.pop(job_id):
                job = found.get(job_id)
                if job is None:
                    self._ready.appendleft(question)  # erased meanwhile
                else:
                    await self._take(question, job)

    async def _next(self, count: int) -> list[Question]:
        """Take the next questions; judges' first."""
        ready = [
            self._ready.popleft() for _ in range(min(count, len(self._ready)))
        ]
        left = min(count - len(ready), len(self._items))
        items = [self._items.popleft() for _ in range(left)]
        return ready + await in_slices(self._questions.of_item, items)

    async def _ask(self, questions: Sequence[Question]) -> None:
        """Read the jobs of questions, or queue them."""
        found = await self._jobs.find([each.job_id for each in questions])
        missing: dict[str, list[Question]] = {}
        for question in questions:
            job_id = question.job_id
            if (job := found.get(job_id)) is None:
                missing.setdefault(job_id, []).append(question)
            else:
                await self._take(question, job)
        await self._submit(missing)

    async def _submit(self, missing: dict[str, list[Question]]) -> None:
        most = self._most_new_jobs
        room = None if most is None else max(most - self._new_jobs, 0)
        job_ids = list(missing)
        for job_id in job_ids[len(job_ids) if room is None else room :]:
            self._blocked += missing.pop(job_id)
        requests = {
            job_id: (each[0].request, each[0].content)
            for job_id, each in missing.items()
        }
        self._new_jobs += await self._jobs.submit(requests, self._work.owner)
        for job_id, questions in missing.items():
            self._open.setdefault(job_id, []).extend(questions)

    async def _take(self, question: Question, job: AnswerJob) -> None:
        """Go on by what became of a job."""
        if job.is_open:
            self._open.setdefault(job.job_id, []).append(question)
        elif job.is_answered:
            await self._take_answer(question, job)
        elif self._is_final(question, job):
            self._take_failure(question, job)
        else:
            question.attempt += 1
            self._ready.append(question)

    def _is_final(self, question: Question, job: AnswerJob) -> bool:
        """Tell whether a failed job is this work's own failure.

        What failed for others, or was deleted, is asked again.
        """
        if question.attempt >= _MOST_ATTEMPTS:
            return True
        return not job.is_deleted and self._work.source.caused(job.reference)

    async def _take_answer(self, question: Question, job: AnswerJob) -> None:
        item = question.item
        if question.judge is not None:
            answered = self._answered.get(item.id)
            if answered is None:
                return  # another judge has failed
            answered.judges[question.judge] = job
            if len(answered.judges) == self._questions.judges:
                await self._finish(item, self._answered.pop(item.id))
        elif self._questions.judges:
            self._ask_judges(item, job)
        else:
            await self._finish(item, _Answered(job))

    def _ask_judges(self, item: DatasetItem, job: AnswerJob) -> None:
        answered = _Answered(job)
        try:
            questions = self._questions.of_judges(item, job.answer)
        except ValidationError as error:
            # Together, input and answer are too large, or nested too deep.
            reason = error.errors(include_input=False, include_url=False)
            problem = ScoringError(
                JUDGE_ERROR, f"The judge cannot be asked: {reason[0]['msg']}"
            )
            self._outcomes[item.id] = self._outcome(item, answered, problem)
            return
        self._answered[item.id] = answered
        self._ready.extend(questions)

    def _take_failure(self, question: Question, job: AnswerJob) -> None:
        kind, message = _failure(job)
        item = question.item
        if question.judge is None:
            self._outcomes[item.id] = ItemOutcome(
                item.id,
                0.0,
                error=kind,
                detail=message,
                job_id=job.job_id,
                metrics=job.metrics,
                cached=self._is_cached(item, job),
            )
            return
        answered = self._answered.pop(item.id, None)
        if answered is not None:
            answered.judges[question.judge] = job
            error = ScoringError(JUDGE_ERROR, f"The judge failed: {message}")
            self._outcomes[item.id] = self._outcome(item, answered, error)

    async def _finish(self, item: DatasetItem, answered: _Answered) -> None:
        judgements = {
            position: job.answer for position, job in answered.judges.items()
        }
        found: Score | ScoringError
        try:
            found = await self._scorer.score(
                item, answered.job.answer, judgements, answered.job.logprobs
            )
        except ScoringError as error:
            found = error
        self._outcomes[item.id] = self._outcome(item, answered, found)

    def _outcome(
        self,
        item: DatasetItem,
        answered: _Answered,
        found: Score | ScoringError,
    ) -> ItemOutcome:
        judges = list(answered.judges.values())
        return ItemOutcome(
            item.id,
            0.0 if isinstance(found, ScoringError) else found.value,
            answered.job.answer,
            found.error_type if isinstance(found, ScoringError) else None,
            str(found) if isinstance(found, ScoringError) else found.detail,
            answered.job.job_id,
            answered.job.metrics,
            self._is_cached(item, answered.job),
            tuple(job.job_id for job in judges),
            add_up(job.metrics for job in judges) if judges else None,
        )

    def _is_cached(self, item: DatasetItem, job: AnswerJob) -> bool:
        return not (
            self._work.source.caused(job.reference)
            and job.reference.get("itemId") == item.id
        )


def _failure(job: AnswerJob) -> tuple[str, str]:
    """Give the type and the message of a failed job's error."""
    error = job.error or {}
    kind = str(error.get("errorType") or job.status)
    return kind, str(error.get("message") or f"The job ended in {job.status}")
