"""Wires what evaluates; no I/O happens here."""

from api.dependencies.services import Services
from api.models.evaluation_models import Evaluation
from api.shared import Shared
from llm_optimizers.evaluation.active import ActiveEvaluation
from llm_optimizers.evaluation.evaluation_runner import EvaluationRunner
from llm_optimizers.evaluation.evaluator import Evaluator
from llm_optimizers.evaluation.finish import Finisher


def build_evaluator(services: Services) -> Evaluator:
    """Make what scores prompts and models on items."""
    return Evaluator(services.answer_jobs, services.models, services.prompts)


def build_evaluation_runner(
    shared: Shared, services: Services
) -> EvaluationRunner:
    """Make what brings evaluations to their ends."""
    results = services.evaluation_results
    evaluator = build_evaluator(services)

    async def begin(evaluation: Evaluation) -> ActiveEvaluation:
        return await ActiveEvaluation.begin(
            evaluation, services.datasets, results, evaluator
        )

    return EvaluationRunner(
        services.evaluations,
        begin,
        Finisher(services.evaluations, results, services.jobs),
        services.answer_jobs,
        shared.signals,
    )
