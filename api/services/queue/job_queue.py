"""The queue's atomic operations: the only writes that workers make.

Every one is a conditional update, so that any number of processes may run
them at once on any server that speaks MongoDB's protocol. `docs/
how-a-job-lives.md` describes the life of a job.
"""

import random
import secrets
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

import structlog

from api.models.attempt_models import AttemptEnd
from api.models.job_fields import ServiceClass
from api.models.job_status import JobStatus
from api.models.worker_models import WorkerConfig
from api.services.queue import job_outcomes
from api.services.queue.bulk_turns import BULK_SHARE, BulkTurns
from api.services.queue.cancellations import Canceled
from api.services.queue.flights import Flights
from api.services.queue.job_outcomes import Result
from api.services.queue.job_work import (
    Claimant,
    ClaimedJob,
    Requeued,
    UnreadableJobError,
)
from api.services.queue.queue_order import QUEUE_ORDER
from api.services.queue.settling import Settling, charged_text
from api.services.queue.waiting_jobs import (
    Picked,
    WaitingJobs,
    Wanted,
    next_width,
)
from api.services.shared.endings import NO_ENDINGS, Endings
from api.services.shared.settlement import CHARGED, Block, Settles
from utilities.clock import Clock, now_ms
from utilities.cosmos_connector import (
    Document,
    Documents,
    Filter,
    ObjectId,
    StoreError,
)
from utilities.signals import (
    JOBS_ENDED,
    Signals,
    jobs_waiting,
    run_changed,
)

# How often a block is claimed while others claim the same jobs.
_CLAIM_ATTEMPTS = 3
_LEASE_ORDER = [("leaseExpiresAt", 1)]
_RETURNED_AT_ONCE = 500

log = structlog.get_logger(__name__)


class JobQueue:
    """Claims blocks of jobs, keeps their leases, stores their results."""

    def __init__(
        self,
        documents: Documents,
        *,
        lease_seconds: float,
        max_attempts: int,
        signals: Signals | None = None,
        ledger: Settles | None = None,
        clock: Clock = now_ms,
        endings: Endings = NO_ENDINGS,
        bulk_share: float = BULK_SHARE,
        flights: Flights | None = None,
    ) -> None:
        self._flights = flights
        self._bulk_turns = BulkTurns(bulk_share)
        self._documents = documents
        self._endings = endings
        self._settling = (
            None if ledger is None else Settling(documents, ledger)
        )
        self.lease_seconds = lease_seconds
        self.max_attempts = max_attempts
        self._signals = signals or Signals()
        self._clock = clock
        self._waiting = WaitingJobs(documents, clock)
        self._picked: defaultdict[str, Picked] = defaultdict(Picked)
        # By client, how wide claims look: wider while others win jobs.
        self._width: dict[str, int] = {}
        # The tokens of blocks whose claim failed before they were read.
        self._unread: dict[Claimant, list[str]] = {}

    async def claim(
        self,
        client_id: str,
        config: WorkerConfig,
        claimant: Claimant,
        limit: int,
        unavailable: Collection[str] = (),
        service_class: ServiceClass | None = None,
    ) -> list[ClaimedJob]:
        """Take up to `limit` waiting jobs, in the order of `queue_order`.

        Jobs of `unavailable` models, and with a class those of the other
        one, stay as they are. Three round trips for the whole block. A
        claim that loses jobs to another process's looks again, wider. After
        an error, what has been won is returned; what was not read of it is
        returned by the claimant's next claim.
        """
        jobs = await self._recover(claimant)
        where = Wanted(client_id, config, unavailable, service_class)
        for _ in range(_CLAIM_ATTEMPTS):
            missing = limit - len(jobs)
            if missing <= 0:
                break
            bulk = min(self._bulk_turns.due(where), missing)
            try:
                more, won = await self._claim_some(
                    where.bulk if bulk else where, claimant, bulk or missing
                )
            except StoreError as error:
                if not jobs:
                    raise
                log.warning("claim_failed", error=type(error).__name__)
                break
            jobs += won
            self._bulk_turns.claimed(where, won, was_for_bulk=bool(bulk))
            if not (more or bulk):
                break
        return jobs

    async def _claim_some(
        self, where: Wanted, claimant: Claimant, missing: int
    ) -> tuple[bool, list[ClaimedJob]]:
        """Claim jobs; tell also whether there may be more."""
        client_id = where.client_id
        width = self._width.get(client_id, 0)
        picked = self._picked[client_id]
        with picked.announce(missing) as others:
            wanted = (missing << width) + others
            found = await self._waiting.ids(where, wanted)
            if width:
                # At random, so that those who met do not meet again.
                random.shuffle(found)
            with picked.pick(found, missing) as ids:
                won = await self._claim_ids(ids, claimant) if ids else []
        lost = len(won) < len(ids)
        self._width[client_id] = next_width(width, lost=lost)
        some_left = len(ids) < missing and len(found) == wanted
        return lost or some_left, won

    async def _claim_ids(
        self, ids: Sequence[ObjectId], claimant: Claimant
    ) -> list[ClaimedJob]:
        now, token = self._clock(), secrets.token_hex(16)
        where = {
            "_id": {"$in": list(ids)},
            "status": JobStatus.PENDING,
            # Another process may have claimed and requeued one meanwhile.
            "deferredUntil": None,
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
        try:
            await self._documents.patch(where, update)
            return await self._read({"leaseToken": token})
        except StoreError:
            self._unread.setdefault(claimant, []).append(token)
            raise

    async def _recover(self, claimant: Claimant) -> list[ClaimedJob]:
        """Read the blocks of claims that failed after their update."""
        tokens = self._unread.pop(claimant, None)
        if not tokens:
            return []
        try:
            # A block whose lease ended meanwhile is another's by now.
            await self.extend_leases(tokens)
            return await self._read(
                {
                    "leaseToken": {"$in": tokens},
                    "status": JobStatus.PROCESSING,
                    "leaseExpiresAt": {"$gt": self._clock()},
                }
            )
        except StoreError:
            self._unread.setdefault(claimant, []).extend(tokens)
            raise

    async def _read(self, where: Filter) -> list[ClaimedJob]:
        found = await self._documents.find(where, sort=QUEUE_ORDER)
        jobs: list[ClaimedJob] = []
        for document in found:
            try:
                jobs.append(ClaimedJob.from_document(document))
            except UnreadableJobError as error:
                await self._give_up(document, error)
        return jobs

    async def _give_up(
        self, document: Document, error: UnreadableJobError
    ) -> None:
        """End a job that cannot be read; the others of its block go on."""
        log.error(
            "job_unreadable", jobId=str(document["_id"]), reason=str(error)
        )
        await self._endings.expect_jobs([document])
        where = {"_id": document["_id"], "status": JobStatus.PROCESSING}
        await self._documents.update_each(
            [(where, job_outcomes.unreadable(error, self._clock()))],
            unset=["leaseToken"],
        )

    async def has_work(
        self,
        client_id: str,
        config: WorkerConfig,
        unavailable: Collection[str] = (),
    ) -> bool:
        """Tell whether a job waits that a worker of this config may take."""
        where = Wanted(client_id, config, unavailable)
        return bool(await self._waiting.ids(where, 1))

    async def store(self, results: Sequence[Result]) -> int:
        """Write results, each only where its lease token still stands.

        Returns how many were taken; the others belong to another worker by
        now. Safe to repeat. A result that comes after its lease ended is
        taken if no worker has claimed the job since: it was paid for.
        """
        await self._endings.expect_jobs(
            {"_id": each.job.job_id, "clientId": each.job.client_id}
            for each in results
            if not isinstance(each.outcome, Requeued)
            and each.job.tells_its_end
        )
        now = self._clock()
        if self._settling is None:
            taken = await self._write(results, None)
        else:
            taken = await self._settling.store(results, self._write)
        if self._flights is not None:
            await self._flights.end(results)
        self._signals.publish(JOBS_ENDED)
        for run_id in {each.job.run_id for each in results} - {None}:
            self._signals.publish(run_changed(str(run_id)))
        self._announce(
            each.job.client_id
            for each in results
            if isinstance(each.outcome, Requeued)
            and each.outcome.available_at <= now
        )
        return taken

    async def _store_costs(
        self, results: Sequence[Result], now: int, block: Block | None
    ) -> None:
        """Note what jobs have cost that were canceled while they ran."""
        paid = [
            job_outcomes.as_canceled(result)
            for result in results
            if not isinstance(result.outcome, Requeued)
        ]
        if paid:
            await self._documents.update_each(
                [self._update(result, now, block) for result in paid],
                unset=["leaseToken"],
            )

    async def canceled(self, tokens: Sequence[str]) -> Canceled:
        """Return which jobs of these blocks have been canceled."""
        found = await self._documents.find(
            {
                "leaseToken": {"$in": list(tokens)},
                "status": {"$eq": JobStatus.CANCELED},
            },
            fields=["leaseToken"],
        )
        return {job["_id"]: job["leaseToken"] for job in found}

    async def extend_leases(self, tokens: Sequence[str]) -> int:
        """Give all jobs of these blocks another full lease.

        Named by token, not by owner: a block whose claim never reached
        its worker must end.
        """
        where: Document = {"leaseToken": {"$in": list(tokens)}}
        where["status"] = JobStatus.PROCESSING
        changes = {"leaseExpiresAt": self._lease_end(self._clock())}
        return await self._documents.patch(where, {"$set": changes})

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
            await self._endings.expect_jobs(exhausted)
            given_up = await self._free(exhausted, kind)
            returned, ended = returned + freed, ended + given_up
            # What was not freed has been extended or taken meanwhile.
            more = bool(freed + given_up) and len(found) == _RETURNED_AT_ONCE
        return returned, ended

    def _by_attempts_left(
        self, found: Sequence[Document]
    ) -> tuple[list[Document], list[Document]]:
        exhausted: list[Document] = []
        left: list[Document] = []
        for job in found:
            tried = job_outcomes.may_be_tried(job, self.max_attempts)
            (left if tried else exhausted).append(job)
        return left, exhausted

    async def _free(self, found: Sequence[Document], kind: AttemptEnd) -> int:
        if not found:
            return 0
        now = self._clock()
        freed = await self._documents.update_each(
            [
                (
                    job_outcomes.as_seen(job),
                    job_outcomes.freed(job, kind, now, self.max_attempts),
                )
                for job in found
            ]
        )
        self._announce(job.get("clientId") for job in found)
        self._signals.publish(JOBS_ENDED)
        return freed

    def _announce(self, client_ids: Iterable[object]) -> None:
        """Wake the workers of these clients: jobs of theirs wait again."""
        for client_id in set(client_ids):
            if isinstance(client_id, str):
                self._signals.publish(jobs_waiting(client_id))

    async def _write(
        self, results: Sequence[Result], block: Block | None
    ) -> int:
        now = self._clock()
        # A token that is gone makes a repeated write harmless.
        updates = [self._update(result, now, block) for result in results]
        unset = ["leaseToken"]
        taken = await self._documents.update_each(updates, unset)
        if taken < len(results):
            await self._store_costs(results, now, block)
        return taken

    def _update(
        self, result: Result, now: int, block: Block | None
    ) -> tuple[Filter, Document]:
        changes = job_outcomes.changes(result, now, self.max_attempts)
        if block is not None and result.job.bill:
            changes[CHARGED] = charged_text(result.job, block)
        changes["_metadata.updatedAt"] = now
        changes["_metadata.updatedBy"] = "worker"
        return job_outcomes.still_leased(result), changes

    def _lease_end(self, now: int) -> int:
        return now + round(self.lease_seconds * 1000)
