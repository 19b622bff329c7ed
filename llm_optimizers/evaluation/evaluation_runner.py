"""Brings evaluations to their ends, on the same queue as everything else.

Any number of processes may do this at once: jobs exist once, stored
results are final, and an evaluation ends once.
"""

import time
from collections.abc import Awaitable, Callable

import structlog

from api.core.errors import MetasyncError
from api.models.evaluation_models import Evaluation, EvaluationStatus
from api.services.evaluations.evaluation_service import EvaluationService
from api.services.jobs.answer_jobs import AnswerJobs
from llm_optimizers.evaluation.active import ActiveEvaluation
from llm_optimizers.evaluation.finish import Finisher
from utilities.cosmos_connector import StoreError, current_actor
from utilities.signals import EVALUATIONS_CHANGED, JOBS_ENDED, Signals
from utilities.tasks import Loop

# The fall-back for evaluations of other processes, and for jobs that end
# there: what happens in this one is seen at once.
_POLL_SECONDS, _IDLE_SECONDS = 1.0, 2.0
# Ends are gathered for this time; and questions about them take this share
# of the time, and no more.
_GATHER_SECONDS, _SHARE = 0.02, 4
_PROGRESS_SECONDS = 1.0

log = structlog.get_logger(__name__)


class EvaluationRunner(Loop):
    """Brings every running evaluation as far as it can go."""

    name = "evaluations"

    def __init__(
        self,
        evaluations: EvaluationService,
        begin: Callable[[Evaluation], Awaitable[ActiveEvaluation]],
        finisher: Finisher,
        jobs: AnswerJobs,
        signals: Signals,
    ) -> None:
        super().__init__()
        self._evaluations = evaluations
        self._begin = begin
        self._finisher = finisher
        self._jobs = jobs
        self._signals = signals
        self._active: dict[str, ActiveEvaluation] = {}
        self._listed_at = 0.0
        self._noted_at: dict[str, float] = {}
        self._is_listed = False

    async def run(self) -> None:
        """Advance evaluations until stopped."""
        current_actor.set("optimizer")
        self.attach()
        self._signals.subscribe(EVALUATIONS_CHANGED, self._hear_change)
        self._signals.subscribe(JOBS_ENDED, self._hear_end)
        try:
            while not self.stopping:
                await self._round_safely()
                is_idle = not self._active
                await self.pause(_IDLE_SECONDS if is_idle else _POLL_SECONDS)
        finally:
            self._signals.unsubscribe(EVALUATIONS_CHANGED, self._hear_change)
            self._signals.unsubscribe(JOBS_ENDED, self._hear_end)

    def _hear_change(self) -> None:
        self._is_listed = False
        self.wake_safely()

    def _hear_end(self) -> None:
        # Called on any thread.
        if self._active:
            self.wake_safely()

    async def _round_safely(self) -> None:
        try:
            await self._round()
        except StoreError as error:
            log.warning("evaluations_not_advanced", error=type(error).__name__)

    async def _round(self) -> None:
        """Look for new evaluations, and for jobs that have ended."""
        now = time.monotonic()
        if not self._is_listed or now - self._listed_at >= _POLL_SECONDS:
            self._is_listed, self._listed_at = True, now
            await self._list()
        if not self._active:
            return
        await self.rest(_GATHER_SECONDS)
        began = time.monotonic()
        open_jobs = {
            evaluation_id: active.open_jobs
            for evaluation_id, active in self._active.items()
        }
        every = sorted(set().union(*open_jobs.values()))
        ended = await self._jobs.ended(every)
        for evaluation_id, mine in open_jobs.items():
            if not ended.isdisjoint(mine):
                await self._advance_safely(evaluation_id)
        await self.rest((time.monotonic() - began) / _SHARE)

    async def _list(self) -> None:
        """Begin what is new, and leave what runs no more."""
        running = {
            each.evaluation_id: each
            for each in await self._evaluations.running()
        }
        for evaluation_id in self._active.keys() - running.keys():
            await self._leave(self._active[evaluation_id].evaluation)
        for evaluation_id, evaluation in running.items():
            if evaluation_id not in self._active:
                await self._begin_safely(evaluation)

    async def _leave(self, evaluation: Evaluation) -> None:
        """Stop the work on one that was cancelled, deleted or ended.

        Jobs that were queued in the same moment are cancelled, and scores
        of one that is deleted are removed.
        """
        evaluation_id = evaluation.evaluation_id
        self._forget(evaluation_id)
        await self._evaluations.leave(evaluation_id, evaluation.client_id)

    async def _begin_safely(self, evaluation: Evaluation) -> None:
        evaluation_id = evaluation.evaluation_id
        try:
            active = await self._begin(evaluation)
        except StoreError:
            raise
        except MetasyncError as error:
            await self._fail(evaluation, str(error))
        except Exception as error:  # noqa: BLE001 - noted there
            await self._fail_by_defect(evaluation, error)
        else:
            self._active[evaluation_id] = active
            log.info("evaluation_begun", evaluationId=evaluation_id)
            await self._advance_safely(evaluation_id)

    async def _advance_safely(self, evaluation_id: str) -> None:
        evaluation = self._active[evaluation_id].evaluation
        try:
            await self._advance(evaluation_id)
        except StoreError:
            # What it knows may be half of a step: it begins anew.
            self._forget(evaluation_id)
            raise
        except MetasyncError as error:
            await self._fail(evaluation, str(error))
        except Exception as error:  # noqa: BLE001 - noted there
            await self._fail_by_defect(evaluation, error)

    async def _advance(self, evaluation_id: str) -> None:
        active = self._active[evaluation_id]
        await active.advance()
        if active.is_done:
            await self._finisher.finish(active)
            self._forget(evaluation_id)
            log.info("evaluation_completed", evaluationId=evaluation_id)
            return
        now = time.monotonic()
        if now - self._noted_at.get(evaluation_id, 0.0) >= _PROGRESS_SECONDS:
            self._noted_at[evaluation_id] = now
            await self._evaluations.note_progress(
                evaluation_id, active.progress
            )

    async def _fail_by_defect(
        self, evaluation: Evaluation, error: Exception
    ) -> None:
        # One that cannot be advanced must not delay the others.
        log.error(
            "evaluation_defect",
            evaluationId=evaluation.evaluation_id,
            exc_info=error,
        )
        kind = type(error).__name__
        await self._fail(
            evaluation, f"Metasync failed on this evaluation: {kind}"
        )

    async def _fail(self, evaluation: Evaluation, reason: str) -> None:
        await self._evaluations.end(
            evaluation.evaluation_id,
            EvaluationStatus.FAILED,
            {"failureReason": reason},
        )
        # What it has queued would be paid for in vain.
        await self._leave(evaluation)
        log.info("evaluation_failed", evaluationId=evaluation.evaluation_id)

    def _forget(self, evaluation_id: str) -> None:
        self._active.pop(evaluation_id, None)
        self._noted_at.pop(evaluation_id, None)
