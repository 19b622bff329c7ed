"""The end of an evaluation: its results are summed up and stored."""

import asyncio

from api.models.evaluation_models import (
    EvaluationComparison,
    EvaluationResult,
    EvaluationStatus,
)
from api.models.metrics import ProcessingMetrics
from api.services.evaluations.evaluation_service import EvaluationService
from api.services.evaluations.result_store import ResultStore
from api.services.jobs.job_filter import JobFilter
from api.services.jobs.job_service import JobService
from api.services.shared.caller import Caller
from llm_optimizers.evaluation.active import ActiveEvaluation
from llm_optimizers.evaluation.summary import CellSummary, comparisons
from utilities import payload


class Finisher:
    """Sums evaluations up."""

    def __init__(
        self,
        evaluations: EvaluationService,
        results: ResultStore,
        jobs: JobService,
    ) -> None:
        self._evaluations = evaluations
        self._results = results
        self._jobs = jobs

    async def finish(self, active: ActiveEvaluation) -> None:
        """Store the results of an evaluation, which is then COMPLETED."""
        evaluation = active.evaluation
        summaries = [CellSummary(cell) for cell in evaluation.cells]
        for number, summary in enumerate(summaries):
            async for some in self._results.results(evaluation, number):
                summary.add(some)
        found, compared = await asyncio.to_thread(
            _sum_up, summaries, evaluation.seed
        )
        evaluation_id = evaluation.evaluation_id
        used = await self._jobs.summary(
            Caller(evaluation.client_id), JobFilter(batch_key=evaluation_id)
        )
        metrics = ProcessingMetrics.model_validate(
            used.processing_metrics.model_dump(by_alias=True)
        )
        await self._evaluations.end(
            evaluation_id,
            EvaluationStatus.COMPLETED,
            {
                "results": payload.dump(
                    [each.model_dump(by_alias=True) for each in found]
                ),
                "comparisons": payload.dump(
                    [each.model_dump(by_alias=True) for each in compared]
                ),
                "progress": active.progress.model_dump(by_alias=True),
                "jobsUsed": used.total,
                "processingMetrics": metrics.model_dump(by_alias=True),
            },
        )


def _sum_up(
    summaries: list[CellSummary], seed: int
) -> tuple[list[EvaluationResult], list[EvaluationComparison]]:
    results = [summary.result(seed) for summary in summaries]
    return results, comparisons(summaries, seed)
