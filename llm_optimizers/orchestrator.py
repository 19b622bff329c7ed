"""Advances runs: job after job, on the same queue as everything else.

Any number of processes may do this at once. A job is queued under a key
of its run, model, iteration and attempt, so it exists once; a run is
changed only if it is still as it was seen. So it is safe to die between
any two steps.
"""

import time
from collections.abc import Callable
from functools import partial

import structlog

from api.core.errors import ConflictError, NotFoundError, RuleError
from api.models.job_models import Job
from api.models.run_models import Run, RunStatus
from api.services.jobs.job_service import JobService
from api.services.runs.run_service import RunService
from api.services.shared.caller import Caller
from llm_optimizers.dataset_runs import DatasetRuns
from llm_optimizers.steps import (
    Change,
    Submit,
    Wait,
    fail,
    next_step,
    submitted,
)
from utilities.cosmos_connector import StoreError, current_actor
from utilities.signals import RUNS_CHANGED, Signals, run_changed
from utilities.tasks import Loop

# Only the fall-back: a job that ends in this process is seen at once.
_POLL_SECONDS = 2.0
_GATHER_SECONDS = 0.01

log = structlog.get_logger(__name__)


class RunOrchestrator(Loop):
    """Brings every running run as far as it can go.

    The end of a job costs a look at its own run; all running runs are
    looked at when a run begins or is resumed, and every few seconds.
    """

    name = "runs"

    def __init__(
        self,
        runs: RunService,
        jobs: JobService,
        signals: Signals,
        dataset_runs: DatasetRuns | None = None,
        poll_seconds: float = _POLL_SECONDS,
    ) -> None:
        super().__init__()
        self._runs = runs
        self._jobs = jobs
        self._signals = signals
        self._dataset_runs = dataset_runs
        self._poll_seconds = poll_seconds
        self._all_due = True
        self._due: set[str] = set()
        # The runs whose jobs are listened to, with how that is ended.
        self._known: dict[str, Callable[[], None]] = {}

    async def run(self) -> None:
        """Advance runs until stopped."""
        current_actor.set("optimizer")
        self.attach()
        self._signals.subscribe(RUNS_CHANGED, self._all_changed)
        try:
            while not self.stopping:
                await self._advance_due()
                await self._wait()
        finally:
            self._signals.unsubscribe(RUNS_CHANGED, self._all_changed)
            for run_id in list(self._known):
                self._forget(run_id)

    async def _wait(self) -> None:
        began = time.monotonic()
        await self.pause(self._poll_seconds)
        # Only the fall-back: see above.
        if time.monotonic() - began >= self._poll_seconds:
            self._all_due = True

    def _all_changed(self) -> None:
        # From any thread; a flag needs no lock.
        self._all_due = True
        self.wake_safely()

    def _one_changed(self, run_id: str) -> None:
        # From any thread; adding to a set needs no lock.
        self._due.add(run_id)
        self.wake_safely()

    async def _advance_due(self) -> None:
        try:
            if self._all_due:
                self._all_due = False
                await self._advance_all()
            if self._due:
                # Jobs end in groups: one look is enough for all of them.
                await self.rest(_GATHER_SECONDS)
            while self._due and not self.stopping:
                await self._advance_one(self._due.pop())
        except StoreError as error:
            self._all_due = True
            log.warning("runs_not_advanced", error=type(error).__name__)

    async def _advance_all(self) -> None:
        running = await self._runs.running()
        ids = {run.run_id for run in running}
        for run_id in [each for each in self._known if each not in ids]:
            await self._leave(run_id)
        for run in running:
            self._listen(run.run_id)
            self._due.discard(run.run_id)
            await self._advance_safely(run)

    async def _advance_one(self, run_id: str) -> None:
        run = await self._runs.running_one(run_id)
        if run is not None:
            await self._advance_safely(run)
        else:
            await self._leave(run_id)

    async def _leave(self, run_id: str) -> None:
        """Stop the work on a run that was paused, cancelled or has ended."""
        self._forget(run_id)
        # Jobs that were queued in the same moment are cancelled.
        await self._runs.cancel_left(run_id)

    def _listen(self, run_id: str) -> None:
        if run_id in self._known:
            return
        listener = partial(self._one_changed, run_id)
        topic = run_changed(run_id)
        self._signals.subscribe(topic, listener)
        self._known[run_id] = partial(
            self._signals.unsubscribe, topic, listener
        )

    def _forget(self, run_id: str) -> None:
        if (unsubscribe := self._known.pop(run_id, None)) is not None:
            unsubscribe()
        if self._dataset_runs is not None:
            self._dataset_runs.forget(run_id)

    async def _advance_safely(self, run: Run) -> None:
        structlog.contextvars.bind_contextvars(runId=run.run_id)
        try:
            await self._advance(run)
        except StoreError:
            raise
        except Exception as error:
            # A run that cannot be advanced must not delay the others.
            log.exception("run_defect")
            reason = f"Metasync failed on this run: {type(error).__name__}."
            await self._runs.advance(run, fail(run, reason).fields)
        finally:
            structlog.contextvars.unbind_contextvars("runId")

    async def _advance(self, run: Run) -> None:
        """Bring one run as far as it can go."""
        if run.dataset_id is not None:
            if self._dataset_runs is not None:
                await self._dataset_runs.advance(run)
            return
        current: Run | None = run
        while current is not None and current.status is RunStatus.RUNNING:
            step = next_step(current, await self._job_of(current))
            if isinstance(step, Submit):
                step = await self._submit(current, step)
            if isinstance(step, Wait):
                return
            # None: somebody else has changed it, and looks after it.
            current = await self._runs.advance(current, step.fields)
            if current is not None:
                log.info("run_advanced", status=current.status)

    async def _job_of(self, run: Run) -> Job | None:
        if run.current_job_id is None:
            return None
        try:
            return await self._jobs.get(
                run.current_job_id, Caller(run.client_id)
            )
        except NotFoundError:
            return None

    async def _submit(self, run: Run, step: Submit) -> Change:
        try:
            job = await self._jobs.create(
                step.request, Caller(run.client_id), step.key
            )
        except (RuleError, ConflictError) as error:
            # A prompt or model is gone, or the job was deleted.
            return fail(run, f"{error}. Correct that, then resume the run.")
        return submitted(run, job)
