"""The supervisor: brings the threads in line with the worker documents.

A worker's document says what is wanted. Each process leases the slots it
runs, for a lease: no two processes run one slot, and a dead process's
slots are taken over by others, or by itself after a restart.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from api.models.worker_models import Worker, WorkerStatus
from api.services.queue.worker_leases import Slot, WorkerLeases
from llm_workers.supervisor.assignment import Assignment
from llm_workers.supervisor.snapshot import Snapshot, take_snapshot
from llm_workers.supervisor.worker_thread import WorkerParts, WorkerThread
from utilities.cosmos_connector import Documents, ObjectId, StoreError
from utilities.signals import WORKERS_CHANGED
from utilities.tasks import Loop

_TICK_SECONDS = 1.0
# With very many workers and leases, they are read less often than every tick.
_READ_PER_SECOND = 500
_MAX_SECONDS_BETWEEN_SNAPSHOTS = 5.0
# A worker that is stopped through the API may finish longer calls than one
# whose process ends.
_DRAIN_SECONDS = 30.0
# Beyond its grace time, a thread stores results and closes connections.
_STUCK_SECONDS = 6.0
_CRASHES_ALLOWED = 4
_CRASHES_REMEMBERED_SECONDS = 300.0
# A slot that is another process's to take, and is not taken, may be taken
# out of turn.
_OUT_OF_TURN_SECONDS = 3.0
# With more slots than threads: how long a thread must have had nothing to
# do before another slot gets it, and how many workers that wait are asked
# in one look whether they have jobs.
_IDLE_SECONDS = 1.0
_WAITING_EXAMINED = 20

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """How much one process takes on."""

    max_threads: int
    stop_grace_seconds: float


@dataclass(frozen=True, slots=True)
class _Leaving:
    """A thread that was told to end, and until when it may take."""

    slot: Slot
    thread: WorkerThread
    deadline: float


class WorkerPool(Loop):
    """Runs this process's share of the workers."""

    def __init__(
        self,
        documents: Documents,
        leases: WorkerLeases,
        parts: WorkerParts,
        limits: PoolLimits,
    ) -> None:
        super().__init__()
        self.pool_id = parts.spool.process_id
        self._documents = documents
        self._leases = leases
        self._parts = parts
        self._limits = limits
        self._threads: dict[Slot, WorkerThread] = {}
        self._leaving: list[_Leaving] = []
        self._crashes: dict[Slot, list[float]] = {}
        self._waiting_since: dict[Slot, float] = {}
        self._next_snapshot = 0.0
        self._next_reap = 0.0
        self._warned_full = False

    async def run(self) -> None:
        """Supervise until told to stop, then stop every worker in time."""
        self._parts.spool.open()
        self.attach()
        signals = self._parts.signals
        signals.subscribe(WORKERS_CHANGED, self._refresh_soon)
        try:
            while not self.stopping:
                await self._tick_safely()
                await self.pause(_TICK_SECONDS)
        finally:
            signals.unsubscribe(WORKERS_CHANGED, self._refresh_soon)
            await self._shut_down()

    def _refresh_soon(self) -> None:
        self._next_snapshot = 0.0
        self.wake_safely()

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
        await self._recover_dead_processes()
        await self._leases.renew(self.pool_id, self._limits.max_threads)
        if time.monotonic() >= self._next_snapshot:
            snapshot = await self._snapshot()
            await self._reconcile(snapshot)
            await self._take_more(snapshot)
            await self._rebalance(snapshot)
        await self._return_expired()

    async def _snapshot(self) -> Snapshot:
        snapshot = await take_snapshot(self._documents, self._leases)
        read = len(snapshot.workers) + len(snapshot.leases)
        seconds = read / _READ_PER_SECOND
        self._next_snapshot = time.monotonic() + min(
            seconds, _MAX_SECONDS_BETWEEN_SNAPSHOTS
        )
        return snapshot

    async def _reconcile(self, snapshot: Snapshot) -> None:
        mine = {s for s, pool in snapshot.held.items() if pool == self.pool_id}
        for slot, thread in list(self._threads.items()):
            worker = snapshot.workers.get(slot.worker_id)
            if worker is None:
                self._stop_thread(slot, _DRAIN_SECONDS)
            elif slot not in mine or not snapshot.wants(slot):
                self._stop_thread(slot)
            elif not thread.alive:
                await self._after_crash(slot, worker, thread)
            else:
                thread.reconfigure(worker.config)
        for slot in mine - self._threads.keys() - self._still_leaving():
            if snapshot.wants(slot):
                self._start(slot, snapshot.workers[slot.worker_id])
            else:
                await self._leases.remove([slot], self.pool_id)
        if snapshot.unwanted:
            await self._leases.remove_expired(snapshot.unwanted)

    def _still_leaving(self) -> set[Slot]:
        still = []
        for leaving in self._leaving:
            if not leaving.thread.alive:
                continue
            if time.monotonic() < leaving.deadline:
                still.append(leaving)
            else:
                # A plug-in blocks it. Its leases end, its jobs go on
                # elsewhere; the thread is left to itself.
                log.error("worker_stuck", workerId=leaving.slot.worker_id)
        self._leaving = still
        return {leaving.slot for leaving in still}

    async def _take_more(self, snapshot: Snapshot) -> None:
        now = time.monotonic()
        self._waiting_since = {
            slot: self._waiting_since.get(slot, now)
            for slot in snapshot.waiting
        }
        assigned = self._assignment(snapshot).assign(snapshot.waiting)
        for slot in snapshot.waiting:
            late = now - self._waiting_since[slot] > _OUT_OF_TURN_SECONDS
            if self._has_capacity and (
                late or assigned.get(slot) == self.pool_id
            ):
                await self._take(slot, snapshot)
        left = [slot for slot in snapshot.waiting if slot not in assigned]
        self._warn_if_full(full=bool(left))
        await self._preempt(left, snapshot)

    @property
    def _has_capacity(self) -> bool:
        return len(self._threads) < self._limits.max_threads

    def _assignment(self, snapshot: Snapshot) -> Assignment:
        return Assignment(snapshot.capacities, snapshot.held.items())

    async def _preempt(
        self, waiting: Sequence[Slot], snapshot: Snapshot
    ) -> None:
        """Give threads to workers that have jobs waiting, one each."""
        # Those who have been idle longest give way first.
        idle = [
            slot
            for slot in self._longest_idle_last()
            if self._threads[slot].idle_seconds > _IDLE_SECONDS
        ]
        first: dict[str, Slot] = {}
        for slot in waiting:
            first.setdefault(slot.worker_id, slot)
        for worker_id, slot in list(first.items())[:_WAITING_EXAMINED]:
            donor = self._donor(slot, idle, snapshot)
            if donor is None:
                continue
            worker = snapshot.workers[worker_id]
            if await self._parts.queue.has_work(
                worker.client_id, worker.config
            ) and await self._take(slot, snapshot):
                await self._release([donor])
                if donor not in idle:
                    return
                idle.remove(donor)

    def _donor(
        self, slot: Slot, idle: Sequence[Slot], snapshot: Snapshot
    ) -> Slot | None:
        if idle:
            others = (s for s in idle if s.worker_id != slot.worker_id)
            return max(others, key=idle.index, default=None)
        if snapshot.threads_of(slot.worker_id):
            return None
        # One thread for each worker goes before a second one for any.
        replicas = [
            each
            for each in self._threads
            if snapshot.threads_of(each.worker_id) > 1
            and each in snapshot.held
        ]
        return max(replicas, key=lambda each: each.replica, default=None)

    async def _rebalance(self, snapshot: Snapshot) -> None:
        """Give threads up to processes that have fewer, and room."""
        if snapshot.waiting:
            return
        own = [slot for slot in self._threads if slot in snapshot.held]
        order = reversed(self._longest_idle_last())
        excess = self._assignment(snapshot).excess(
            self.pool_id, [slot for slot in order if slot in own]
        )
        if excess:
            log.info("slots_released", count=len(excess))
            await self._release(excess)

    def _longest_idle_last(self) -> list[Slot]:
        return sorted(
            self._threads,
            key=lambda slot: (self._threads[slot].idle_seconds, slot.replica),
        )

    async def _release(self, slots: Sequence[Slot]) -> None:
        # They take no more jobs, so others may have them at once.
        for slot in slots:
            self._stop_thread(slot)
        await self._leases.release(slots, self.pool_id)

    async def _take(self, slot: Slot, snapshot: Snapshot) -> bool:
        seen = snapshot.leases.get(slot)
        taken = await self._leases.take(slot, self.pool_id, seen)
        if taken:
            self._start(slot, snapshot.workers[slot.worker_id])
        return taken

    def _start(self, slot: Slot, worker: Worker) -> None:
        thread = WorkerThread(worker, self._parts)
        self._threads[slot] = thread
        thread.start()
        log.info(
            "worker_started",
            workerId=slot.worker_id,
            replica=slot.replica,
            name=worker.name,
        )

    def _stop_thread(self, slot: Slot, grace: float | None = None) -> None:
        # Where nobody asked for a stop, no call is cut off.
        longest = self._parts.access.timeout_seconds
        seconds = longest if grace is None else grace
        thread = self._threads.pop(slot)
        thread.stop(seconds)
        deadline = time.monotonic() + seconds + _STUCK_SECONDS
        self._leaving.append(_Leaving(slot, thread, deadline))
        self._crashes.pop(slot, None)
        log.info(
            "worker_stopping", workerId=slot.worker_id, replica=slot.replica
        )

    async def _after_crash(
        self, slot: Slot, worker: Worker, thread: WorkerThread
    ) -> None:
        del self._threads[slot]
        now = time.monotonic()
        recent = [
            when
            for when in self._crashes.get(slot, ())
            if now - when < _CRASHES_REMEMBERED_SECONDS
        ]
        self._crashes[slot] = [*recent, now]
        if len(recent) < _CRASHES_ALLOWED:
            self._start(slot, worker)
            return
        self._crashes.pop(slot)
        info = {**(worker.thread_info or {}), "error": thread.error}
        await self._documents.update(
            {
                "_id": ObjectId(slot.worker_id),
                "status": WorkerStatus.RUNNING,
            },
            {"status": WorkerStatus.ERROR, "threadInfo": info},
        )
        log.error(
            "worker_given_up", workerId=slot.worker_id, error=thread.error
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

    async def _recover_dead_processes(self) -> None:
        queue, spool = self._parts.queue, self._parts.spool
        for directory, results in spool.recover():
            taken = await queue.store(results) if results else 0
            # Its answers first: they need their leases.
            dead = directory.name
            returned, ended = await queue.return_of_process(dead)
            await self._leases.release_all(dead)
            spool.discard(directory)
            log.warning(
                "dead_process_recovered",
                process=dead,
                resultsFound=len(results),
                resultsTaken=taken,
                jobsReturned=returned,
                jobsEnded=ended,
            )

    async def _shut_down(self) -> None:
        threads = [
            *self._threads.values(),
            *(leaving.thread for leaving in self._leaving),
        ]
        grace = self._limits.stop_grace_seconds
        for thread in threads:
            thread.stop(grace)
        # They take no more jobs, so others may go on at once.
        with contextlib.suppress(StoreError):
            await self._leases.release_all(self.pool_id)
        deadline = time.monotonic() + grace + _STUCK_SECONDS
        while threads and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
            threads = [thread for thread in threads if thread.alive]
        for thread in threads:
            log.error("worker_stuck", workerId=thread.worker_id)
        self._threads.clear()
        self._parts.spool.close()

    def _warn_if_full(self, *, full: bool) -> None:
        if full and not self._warned_full:
            log.warning(
                "no_thread_free",
                limit=self._limits.max_threads,
                advice="workers wait for a thread: raise NUM_LLM_WORKERS or "
                "start another process with `metasync worker`",
            )
        self._warned_full = full
