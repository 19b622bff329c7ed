"""Wires what advances runs; no I/O happens here."""

from api.dependencies.services import Services
from api.shared import Shared
from llm_optimizers.ask_jobs import AskMaker
from llm_optimizers.call_bounds import CallBounds
from llm_optimizers.dataset_runs import DatasetRuns
from llm_optimizers.evaluation.build import build_evaluator
from llm_optimizers.orchestrator import RunOrchestrator
from llm_optimizers.run_material import MaterialReader
from llm_optimizers.run_prompts import RunPrompts
from llm_optimizers.wave_work import WaveMaker


def build_dataset_runs(services: Services) -> DatasetRuns:
    """Make what advances runs on datasets."""
    prompts = RunPrompts(services.prompts)
    asks = AskMaker(services.answer_jobs, services.models, prompts)
    stores = services.runs.on_datasets
    return DatasetRuns(
        services.runs,
        stores.waves,
        stores.jobs,
        MaterialReader(stores.datasets, prompts),
        WaveMaker(build_evaluator(services), asks, prompts),
        CallBounds(services.models),
    )


def build_run_orchestrator(
    shared: Shared, services: Services
) -> RunOrchestrator:
    """Make what advances all runs."""
    return RunOrchestrator(
        services.runs,
        services.jobs,
        shared.signals,
        build_dataset_runs(services),
    )
