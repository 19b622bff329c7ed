"""Brings batches from their input to their output, in every process."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import structlog

from api.models.batch_models import Batch
from api.services.batches.batch_store import (
    BATCHES_CHANGED,
    TAKEN_SECONDS,
    BatchStore,
)
from api.services.batches.file_service import FileService
from api.services.keeping.turns import Turns
from llm_workers.built_in.batch_steps import BatchSteps
from utilities.cosmos_connector import StoreError, current_actor
from utilities.signals import JOBS_ENDED, Signals
from utilities.tasks import Loop, cancel_until_ended

# Another process's batches, and those that nobody announced, are found by
# looking.
_EVERY_SECONDS = 1.0
_SOONEST_SECONDS = 0.1
# What has failed is tried again.
_AGAIN_SECONDS = 1.0
# Batches that are worked on at once, in all and of one client: those of one
# cannot keep the others waiting.
_AT_ONCE, _OF_CLIENT = 8, 2
_SWEPT_EVERY = 60.0
_SWEPT_AT_ONCE = 100

log = structlog.get_logger(__name__)


class BatchKeeper(Loop):
    """Takes the batches that no other process works on."""

    name = "batches"
    vital = False

    def __init__(
        self,
        store: BatchStore,
        files: FileService,
        steps: BatchSteps,
        turns: Turns,
        signals: Signals,
        process_id: str,
        swept_every: float = _SWEPT_EVERY,
    ) -> None:
        super().__init__()
        self._store = store
        self._files = files
        self._steps = steps
        self._turns = turns
        self._signals = signals
        self._process_id = process_id
        self._swept_every = swept_every
        self._tasks: dict[str, asyncio.Task[None]] = {}
        # How many of these are of a client.
        self._at_work: Counter[str] = Counter()
        # By batch: its status at the last look, and when to look again.
        self._seen: dict[str, tuple[str, float]] = {}
        self._complaints: dict[str, str] = {}
        self._next_sweep = 0.0

    async def run(self) -> None:
        """Work until stopped; what is under way is left as it is."""
        current_actor.set("worker")
        self.attach()
        listeners = {
            BATCHES_CHANGED: self.wake_safely,
            JOBS_ENDED: self._jobs_ended,
        }
        for topic, listener in listeners.items():
            self._signals.subscribe(topic, listener)
        try:
            while not self.stopping:
                await self._safely("", self._round)
                await self.pause(self._seconds_left())
                # News may come all the time.
                await self.rest(_SOONEST_SECONDS)
        finally:
            for topic, listener in listeners.items():
                self._signals.unsubscribe(topic, listener)
            await cancel_until_ended(self._tasks.values())

    def _jobs_ended(self) -> None:
        if self._seen:
            self.wake_safely()

    def _seconds_left(self) -> float:
        """Return when the next batch is to be looked at."""
        now = time.monotonic()
        left = [due - now for _, due in self._seen.values() if due > now]
        return min([*left, _EVERY_SECONDS])

    async def _round(self) -> None:
        batches = await self._store.open()
        ids = {each.batch_id for each in batches}
        self._seen = {k: v for k, v in self._seen.items() if k in ids}
        for gone in self._complaints.keys() - ids - {""}:
            del self._complaints[gone]
        now = time.monotonic()
        # Those that have waited for longest first.
        for batch in sorted(batches, key=self._due):
            status = self._seen.get(batch.batch_id, ("", 0.0))[0]
            is_due = now >= self._due(batch) or status != batch.status
            if is_due and self._has_room(batch):
                self._begin(batch)
        if now >= self._next_sweep:
            self._next_sweep = now + self._swept_every
            await self._sweep()

    def _due(self, batch: Batch) -> float:
        return self._seen.get(batch.batch_id, ("", 0.0))[1]

    def _has_room(self, batch: Batch) -> bool:
        """Tell whether a batch may be worked on beside the others."""
        if batch.batch_id in self._tasks or len(self._tasks) >= _AT_ONCE:
            return False
        return self._at_work[batch.client_id] < _OF_CLIENT

    def _begin(self, batch: Batch) -> None:
        task = asyncio.create_task(self._work(batch))
        self._tasks[batch.batch_id] = task
        self._at_work[batch.client_id] += 1
        self._seen[batch.batch_id] = batch.status, 0.0

        def ended(_: asyncio.Task[None]) -> None:
            del self._tasks[batch.batch_id]
            self._at_work[batch.client_id] -= 1
            self._at_work += Counter()
            self.wake()

        task.add_done_callback(ended)

    async def _work(self, batch: Batch) -> None:
        wait = _AGAIN_SECONDS

        async def advance() -> None:
            nonlocal wait
            taken = await self._store.take(batch, self._process_id)
            if taken is not None:
                wait = await self._advance(taken)

        await self._safely(batch.batch_id, advance)
        self._seen[batch.batch_id] = batch.status, time.monotonic() + wait

    async def _advance(self, batch: Batch) -> float:
        """Work on a batch for as long as no other process has it."""
        working = asyncio.ensure_future(self._steps.advance(batch))
        keeping = asyncio.ensure_future(self._keep(batch))
        tasks = (working, keeping)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return await working if working.done() else _AGAIN_SECONDS
        finally:
            await cancel_until_ended(tasks)

    async def _keep(self, batch: Batch) -> None:
        """Extend the lease; end when it is lost."""
        while True:
            await asyncio.sleep(TAKEN_SECONDS / 3)
            try:
                if not await self._store.keep(batch, self._process_id):
                    return
            except StoreError as error:
                log.info("batch_not_kept", error=type(error).__name__)

    async def _safely(
        self, what: str, action: Callable[[], Awaitable[None]]
    ) -> None:
        """Do something for `what`, a batch or all of them."""
        try:
            await action()
        except StoreError as error:
            log.warning("batches_wait", error=type(error).__name__)
        except Exception as error:
            # One batch must not keep the others from going on.
            log.exception("batch_defect", batchId=what)
            self._complaints[what] = f"unexpected {type(error).__name__}"
        else:
            self._complaints.pop(what, None)
        self.complaint = next(iter(self._complaints.values()), None)

    async def _sweep(self) -> None:
        """Remove files that were deleted or have expired."""
        if not await self._turns.take("batch_files", self._swept_every):
            return
        in_use = await self._store.files_in_use()
        for file_id in await self._files.removable(_SWEPT_AT_ONCE, in_use):
            await self._files.discard(file_id)
