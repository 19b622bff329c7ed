"""The queue's atomic operations: the only writes that workers make.

Every one is a conditional update, so that any number of processes may run
them at once on any server that speaks MongoDB's protocol. `docs/
how-a-job-lives.md` tells the whole story.
"""

import random
import secrets
from collections.abc import Collection, Sequence

from bson import ObjectId
from pymongo import UpdateOne

from api.models.attempt_models import AttemptEnd
from api.models.job_status import JobStatus
from api.models.worker_models import WorkerConfig
from api.services.queue import job_outcomes
from api.services.queue.job_outcomes import Result
from api.services.queue.job_work import Claimant, ClaimedJob
from api.services.shared import client_reference
from utilities.clock import Clock, now_ms
from utilities.cosmos_connector import Document, Documents, Filter, retrying
from utilities.signals import RUNS_CHANGED, Signals

# The operation of the jobs that runs are made of.
RUN_OPERATION = "optimize"
# How often a block is claimed while others claim the same jobs.
_CLAIM_ATTEMPTS = 3
_QUEUE_ORDER = [("priority", 1), ("sequence", 1)]
_LEASE_ORDER = [("leaseExpiresAt", 1)]
_RETURNED_AT_ONCE = 500


class JobQueue:
    """Claims blocks of jobs, keeps their leases, stores their results."""

    def __init__(
        self,
        documents: Documents,
        *,
        lease_seconds: float,
        max_attempts: int,
        signals: Signals | None = None,
        clock: Clock = now_ms,
    ) -> None:
        self._documents = documents
        self.lease_seconds = lease_seconds
        self.max_attempts = max_attempts
        self._signals = signals or Signals()
        self._clock = clock

    async def claim(
        self,
        client_id: str,
        config: WorkerConfig,
        claimant: Claimant,
        limit: int,
        unavailable: Collection[str] = (),
    ) -> list[ClaimedJob]:
        """Take up to `limit` waiting jobs, first by priority, then by age.

        Jobs of `unavailable` models stay as they are.
        Three round trips for the whole block. Who else picked the same
        ids loses them in the conditional update, and looks again, wider.
        """
        jobs: list[ClaimedJob] = []
        for attempt in range(_CLAIM_ATTEMPTS):
            missing = limit - len(jobs)
            found = await self._waiting_ids(
                client_id,
                config,
                self._clock(),
                missing << attempt,
                unavailable,
            )
            # Drawn by lot, lest those who met should meet again.
            ids = random.sample(found, min(missing, len(found)))
            won = await self._claim_ids(ids, claimant) if ids else []
            jobs += won
            if len(won) == len(ids):
                break
        return jobs

    async def _claim_ids(
        self, ids: Sequence[ObjectId], claimant: Claimant
    ) -> list[ClaimedJob]:
        now, token = self._clock(), secrets.token_hex(16)
        where = {
            "_id": {"$in": list(ids)},
            "status": JobStatus.PENDING,
            "_metadata.isDeleted": False,
        }
        changes = {
            "status": JobStatus.PROCESSING,
            "leaseToken": token,
            "leaseProcess": claimant.process_id,
            "leaseWorker": claimant.worker_id,
            "leaseExpiresAt": self._lease_end(now),
            "claimedAt": now,
        }
        update = {"$set": changes, "$inc": {"attempts": 1}}
        await retrying(lambda: self._documents.raw.update_many(where, update))
        found = await self._documents.find(
            {"leaseToken": token}, sort=_QUEUE_ORDER
        )
        return [ClaimedJob.from_document(document) for document in found]

    async def has_work(
        self,
        client_id: str,
        config: WorkerConfig,
        unavailable: Collection[str] = (),
    ) -> bool:
        """Tell whether a job waits that a worker of this config may take."""
        return bool(
            await self._waiting_ids(
                client_id, config, self._clock(), 1, unavailable
            )
        )

    async def store(self, results: Sequence[Result]) -> int:
        """Write results, each only where its lease token still stands.

        Returns how many were taken; the others belong to somebody else by
        now. Safe to repeat. A result that comes after its lease ended is
        taken as long as nobody has claimed the job since: it was paid for.
        """
        operations = [self._operation(result) for result in results]
        written = await retrying(
            lambda: self._documents.raw.bulk_write(operations, ordered=False)
        )
        if any(each.job.operation == RUN_OPERATION for each in results):
            self._signals.publish(RUNS_CHANGED)
        return written.matched_count

    async def extend_leases(self, tokens: Sequence[str]) -> int:
        """Give all jobs of these blocks another full lease.

        Named by token, not by owner: a block whose claim never reached
        its worker must end.
        """
        where = {
            "leaseToken": {"$in": list(tokens)},
            "status": JobStatus.PROCESSING,
        }
        changes = {"leaseExpiresAt": self._lease_end(self._clock())}
        result = await retrying(
            lambda: self._documents.raw.update_many(where, {"$set": changes})
        )
        return result.matched_count

    async def return_expired(self) -> tuple[int, int]:
        """Return the jobs of dead workers; end those out of attempts.

        Returns how many were returned and how many ended. The token stays
        on a returned job until the next claim: should its worker still
        live, its answer is welcome until then.
        """
        whose = {"leaseExpiresAt": {"$lt": self._clock()}}
        return await self._return(whose, AttemptEnd.LEASE_EXPIRED)

    async def return_of_process(self, process_id: str) -> tuple[int, int]:
        """Return the jobs of a process that is known to be dead.

        As `return_expired`, without waiting for the leases.
        """
        whose = {"leaseProcess": process_id}
        return await self._return(whose, AttemptEnd.PROCESS_DIED)

    async def _return(
        self, whose: Filter, kind: AttemptEnd
    ) -> tuple[int, int]:
        returned = ended = 0
        where = {"status": {"$eq": JobStatus.PROCESSING}, **whose}
        more = True
        while more:
            found = await self._documents.find(
                where,
                sort=_LEASE_ORDER,
                limit=_RETURNED_AT_ONCE,
                fields=job_outcomes.LEASE_FIELDS,
            )
            left, exhausted = self._by_attempts_left(found)
            freed = await self._free(left, kind)
            given_up = await self._free(exhausted, kind)
            returned, ended = returned + freed, ended + given_up
            # What was not freed has been extended or taken meanwhile.
            more = bool(freed + given_up) and len(found) == _RETURNED_AT_ONCE
        return returned, ended

    def _by_attempts_left(
        self, found: Sequence[Document]
    ) -> tuple[list[Document], list[Document]]:
        left: list[Document] = []
        exhausted: list[Document] = []
        for document in found:
            used_up = document["attempts"] >= self.max_attempts
            (exhausted if used_up else left).append(document)
        return left, exhausted

    async def _free(self, found: Sequence[Document], kind: AttemptEnd) -> int:
        if not found:
            return 0
        now = self._clock()
        return await self._documents.update_each(
            [
                (
                    job_outcomes.as_seen(job),
                    job_outcomes.freed(job, kind, now, self.max_attempts),
                )
                for job in found
            ]
        )

    async def _waiting_ids(
        self,
        client_id: str,
        config: WorkerConfig,
        now: int,
        limit: int,
        unavailable: Collection[str] = (),
    ) -> list[ObjectId]:
        if config.model_filter in unavailable:
            return []
        # `$eq` spelled out: only so does the embedded server see that the
        # index serves this query. Elsewhere it makes no difference.
        where: Document = {
            "clientId": {"$eq": client_id},
            "status": {"$eq": JobStatus.PENDING},
            "availableAt": {"$lte": now},
            **client_reference.filter_of(config.client_reference_filters),
        }
        if config.model_filter is not None:
            where["model"] = config.model_filter
        elif unavailable:
            where["model"] = {"$nin": list(unavailable)}
        if config.operation_filter is not None:
            where["operation"] = config.operation_filter
        found = await self._documents.find(
            where, sort=_QUEUE_ORDER, limit=limit, fields=["_id"]
        )
        return [document["_id"] for document in found]

    def _operation(self, result: Result) -> UpdateOne:
        now = self._clock()
        changes = job_outcomes.changes(result, now, self.max_attempts)
        changes["_metadata.updatedAt"] = now
        changes["_metadata.updatedBy"] = "worker"
        # A token that is gone makes a repeated write harmless.
        update = {"$set": changes, "$unset": {"leaseToken": ""}}
        return UpdateOne(job_outcomes.still_leased(result), update)

    def _lease_end(self, now: int) -> int:
        return now + round(self.lease_seconds * 1000)
