"""Wires what writes reports; no I/O happens here."""

import asyncio

from api.dependencies.services import Services
from api.services.runs.run_report import ReportPage
from api.services.shared.caller import Caller
from llm_optimizers.evaluation.build import build_evaluator
from llm_optimizers.report.best_answers import BestAnswers
from llm_optimizers.report.page import page_of
from llm_optimizers.report.reader import ReportReader
from llm_optimizers.run_material import MaterialReader
from llm_optimizers.run_prompts import RunPrompts


class PageWriter:
    """Writes the reports of runs as pages."""

    def __init__(self, reader: ReportReader) -> None:
        self._reader = reader

    async def page(self, run_id: str, caller: Caller) -> ReportPage:
        """Write the report of a run; see `RunReports`.

        Raises:
            NotFoundError: there is no such run, or it is another client's.
        """
        report = await self._reader.read(run_id, caller)
        # Differences of long texts take a while.
        return await asyncio.to_thread(page_of, report)


def build_run_reports(services: Services) -> PageWriter:
    """Make what writes the reports of runs."""
    stores = services.runs.on_datasets
    materials = MaterialReader(stores.datasets, RunPrompts(services.prompts))
    reader = ReportReader(
        services.runs,
        stores.waves,
        services.prompts,
        BestAnswers(materials, build_evaluator(services)),
    )
    return PageWriter(reader)
