"""Watches the stored results from outside of the service.

It has a connection of its own, which is never cut, and remembers what it
has seen: a result that changes afterwards was overwritten.
"""

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from bson import ObjectId
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from utilities import payload

Json = dict[str, Any]
_ENDED = ("PROCESSED", "ERROR_PROCESSING")
_GIVEN_UP = "LEASE_EXPIRED"
_SEEN = (
    "status",
    "responseData",
    "errorData",
    "processingMetrics",
    "_metadata.updatedAt",
)


@dataclass
class Recorder:
    """What has been seen of the jobs' ends."""

    address: str
    db_name: str
    ended: dict[ObjectId, Json] = field(default_factory=dict)
    overwritten: list[str] = field(default_factory=list)
    # Answers of workers that were believed dead.
    late_answers: int = 0

    def look(self) -> int:
        """Look once; return how many jobs have ended, as far as is known."""
        # The database may be away just now.
        with suppress(PyMongoError):
            self._compare(self._read({"status": {"$in": _ENDED}}))
        return len(self.ended)

    def everything(self) -> list[Json]:
        """Read all jobs whole."""
        return self._read({}, whole=True)

    def _read(self, where: Json, *, whole: bool = False) -> list[Json]:
        client: MongoClient[Json] = MongoClient(
            self.address, serverSelectionTimeoutMS=500, socketTimeoutMS=20_000
        )
        with client:
            jobs = client[self.db_name]["jobs"]
            return jobs.find(where, None if whole else _SEEN).to_list()

    def _compare(self, found: list[Json]) -> None:
        now = {document["_id"]: document for document in found}
        for job_id, before in self.ended.items():
            after = now.get(job_id)
            if after == before:
                continue
            if after is not None and _answered_late(before, after):
                self.late_answers += 1
                continue
            self.overwritten.append(f"{job_id}: {before} became {after}")
        self.ended = now


def _answered_late(before: Json, after: Json) -> bool:
    return error_kind(before) == _GIVEN_UP and after["status"] in _ENDED


def error_kind(job: Json) -> str | None:
    """Return the type of a job's error."""
    if not job.get("errorData"):
        return None
    return str(payload.load(job["errorData"]).get("errorType"))


def errors_of(jobs: list[Json]) -> Counter[str]:
    """Count the failed jobs by the type of their error."""
    return Counter(
        str(error_kind(job))
        for job in jobs
        if job["status"] == "ERROR_PROCESSING"
    )
