"""The jobs of a run: what they have used, and the end of those that wait."""

from dataclasses import dataclass

from api.models.job_status import JobStatus
from api.models.usage_models import SummedMetrics
from api.services.shared import usage
from api.services.shared.endings import NO_ENDINGS, Endings
from utilities.cosmos_connector import Document, Documents


@dataclass(frozen=True, slots=True)
class RunUsage:
    """How many jobs a run has caused, and what those have used."""

    jobs: int
    metrics: SummedMetrics


class RunJobs:
    """Jobs that carry the run's id as their `batchKey`."""

    def __init__(
        self, documents: Documents, endings: Endings = NO_ENDINGS
    ) -> None:
        self._documents = documents
        self._endings = endings

    async def usage(self, run_id: str, client_id: str) -> RunUsage:
        """Count a run's jobs and sum what they have used."""
        where = _of_run(run_id, client_id)
        counts, metrics = await usage.summarize(
            self._documents, where, tuple(JobStatus)
        )
        return RunUsage(sum(counts.values()), metrics)

    async def cancel_waiting(self, run_id: str, client_id: str) -> int:
        """Cancel those that wait; what runs or has run was paid for."""
        where = {**_of_run(run_id, client_id), "status": JobStatus.PENDING}
        await self._endings.expect_jobs_in(self._documents, where)
        changes = {"status": JobStatus.CANCELED, "leaseToken": None}
        return await self._documents.update_many(where, changes)


def _of_run(run_id: str, client_id: str) -> Document:
    return {"clientId": client_id, "batchKey": {"$eq": run_id}}
