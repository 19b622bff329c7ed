"""The supervisor: reconciles the threads with the worker documents.

A worker's document says what is wanted. Each process leases the slots that
it runs: no two processes run one slot, and a dead process's slots are
taken over by others, or by itself after a restart.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from api.models.worker_models import Worker
from api.services.queue.cancellations import Canceled
from api.services.queue.worker_leases import Slot, WorkerLeases
from llm_sdks.resilience.fair_queue import Weights
from llm_workers.supervisor.assignment import Assignment
from llm_workers.supervisor.fairness import OwnThread, Shares
from llm_workers.supervisor.pool_settings import PoolLimits, PoolTimes
from llm_workers.supervisor.snapshot import Snapshot, SnapshotSource
from llm_workers.supervisor.waiting_clients import WaitingClients
from llm_workers.supervisor.work_search import WorkSearch
from llm_workers.supervisor.worker_thread import WorkerParts, WorkerThread
from utilities.cosmos_connector import StoreError
from utilities.signals import WORKERS_CHANGED
from utilities.tasks import Loop

log = structlog.get_logger(__name__)


# With very many workers and leases, they are read less often than every tick.
_READ_PER_SECOND = 500
_MAX_SECONDS_BETWEEN_SNAPSHOTS = 5.0
_CRASHES_ALLOWED = 4


@dataclass(frozen=True, slots=True)
class _Leaving:
    """A thread that is stopping, and when it must have ended."""

    slot: Slot
    thread: WorkerThread
    deadline: float


class WorkerPool(Loop):
    """Runs this process's share of the workers."""

    name = "workers"
    stalls_after = 120.0

    def __init__(
        self,
        source: SnapshotSource,
        leases: WorkerLeases,
        parts: WorkerParts,
        limits: PoolLimits,
        times: PoolTimes | None = None,
        weights: Weights = lambda _: 1.0,
    ) -> None:
        super().__init__()
        self._times = times or PoolTimes()
        self.pool_id = parts.spool.process_id
        self._source = source
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
        self._weights = weights
        self._waiting_clients = WaitingClients(parts.signals, self.wake_safely)
        self._search = WorkSearch(
            parts.queue, parts.claims, self._times.asking
        )

    async def run(self) -> None:
        """Supervise until stopped, then stop every worker in time."""
        signals = self._parts.signals
        try:
            # Inside: a stop in this moment must not leave the directory.
            await asyncio.to_thread(self._parts.spool.open)
            self.attach()
            signals.subscribe(WORKERS_CHANGED, self._refresh_soon)
            while not self.stopping:
                began = time.monotonic()
                await self._tick_safely()
                await self.pause(self._times.tick)
                # News may come all the time.
                passed = time.monotonic() - began
                await self.rest(max(self._times.soonest - passed, 0.0))
        finally:
            self._waiting_clients.listen_to(())
            signals.unsubscribe(WORKERS_CHANGED, self._refresh_soon)
            await self._shut_down()

    def cancel(self, canceled: Canceled) -> None:
        """Stop the calls of jobs that have been canceled."""
        leaving = [each.thread for each in self._leaving]
        for thread in (*self._threads.values(), *leaving):
            thread.cancel(canceled)

    def _refresh_soon(self) -> None:
        self._next_snapshot = 0.0
        self.wake_safely()

    async def _tick_safely(self) -> None:
        try:
            await self._tick()
        except StoreError as error:
            # The workers continue; their results wait for the database.
            log.warning("pool_tick_failed", error=type(error).__name__)
        except Exception as error:
            # Whatever it was: the next tick may do better, and the workers
            # go on. Readiness shows it.
            if self.complaint is None:
                log.exception("pool_tick_defect")
            self.complaint = f"unexpected {type(error).__name__}"
        else:
            self.complaint = None

    async def _tick(self) -> None:
        await self._leases.renew(self.pool_id, self._limits.max_threads)
        await self._stop_disabled()
        if time.monotonic() >= self._next_snapshot:
            snapshot = await self._snapshot()
            await self._reconcile(snapshot)
            await self._take_more(snapshot)
            await self._rebalance(snapshot)
        await self._return_expired()

    async def _stop_disabled(self) -> None:
        """Stop the workers of clients that are no longer enabled, at once."""
        leaving = [each.thread for each in self._leaving]
        clients = {
            thread.client_id for thread in (*self._threads.values(), *leaving)
        }
        enabled = await self._source.enabled(clients)
        for thread in leaving:
            if thread.client_id not in enabled:
                thread.stop(0.0)
        for slot, thread in list(self._threads.items()):
            if thread.client_id not in enabled:
                # Its client is disabled: its calls are cancelled.
                self._stop_thread(slot, 0.0)

    async def _snapshot(self) -> Snapshot:
        snapshot = await self._source.take(self._leases)
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
                self._stop_thread(slot, self._times.drain)
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
                # elsewhere; the thread is abandoned.
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
            late = now - self._waiting_since[slot] > self._times.out_of_turn
            if self._has_capacity and (
                late or assigned.get(slot) == self.pool_id
            ):
                await self._take(slot, snapshot)
        left = [slot for slot in snapshot.waiting if slot not in assigned]
        self._waiting_clients.listen_to(
            {snapshot.clients[slot.worker_id] for slot in left}
        )
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
        found = await self._search.found(waiting, snapshot)
        shares = Shares(snapshot.held, snapshot.clients, self._weights)
        for slot in shares.in_turn(found):
            donor = shares.donor(
                slot, self._own_threads(snapshot), self._times.fairness
            )
            if donor is None or not await self._search.confirms(
                slot, snapshot
            ):
                continue
            if not await self._take(slot, snapshot):
                continue
            shares.move(donor.slot, slot)
            await self._release([donor.slot])
            if donor.idle_seconds <= self._times.fairness.idle:
                return  # of those that are busy, one in a round

    def _own_threads(self, snapshot: Snapshot) -> list[OwnThread]:
        """Return the threads that may be given to others."""
        # Threads that drain run beside those that took over; not too many.
        busy_may_go = len(self._leaving) < max(self._limits.max_threads, 2) / 2
        return [
            OwnThread(
                slot,
                snapshot.clients.get(slot.worker_id, ""),
                thread.idle_seconds,
                thread.held_seconds,
            )
            for slot, thread in self._threads.items()
            if slot in snapshot.held
            if busy_may_go or thread.idle_seconds > self._times.fairness.idle
        ]

    async def _rebalance(self, snapshot: Snapshot) -> None:
        """Release slots to processes with fewer threads and free capacity."""
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
        # Without a request to stop, no call is cancelled.
        longest = self._parts.access.timeout_seconds
        seconds = longest if grace is None else grace
        thread = self._threads.pop(slot)
        thread.stop(seconds)
        deadline = time.monotonic() + seconds + self._times.stuck
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
            if now - when < self._times.crashes_remembered
        ]
        self._crashes[slot] = [*recent, now]
        if len(recent) < _CRASHES_ALLOWED:
            self._start(slot, worker)
            return
        self._crashes.pop(slot)
        info = {**(worker.thread_info or {}), "error": thread.error}
        await self._source.give_up(slot.worker_id, info)
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

    async def _shut_down(self) -> None:
        threads = [
            *self._threads.values(),
            *(leaving.thread for leaving in self._leaving),
        ]
        grace = self._limits.stop_grace_seconds
        for thread in threads:
            thread.stop(grace)
        # They take no more jobs, so others may continue at once.
        with contextlib.suppress(StoreError, TimeoutError):
            async with asyncio.timeout(self._times.tick):
                await self._leases.release_all(self.pool_id)
        deadline = time.monotonic() + grace + self._times.stuck
        while threads and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
            threads = [thread for thread in threads if thread.alive]
        for thread in threads:
            log.error("worker_stuck", workerId=thread.worker_id)
        self._threads.clear()
        # A thread that is stuck may still write its answers to it.
        await asyncio.to_thread(self._parts.spool.close, keep=bool(threads))

    def _warn_if_full(self, *, full: bool) -> None:
        if full and not self._warned_full:
            log.warning(
                "no_thread_free",
                limit=self._limits.max_threads,
                advice="workers wait for a thread: raise NUM_LLM_WORKERS or "
                "start another process with `metasync worker`",
            )
        self._warned_full = full
