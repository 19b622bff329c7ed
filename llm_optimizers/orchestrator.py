"""Advances runs: job after job, on the same queue as everything else.

Any number of processes may do this at once. A job is queued under a key
of its run, model, iteration and attempt, so it exists once; a run is
changed only if it is still as it was seen. So it is safe to die between
any two steps.
"""

import structlog

from api.core.errors import ConflictError, NotFoundError, RuleError
from api.models.job_models import Job
from api.models.run_models import Run, RunStatus
from api.services.jobs.job_service import JobService
from api.services.runs.run_service import RunService
from api.services.shared.caller import Caller
from llm_optimizers.steps import (
    Change,
    Submit,
    Wait,
    fail,
    next_step,
    submitted,
)
from utilities.cosmos_connector import StoreError, current_actor
from utilities.signals import RUNS_CHANGED, Signals
from utilities.tasks import Loop

# Only the fall-back: a job that ends in this process is seen at once.
_POLL_SECONDS = 2.0

log = structlog.get_logger(__name__)


class RunOrchestrator(Loop):
    """Brings every running run as far as it can go."""

    name = "runs"

    def __init__(
        self, runs: RunService, jobs: JobService, signals: Signals
    ) -> None:
        super().__init__()
        self._runs = runs
        self._jobs = jobs
        self._signals = signals

    async def run(self) -> None:
        """Advance runs until stopped."""
        current_actor.set("optimizer")
        self.attach()
        self._signals.subscribe(RUNS_CHANGED, self.wake_safely)
        try:
            while not self.stopping:
                await self._advance_all()
                await self.pause(_POLL_SECONDS)
        finally:
            self._signals.unsubscribe(RUNS_CHANGED, self.wake_safely)

    async def _advance_all(self) -> None:
        try:
            for run in await self._runs.running():
                await self._advance_safely(run)
        except StoreError as error:
            log.warning("runs_not_advanced", error=type(error).__name__)

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
