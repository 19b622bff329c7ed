"""Claimed jobs that may take an earlier answer, before any call is made."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from api.core.errors import NotFoundError
from api.models.charge import Charge
from api.models.metrics import Metrics
from api.services.calls.catalog import Catalog
from api.services.jobs.answer_memory import AnswerMemory
from api.services.jobs.remembered import Remembered
from api.services.queue.flights import WAITS_FOR_ANSWER, Flights
from api.services.queue.job_outcomes import Result
from api.services.queue.job_work import ClaimedJob, Requeued, Succeeded
from utilities.clock import Clock
from utilities.cosmos_connector import StoreError

# A job that waits looks again after half of the time that the other one has
# been asking, within these bounds (ms).
_FIRST_LOOK_MS, _LAST_LOOK_MS = 250, 10_000
_NO_STORE_DELAY_MS = 1000

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Sorted:
    """Jobs whose calls are to be made, and those that need none now."""

    asking: list[ClaimedJob] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)


class Remembering:
    """Finds the answers of claimed jobs; makes equal ones wait."""

    def __init__(
        self,
        memory: AnswerMemory,
        flights: Flights,
        catalog: Catalog,
        clock: Clock,
    ) -> None:
        self._memory = memory
        self._flights = flights
        self._catalog = catalog
        self._clock = clock

    async def sort(self, jobs: Sequence[ClaimedJob]) -> Sorted:
        """Tell which of some claimed jobs are to be asked."""
        found = [job for job in jobs if _may_take(job)]
        done = Sorted([job for job in jobs if not _may_take(job)])
        if not found:
            return done
        try:
            await self._sort(found, done)
        except StoreError as error:
            # They are this worker's: nobody else would bring them back.
            log.warning("answers_not_looked_up", error=type(error).__name__)
            reason = type(error).__name__
            done.asking = [job for job in jobs if not _may_take(job)]
            done.results = [
                Result(job, self._later(_NO_STORE_DELAY_MS, reason))
                for job in found
            ]
        return done

    async def _sort(self, jobs: Sequence[ClaimedJob], done: Sorted) -> None:
        boarded = await self._flights.board(jobs)
        answers = await self._memory.find(
            [str(job.answer_key) for job in jobs], jobs[0].client_id
        )
        may_ask = {job.job_id for job in boarded.asking}
        for job in jobs:
            answer = answers.get(str(job.answer_key))
            if answer is not None:
                taken = await self._taken(job, answer)
                done.results.append(Result(job, taken))
            elif job.job_id in may_ask:
                done.asking.append(job)
            else:
                waited = self._clock() - boarded.waiting[job.job_id]
                wait = min(max(waited // 2, _FIRST_LOOK_MS), _LAST_LOOK_MS)
                later = self._later(wait, "", WAITS_FOR_ANSWER)
                done.results.append(Result(job, later))

    async def _taken(self, job: ClaimedJob, answer: Remembered) -> Succeeded:
        job.bill.add(Charge(await self._name(job), cached_answers=1))
        return Succeeded(
            answer.response_json,
            Metrics(),
            logprobs_json=answer.logprobs_json,
            cached_from=answer.job_id,
        )

    async def _name(self, job: ClaimedJob) -> str:
        try:
            return (await self._catalog.model(job.model)).name
        except NotFoundError:
            return job.model

    def _later(
        self, wait_ms: int, reason: str, waits_for: str | None = None
    ) -> Requeued:
        return Requeued(
            self._clock() + wait_ms,
            counted=False,
            reason=reason,
            waits_for=waits_for,
        )


def _may_take(job: ClaimedJob) -> bool:
    return job.takes_answers and job.answer_key is not None
