"""One question at a time: who is asking it just now.

Two jobs that ask the same, in any processes, shall be paid for once. So a
worker that is to ask notes it here first, by the question's key: that is
its *flight*. Others that meet it wait. A flight has no time of its own: it
stands as long as its job runs under the same lease. Whatever ends that (an
answer, a failure, a limit, a worker that died) makes the flight free, and
the next one that comes takes it over, by a conditional write.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from api.models.job_status import JobStatus
from api.services.queue.job_outcomes import Result
from api.services.queue.job_work import ClaimedJob, Requeued
from utilities.clock import Clock, now_ms
from utilities.cosmos_connector import (
    Document,
    Documents,
    ObjectId,
    StoreError,
)

FLIGHTS = "answer_flights"
# What a job that waits for another one's answer is said to wait for.
WAITS_FOR_ANSWER = "answer"
_AT_ONCE = 500
# A flight that was not ended, since its process died, is of no use later.
_FORGOTTEN_MS = 24 * 3600 * 1000


log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Boarded:
    """Which jobs may ask, and since when (ms) others ask for the rest."""

    asking: Sequence[ClaimedJob]
    waiting: Mapping[ObjectId, int]


class Flights:
    """Notes who asks what; all jobs have an answer key."""

    def __init__(
        self, flights: Documents, jobs: Documents, clock: Clock = now_ms
    ) -> None:
        self._flights = flights
        self._jobs = jobs
        self._clock = clock

    async def board(self, jobs: Sequence[ClaimedJob]) -> Boarded:
        """Let each question be asked by one of the jobs, or by none.

        Whoever may ask looks for an answer afterwards, not before: the one
        who has asked until now stores it before the flight is free.

        Raises:
            StoreError: it is not known who may ask.
        """
        wanted: dict[ObjectId, ClaimedJob] = {}
        for job in jobs:
            wanted.setdefault(flight_id(job), job)
        new = [self._new(each, job) for each, job in wanted.items()]
        _, taken = await self._flights.insert_many(new)
        if taken:
            await self._take_over([new[index] for index in taken])
        seen = await self._read(wanted) if taken else _by_id(new)
        return self._boarded(jobs, seen)

    async def end(self, results: Iterable[Result]) -> None:
        """Forget the flights of jobs whose results are stored.

        Never raises for the store: they are free without it, and this only
        keeps their number small.
        """
        asked = [each.job for each in results if _may_have_asked(each)]
        if not asked:
            return
        where = {
            "_id": {"$in": [flight_id(job) for job in asked]},
            # A job may have been claimed anew meanwhile.
            "leaseToken": {"$in": [job.lease_token for job in asked]},
        }
        try:
            await self._flights.erase(where)
        except StoreError as error:
            log.info("flights_not_ended", error=type(error).__name__)

    async def clear(self) -> None:
        """Forget flights that nobody has ended."""
        before = self._clock() - _FORGOTTEN_MS
        while await self._flights.erase_some(
            {"since": {"$lt": before}}, _AT_ONCE
        ):
            pass

    def _new(self, key: ObjectId, job: ClaimedJob) -> Document:
        return {
            "_id": key,
            "clientId": job.client_id,
            **_holder(job),
            "since": self._clock(),
        }

    async def _take_over(self, wanted: Sequence[Document]) -> None:
        """Take the flights whose jobs do not ask any more."""
        seen = await self._read(each["_id"] for each in wanted)
        running = await self._running(seen.values())
        updates: list[tuple[Document, Document]] = []
        for each in wanted:
            before = seen.get(each["_id"])
            if before is None or _is_in(before, running):
                continue
            where = {"_id": each["_id"], "leaseToken": before["leaseToken"]}
            fields = ("jobId", "leaseToken", "since")
            update = {"$set": {name: each[name] for name in fields}}
            updates.append((where, update))
        if updates:
            await self._flights.patch_each(updates)

    async def _read(
        self, keys: Iterable[ObjectId]
    ) -> dict[ObjectId, Document]:
        where = {"_id": {"$in": list(keys)}}
        return _by_id(await self._flights.find_all(where))

    async def _running(self, flights: Iterable[Document]) -> Mapping[str, str]:
        """Return the tokens of the jobs that run, by their ids."""
        ids = [ObjectId(each["jobId"]) for each in flights]
        found = await self._jobs.find(
            {"_id": {"$in": ids}}, fields=["status", "leaseToken"]
        )
        return {
            str(job["_id"]): job["leaseToken"]
            for job in found
            if job["status"] == JobStatus.PROCESSING and job.get("leaseToken")
        }

    def _boarded(
        self, jobs: Sequence[ClaimedJob], seen: Mapping[ObjectId, Document]
    ) -> Boarded:
        asking: list[ClaimedJob] = []
        waiting: dict[ObjectId, int] = {}
        for job in jobs:
            flight = seen.get(flight_id(job))
            if flight is not None and _is_of(flight, job):
                asking.append(job)
            else:
                since = None if flight is None else flight["since"]
                waiting[job.job_id] = since or self._clock()
        return Boarded(asking, waiting)


def flight_id(job: ClaimedJob) -> ObjectId:
    """Give the id of a question's flight.

    A part of the key is enough: should two questions ever have the same
    one, they are asked one after the other.
    """
    return ObjectId(str(job.answer_key)[:24])


def _may_have_asked(result: Result) -> bool:
    job, outcome = result.job, result.outcome
    if not job.takes_answers or job.answer_key is None:
        return False
    return not (
        isinstance(outcome, Requeued) and outcome.waits_for == WAITS_FOR_ANSWER
    )


def _holder(job: ClaimedJob) -> Document:
    return {"jobId": str(job.job_id), "leaseToken": job.lease_token}


def _is_of(flight: Document, job: ClaimedJob) -> bool:
    held = (flight["jobId"], flight["leaseToken"])
    return held == (str(job.job_id), job.lease_token)


def _is_in(flight: Document, running: Mapping[str, str]) -> bool:
    token: str = flight["leaseToken"]
    return running.get(flight["jobId"]) == token


def _by_id(documents: Iterable[Document]) -> dict[ObjectId, Document]:
    return {each["_id"]: each for each in documents}
