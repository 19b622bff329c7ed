"""The supervisor: brings the threads in line with the worker documents.

A worker's document says what is wanted. Each process holds the workers it
runs, for a lease: no two processes run one worker, and a dead process's
workers are taken over by others, or by itself after a restart.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from bson import ObjectId

from api.models.worker_models import Worker, WorkerStatus
from llm_workers.worker import WorkerParts, WorkerThread
from utilities.clock import Clock, now_ms, to_datetime
from utilities.cosmos_connector import Document, Documents, StoreError
from utilities.signals import WORKERS_CHANGED
from utilities.tasks import Loop

_TICK_SECONDS = 1.0
_HOLD_SECONDS = 10.0
# A worker that is stopped through the API may finish longer calls than one
# whose process ends.
_DRAIN_SECONDS = 30.0
# Beyond its grace time, a thread stores results and closes connections.
_STUCK_SECONDS = 6.0
_CRASHES_ALLOWED = 4
_CRASHES_REMEMBERED_SECONDS = 300.0
# With more running workers than threads: how long a worker must have had
# nothing to do before another one gets its thread, and how many of those
# that wait are looked at in one tick.
_IDLE_SECONDS = 1.0
_WAITING_LOOKED_AT = 20

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """How much one process takes on."""

    max_threads: int
    stop_grace_seconds: float


class WorkerPool(Loop):
    """Runs this process's share of the workers."""

    def __init__(
        self,
        documents: Documents,
        parts: WorkerParts,
        limits: PoolLimits,
        clock: Clock = now_ms,
    ) -> None:
        super().__init__()
        self.pool_id = parts.spool.process_id
        self._documents = documents
        self._parts = parts
        self._limits = limits
        self._clock = clock
        self._threads: dict[str, WorkerThread] = {}
        # Threads that were told to stop, and until when they may take.
        self._leaving: dict[WorkerThread, float] = {}
        self._crashes: dict[str, list[float]] = {}
        self._next_reap = 0.0
        self._told_full = False

    async def run(self) -> None:
        """Supervise until told to stop, then stop every worker in time."""
        self._parts.spool.open()
        self.attach()
        signals = self._parts.signals
        signals.subscribe(WORKERS_CHANGED, self.wake_safely)
        try:
            while not self.stopping:
                await self._tick_safely()
                await self.pause(_TICK_SECONDS)
        finally:
            signals.unsubscribe(WORKERS_CHANGED, self.wake_safely)
            await self._shut_down()

    async def _tick_safely(self) -> None:
        try:
            await self._tick()
        except StoreError as error:
            # The workers go on; what they finish waits for the database.
            log.warning("pool_tick_failed", error=type(error).__name__)
        except Exception:
            # Whatever it was: without its supervisor a process looks alive
            # and does nothing. The next tick may do better.
            log.exception("pool_tick_defect")

    async def _tick(self) -> None:
        await self._clear_dead_processes()
        await self._renew_holds()
        await self._align(await self._held())
        await self._take_more()
        await self._return_expired()

    async def _renew_holds(self) -> None:
        if self._threads:
            await self._documents.raw.update_many(
                {"holdPool": self.pool_id},
                {"$set": {"holdExpiresAt": self._hold_end()}},
            )

    async def _held(self) -> dict[str, Worker]:
        found = await self._documents.find({"holdPool": self.pool_id})
        return {str(doc["_id"]): Worker.from_document(doc) for doc in found}

    async def _align(self, held: dict[str, Worker]) -> None:
        for worker_id, thread in list(self._threads.items()):
            worker = held.get(worker_id)
            if worker is None or worker.status is not WorkerStatus.RUNNING:
                self._dismiss(worker_id)
            elif not thread.alive:
                await self._after_crash(worker, thread)
            else:
                thread.reconfigure(worker.config)
        leaving = self._still_leaving()
        for worker_id, worker in held.items():
            if worker_id in self._threads or worker_id in leaving:
                continue
            if worker.status is WorkerStatus.RUNNING:
                self._start(worker)
            else:
                await self._let_go([worker_id])

    def _still_leaving(self) -> set[str]:
        for thread, deadline in list(self._leaving.items()):
            if thread.alive and time.monotonic() < deadline:
                continue
            if thread.alive:
                # A plug-in blocks it. Its leases end, its jobs go on
                # elsewhere; the thread is left to itself.
                log.error("worker_stuck", workerId=thread.worker_id)
            del self._leaving[thread]
        return {thread.worker_id for thread in self._leaving}

    async def _take_more(self) -> None:
        free = max(self._limits.max_threads - len(self._threads), 0)
        waiting = await self._free_workers(free + _WAITING_LOOKED_AT)
        for worker in waiting[:free]:
            await self._take(ObjectId(worker.worker_id))
        self._tell_if_full(full=len(waiting) > free)
        await self._make_room(waiting[free:])

    async def _make_room(self, waiting: Sequence[Worker]) -> None:
        """Let idle threads give way to workers that have jobs waiting."""
        idle = [
            thread
            for thread in self._threads.values()
            if thread.idle_seconds > _IDLE_SECONDS
        ]
        queue = self._parts.queue
        for worker in waiting:
            if not idle:
                return
            if await queue.has_work(worker.client_id, worker.config):
                worker_id = idle.pop().worker_id
                self._dismiss(worker_id)
                await self._let_go([worker_id])

    async def _free_workers(self, limit: int) -> list[Worker]:
        # Who has waited longest comes first.
        found = await self._documents.find(
            {
                "status": WorkerStatus.RUNNING,
                "holdExpiresAt": {"$lt": self._clock()},
            },
            sort=[("holdExpiresAt", 1)],
            limit=limit,
        )
        return [Worker.from_document(document) for document in found]

    async def _take(self, worker_id: ObjectId) -> None:
        now = self._clock()
        document = await self._documents.update(
            {
                "_id": worker_id,
                "status": WorkerStatus.RUNNING,
                "holdExpiresAt": {"$lt": now},
            },
            {
                "holdPool": self.pool_id,
                "holdExpiresAt": self._hold_end(),
                "threadInfo": self._thread_info(now),
            },
        )
        if document is not None:
            self._start(Worker.from_document(document))

    def _start(self, worker: Worker) -> None:
        thread = WorkerThread(worker, self._parts)
        self._threads[worker.worker_id] = thread
        thread.start()
        log.info("worker_started", workerId=worker.worker_id, name=worker.name)

    def _dismiss(self, worker_id: str) -> None:
        thread = self._threads.pop(worker_id)
        thread.stop(_DRAIN_SECONDS)
        deadline = time.monotonic() + _DRAIN_SECONDS + _STUCK_SECONDS
        self._leaving[thread] = deadline
        self._crashes.pop(worker_id, None)
        log.info("worker_stopping", workerId=worker_id)

    async def _after_crash(self, worker: Worker, thread: WorkerThread) -> None:
        worker_id = worker.worker_id
        del self._threads[worker_id]
        now = time.monotonic()
        recent = [
            when
            for when in self._crashes.get(worker_id, ())
            if now - when < _CRASHES_REMEMBERED_SECONDS
        ]
        self._crashes[worker_id] = [*recent, now]
        if len(recent) < _CRASHES_ALLOWED:
            self._start(worker)
            return
        self._crashes.pop(worker_id)
        info = {**(worker.thread_info or {}), "error": thread.error}
        await self._documents.update(
            {"_id": ObjectId(worker_id), "holdPool": self.pool_id},
            {
                "status": WorkerStatus.ERROR,
                "threadInfo": info,
                **self._released(),
            },
        )
        log.error("worker_given_up", workerId=worker_id, error=thread.error)

    async def _let_go(self, worker_ids: Sequence[str]) -> None:
        ids = [ObjectId(worker_id) for worker_id in worker_ids]
        await self._documents.update_many(
            {"_id": {"$in": ids}, "holdPool": self.pool_id}, self._released()
        )

    async def _return_expired(self) -> None:
        if time.monotonic() < self._next_reap:
            return
        seconds = self._parts.queue.lease_seconds / 5
        self._next_reap = time.monotonic() + seconds
        returned, ended = await self._parts.queue.return_expired()
        if returned or ended:
            log.warning("leases_expired", returned=returned, ended=ended)
            for thread in self._threads.values():
                thread.wake()

    async def _clear_dead_processes(self) -> None:
        queue, spool = self._parts.queue, self._parts.spool
        for directory, results in spool.adopt():
            taken = await queue.store(results) if results else 0
            # Its answers first: they need their leases.
            dead = directory.name
            returned, ended = await queue.return_of_process(dead)
            await self._documents.update_many(
                {"holdPool": dead}, self._released()
            )
            spool.discard(directory)
            log.warning(
                "dead_process_cleared",
                process=dead,
                resultsFound=len(results),
                resultsTaken=taken,
                jobsReturned=returned,
                jobsEnded=ended,
            )

    async def _shut_down(self) -> None:
        threads = [*self._threads.values(), *self._leaving]
        grace = self._limits.stop_grace_seconds
        for thread in threads:
            thread.stop(grace)
        deadline = time.monotonic() + grace + _STUCK_SECONDS
        while threads and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
            threads = [thread for thread in threads if thread.alive]
        for thread in threads:
            log.error("worker_stuck", workerId=thread.worker_id)
        with contextlib.suppress(StoreError):
            await self._let_go(list(self._threads))
        self._threads.clear()
        self._parts.spool.close()

    def _tell_if_full(self, *, full: bool) -> None:
        if full and not self._told_full:
            log.warning(
                "no_thread_free",
                limit=self._limits.max_threads,
                advice="workers wait for a thread: raise NUM_LLM_WORKERS or "
                "start another process with `metasync worker`",
            )
        self._told_full = full

    def _thread_info(self, now: int) -> Document:
        return {
            "startedAt": to_datetime(now).isoformat(),
            "pool": self.pool_id,
        }

    def _hold_end(self) -> int:
        return self._clock() + round(_HOLD_SECONDS * 1000)

    def _released(self) -> Document:
        return {"holdPool": None, "holdExpiresAt": self._clock()}
