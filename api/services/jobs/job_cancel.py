"""Cancel jobs, those that run included."""

from api.models.job_models import Job
from api.models.job_status import JobStatus, check_cancelable
from api.services.jobs import job_documents
from api.services.queue.cancellations import Cancellations
from api.services.shared.caller import Caller
from api.services.shared.endings import NO_ENDINGS, EndingKind, Endings
from api.services.shared.repository import Repository, object_id
from utilities.clock import Clock, now_ms
from utilities.cosmos_connector import Document
from utilities.signals import JOBS_ENDED, Signals, run_changed


class JobCancel:
    """Cancels a job, and has its call stopped."""

    def __init__(
        self,
        jobs: Repository[Job],
        cancellations: Cancellations,
        signals: Signals,
        clock: Clock = now_ms,
        *,
        endings: Endings = NO_ENDINGS,
    ) -> None:
        self._endings = endings
        self._jobs = jobs
        self._cancellations = cancellations
        self._signals = signals
        self._clock = clock

    async def cancel(self, job_id: str, caller: Caller) -> Job:
        """Cancel one that waits or runs; again does no harm.

        Raises:
            NotFoundError: there is none, or it is another client's.
            TransitionError: it has ended already.
        """
        job = await self._jobs.get(job_id, caller.own)
        stored_id = object_id(job_id, "Job")
        if job.status is not JobStatus.CANCELED:
            await self._endings.expect(
                EndingKind.JOB, [(job.client_id, stored_id)]
            )
            job = await self._jobs.change(
                job_id, caller.own, self._changes, repeatable=True
            )
        await self._cancellations.tell([stored_id])
        self._signals.publish(JOBS_ENDED)
        run_id = (job.client_reference or {}).get("runId")
        if isinstance(run_id, str):
            self._signals.publish(run_changed(run_id))
        return job

    def _changes(self, job: Job) -> Document:
        if job.status is JobStatus.CANCELED:
            return {}
        check_cancelable(job.status)
        return job_documents.canceled(job.status, self._clock())
