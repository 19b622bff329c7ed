"""Advances runs: job after job, on the same queue as everything else.

Any number of processes may do this at once. A job is queued under a key
of its run, model, iteration and attempt, so it exists once; a run is
changed only if it is still as it was seen. So it is safe to die between
any two steps.
"""

import asyncio
import contextlib

import structlog

from api.core.errors import ConflictError, NotFoundError, RuleError
from api.models.job_models import Job
from api.models.run_models import Run
from api.services.caller import Caller
from api.services.job_service import JobService
from api.services.run_service import RunService
from llm_optimizers.run_steps import (
    Change,
    Submit,
    Wait,
    fail,
    next_step,
    submitted,
)
from utilities.cosmos_connector import StoreError, current_actor
from utilities.signals import RUNS_CHANGED, Signals

# Only the fall-back: a job that ends in this process is seen at once.
_POLL_SECONDS = 2.0

log = structlog.get_logger(__name__)


class RunOrchestrator:
    """Brings every running run as far as it can go."""

    def __init__(
        self, runs: RunService, jobs: JobService, signals: Signals
    ) -> None:
        self._runs = runs
        self._jobs = jobs
        self._signals = signals
        self._changed = asyncio.Event()
        self._stopping = False

    async def run(self) -> None:
        """Advance runs until told to stop."""
        current_actor.set("optimizer")
        loop = asyncio.get_running_loop()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._changed.set)

        self._signals.subscribe(RUNS_CHANGED, wake)
        try:
            while not self._stopping:
                await self._advance_all()
                await self._wait()
        finally:
            self._signals.unsubscribe(RUNS_CHANGED, wake)

    def stop(self) -> None:
        """Have `run` end; called in its event loop."""
        self._stopping = True
        self._changed.set()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(_POLL_SECONDS):
                await self._changed.wait()
        except TimeoutError:
            return
        self._changed.clear()

    async def _advance_all(self) -> None:
        try:
            for run in await self._runs.running():
                await self._advance_safely(run)
        except StoreError as error:
            log.warning("runs_not_advanced", error=type(error).__name__)

    async def _advance_safely(self, run: Run) -> None:
        try:
            await self._advance(run)
        except StoreError:
            raise
        except Exception:
            # A run that cannot be advanced must not hold up the others.
            log.exception("run_defect", runId=run.run_id)

    async def _advance(self, run: Run) -> None:
        structlog.contextvars.bind_contextvars(runId=run.run_id)
        try:
            step = next_step(run, await self._job_of(run))
            if isinstance(step, Submit):
                step = await self._submit(run, step)
            if isinstance(step, Wait):
                return
            if await self._runs.advance(run, step.fields):
                log.info("run_advanced", status=step.fields.get("status"))
                # There may be a next step already.
                self._changed.set()
        finally:
            structlog.contextvars.unbind_contextvars("runId")

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
            return fail(run, f"{error}. Mend that, then resume the run.")
        return submitted(run, job)
