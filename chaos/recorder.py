"""Watches the stored results from outside of the service.

It has a connection of its own, which is never cut, and remembers what it
has seen: a result that changes afterwards was overwritten.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from bson import ObjectId
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import PyMongoError

from utilities import payload

Json = dict[str, Any]
_ENDED = ("PROCESSED", "ERROR_PROCESSING")
_GIVEN_UP = "LEASE_EXPIRED"
_SEEN = ("status", "responseData", "errorData", "processingMetrics")


@dataclass
class Recorder:
    """What has been seen of the jobs' ends."""

    address: str
    db_name: str
    ended: dict[ObjectId, Json] = field(default_factory=dict)
    overwritten: list[str] = field(default_factory=list)
    # How many, as far as is known.
    ended_jobs: int = 0
    # Answers of workers that were believed dead.
    late_answers: int = 0

    def count(self) -> int:
        """Return how many jobs have ended, as far as is known."""
        by_status = {"$group": {"_id": "$status", "n": {"$sum": 1}}}
        # The database may be away just now.
        with suppress(PyMongoError), self._jobs() as jobs:
            groups = jobs.aggregate([{"$match": {}}, by_status]).to_list()
            self.ended_jobs = sum(
                group["n"] for group in groups if group["_id"] in _ENDED
            )
        return self.ended_jobs

    def look(self) -> None:
        """Compare the results with what they were at the look before."""
        with suppress(PyMongoError):
            self._compare(self._read({"status": {"$in": _ENDED}}))

    def everything(self) -> list[Json]:
        """Read all jobs whole."""
        return self._read({})

    def _read(self, where: Json) -> list[Json]:
        with self._jobs() as jobs:
            return jobs.find(where).to_list()

    @contextmanager
    def _jobs(self) -> Iterator[Collection[Json]]:
        client: MongoClient[Json] = MongoClient(
            self.address, serverSelectionTimeoutMS=500, socketTimeoutMS=20_000
        )
        with client:
            yield client[self.db_name]["jobs"]

    def _compare(self, found: list[Json]) -> None:
        now = {document["_id"]: _seen(document) for document in found}
        for job_id, before in self.ended.items():
            after = now.get(job_id)
            if after == before:
                continue
            if after is not None and _answered_late(before, after):
                self.late_answers += 1
                continue
            self.overwritten.append(f"{job_id}: {before} became {after}")
        self.ended = now


def _seen(document: Json) -> Json:
    seen = {name: document.get(name) for name in _SEEN}
    return seen | {"updatedAt": document["_metadata"]["updatedAt"]}


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
