"""Why one PENDING job waits: computed when somebody asks."""

from datetime import timedelta

from api.core.errors import NotFoundError
from api.models.job_models import Job
from api.models.job_status import JobStatus
from api.models.job_waiting import WaitingFor, WaitingKind
from api.models.model_health_models import ProcessHealth
from api.models.worker_models import Worker, WorkerStatus, read_worker
from api.services.models.model_health import ModelHealthService
from api.services.models.model_service import ModelService
from api.services.queue.worker_leases import WorkerLeases
from api.services.shared.client_reference import index_of
from utilities.clock import Clock, now_ms, to_datetime
from utilities.cosmos_connector import Documents


class JobWaiting:
    """Looks at the workers and the model of one job."""

    def __init__(
        self,
        workers: Documents,
        leases: WorkerLeases,
        models: ModelService,
        health: ModelHealthService,
        clock: Clock = now_ms,
    ) -> None:
        self._workers = workers
        self._leases = leases
        self._models = models
        self._health = health
        self._clock = clock

    async def explain(self, job: Job) -> Job:
        """Return the job, with what it waits for if it is PENDING."""
        if job.status is not JobStatus.PENDING:
            return job
        waiting = await self._reason(job)
        return job.model_copy(update={"waiting_for": waiting})

    async def _reason(self, job: Job) -> WaitingFor:
        due = job.available_at
        if due is not None and due > to_datetime(self._clock()):
            return WaitingFor(kind=WaitingKind.NOT_DUE, until=due)
        found = await self._workers.find({"clientId": job.client_id})
        workers = [
            worker
            for worker in map(read_worker, found)
            if worker.status is not WorkerStatus.ERROR
        ]
        return (
            _of_workers(job, workers)
            or await self._of_model(job)
            or await self._of_threads(job, workers)
        )

    async def _of_model(self, job: Job) -> WaitingFor | None:
        try:
            model = await self._models.find(job.model)
        except NotFoundError:
            return None  # its worker will say so
        if (suspended := self._models.shown(model).suspended) is not None:
            return WaitingFor(
                kind=WaitingKind.SUSPENDED,
                until=suspended.retry_at,
                detail=suspended.message,
            )
        health = await self._health.of(model)
        if health.available:
            return None
        seconds = max(map(_seconds_left, health.processes), default=0.0)
        until = to_datetime(self._clock()) + timedelta(seconds=seconds)
        return WaitingFor(kind=WaitingKind.MODEL_UNAVAILABLE, until=until)

    async def _of_threads(self, job: Job, workers: list[Worker]) -> WaitingFor:
        ids = [w.worker_id for w in workers if _would_take(w, job)]
        has_thread = bool(await self._leases.of_workers(ids))
        kind = WaitingKind.ITS_TURN if has_thread else WaitingKind.NO_THREAD
        return WaitingFor(kind=kind)


def _of_workers(job: Job, workers: list[Worker]) -> WaitingFor | None:
    if not workers:
        return WaitingFor(kind=WaitingKind.NO_WORKER)
    fitting = [worker for worker in workers if _fits(worker, job)]
    if not fitting:
        return WaitingFor(kind=WaitingKind.FILTER_MISMATCH)
    if not any(_would_take(worker, job) for worker in fitting):
        return WaitingFor(kind=WaitingKind.WORKER_STOPPED)
    return None


def _would_take(worker: Worker, job: Job) -> bool:
    return worker.status is WorkerStatus.RUNNING and _fits(worker, job)


def _fits(worker: Worker, job: Job) -> bool:
    config = worker.config
    if config.model_filter not in (None, job.model):
        return False
    if config.operation_filter not in (None, job.operation):
        return False
    wanted = index_of(config.client_reference_filters).items()
    return wanted <= index_of(job.client_reference).items()


def _seconds_left(process: ProcessHealth) -> float:
    trial = process.circuit_breaker.next_trial_seconds or 0.0
    return max(trial, process.paused_seconds)
