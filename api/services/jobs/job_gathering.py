"""Waits for many jobs at once, and gives those that have ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from api.models.job_models import Job
from api.models.job_status import JobStatus, has_ended
from api.services.jobs.job_ends import JobEnds
from api.services.jobs.job_view import JobView
from api.services.shared.caller import Caller
from api.services.shared.paging import fetch_ids
from utilities.cosmos_connector import Documents, ObjectId
from utilities.slices import blocks

# Documents of one message; decoding more would block the event loop.
_BLOCK = 500


@dataclass(frozen=True, slots=True)
class Gathered:
    """Jobs that have ended, ids of none, and how many go on."""

    jobs: Sequence[Job]
    unknown: Sequence[str]
    waiting: int


class JobGathering:
    """Answers for many jobs with one request, so that nobody polls."""

    def __init__(self, documents: Documents, ends: JobEnds) -> None:
        self._documents = documents
        self._ends = ends

    async def gather(
        self, ids: Sequence[str], caller: Caller, view: JobView, wait: float
    ) -> Gathered:
        """Give what has ended, at once or when the first one ends.

        `wait` is in seconds. Another client's jobs are unknown.
        """
        ids = list(dict.fromkeys(each.lower() for each in ids))
        known = await self._statuses(ids, caller)
        open_ids = [str(i) for i, at in known.items() if not has_ended(at)]
        if wait and len(open_ids) == len(ids):
            await self._ends.wait_for_any(open_ids, wait)
            known = await self._statuses(ids, caller)
        ended = [i for i, status in known.items() if has_ended(status)]
        names = {str(each) for each in known}
        return Gathered(
            await self._jobs(ended, caller, view),
            [each for each in ids if each not in names],
            len(known) - len(ended),
        )

    async def _statuses(
        self, ids: Sequence[str], caller: Caller
    ) -> Mapping[ObjectId, JobStatus]:
        valid = [ObjectId(each) for each in ids if ObjectId.is_valid(each)]
        known = {}
        for block in blocks(valid, _BLOCK):
            where = {**caller.own, "_id": {"$in": list(block)}}
            for job in await self._documents.find(
                where, fields=["_id", "status"]
            ):
                known[job["_id"]] = JobStatus(job["status"])
        return known

    async def _jobs(
        self, ids: Sequence[ObjectId], caller: Caller, view: JobView
    ) -> Sequence[Job]:
        return await fetch_ids(
            self._documents, caller.own, ids, view.read, view.stored
        )
