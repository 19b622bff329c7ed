"""Finds earlier answers by their keys."""

from collections.abc import Iterable, Mapping, Sequence

from api.models.job_status import JobStatus
from api.services.jobs.remembered import ANSWER_KEY, Remembered
from utilities.cosmos_connector import Document, Documents, ObjectId
from utilities.slices import blocks

_AT_ONCE = 1000
_ANSWERED = frozenset(
    {JobStatus.PROCESSED, JobStatus.CONSUMED, JobStatus.ERROR_CONSUMING}
)
_SMALL = (ANSWER_KEY, "status", "clientId", "finishedAt")
_FIELDS = (*_SMALL, "responseData", "responseLogprobs")
# That of the index, so that no server sorts.
_ORDER = [(ANSWER_KEY, 1)]


class AnswerMemory:
    """The answers that clients have had."""

    def __init__(self, jobs: Documents) -> None:
        self._jobs = jobs

    async def find(
        self, keys: Iterable[str], client_id: str
    ) -> dict[str, Remembered]:
        """Return a client's latest answers by their keys."""
        found = await self._newest(keys, client_id, _FIELDS)
        return {
            key: Remembered.from_document(job)
            for key, job in found.items()
            if isinstance(job.get("responseData"), str)
        }

    async def trim(self, keys: Iterable[str], client_id: str) -> None:
        """Keep the latest answer of each key only, since one more comes.

        Otherwise a question that is asked anew each day would have ever
        more answers to be looked through.
        """
        older: list[ObjectId] = []
        await self._newest(keys, client_id, _SMALL, older)
        for block in blocks(older, _AT_ONCE):
            await self._jobs.patch(
                {"_id": {"$in": list(block)}}, {"$set": {ANSWER_KEY: None}}
            )

    async def _newest(
        self,
        keys: Iterable[str],
        client_id: str,
        fields: Sequence[str],
        older: list[ObjectId] | None = None,
    ) -> Mapping[str, Document]:
        newest: dict[str, Document] = {}
        for block in blocks(list(dict.fromkeys(keys)), _AT_ONCE):
            where = {ANSWER_KEY: {"$in": list(block)}}
            found = await self._jobs.find(where, sort=_ORDER, fields=fields)
            for job in found:
                # A key has its client in it; this is a second look.
                if job["status"] in _ANSWERED and job["clientId"] == client_id:
                    left = _put(newest, job)
                    if left is not None and older is not None:
                        older.append(left["_id"])
        return newest


def _put(newest: dict[str, Document], job: Document) -> Document | None:
    """Put a job in its place if it is the latest; return who is not."""
    key = job[ANSWER_KEY]
    before = newest.get(key)
    if before is not None and _ended(job) < _ended(before):
        return job
    newest[key] = job
    return before


def _ended(job: Document) -> tuple[int, ObjectId]:
    return (job.get("finishedAt") or 0), job["_id"]
