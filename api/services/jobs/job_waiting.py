"""Why PENDING jobs wait: computed when somebody asks."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta

from api.models.batch_models import BATCH_LINE
from api.models.job_models import Job
from api.models.job_status import JobStatus
from api.models.job_waiting import WaitingFor, WaitingKind
from api.models.suspension_models import Suspended
from api.models.worker_models import Worker, WorkerStatus, read_worker
from api.services.batches.batch_worker import batch_worker
from api.services.calls.routing.route_book import NO_ROUTES, RouteBook
from api.services.models.model_health import ModelHealthService
from api.services.models.model_service import ModelService
from api.services.queue.worker_leases import WorkerLeases
from api.services.shared.client_reference import index_of
from utilities.clock import Clock, now_ms, to_datetime, to_ms
from utilities.cosmos_connector import Documents
from utilities.slices import in_slices

# What the queue notes on a job that was not admitted.
_NOTED = {
    kind.value.lower(): kind
    for kind in (
        WaitingKind.LIMIT,
        WaitingKind.BUDGET,
        WaitingKind.SUSPENDED,
        WaitingKind.ANSWER,
    )
}


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the reasons of many jobs follow from.

    `waits` are the seconds until models that are paused are tried, and
    `suspended` the states of suspended ones, both by what jobs call them;
    `with_thread` are the ids of workers that have one.
    """

    now: datetime
    workers: Mapping[str, Sequence[Worker]]
    waits: Mapping[str, float]
    suspended: Mapping[str, Suspended]
    with_thread: AbstractSet[str]


class JobWaiting:
    """Looks at workers and models, once for all jobs of a list."""

    def __init__(
        self,
        workers: Documents,
        leases: WorkerLeases,
        models: ModelService,
        health: ModelHealthService,
        clock: Clock = now_ms,
        routes: RouteBook = NO_ROUTES,
    ) -> None:
        self._workers = workers
        self._leases = leases
        self._models = models
        self._health = health
        self._clock = clock
        self._routes = routes

    async def explain(self, job: Job) -> Job:
        """Return the job, with what it waits for if it is PENDING."""
        (explained,) = await self.explain_all([job])
        return explained

    async def explain_all(self, jobs: Sequence[Job]) -> list[Job]:
        """Return the jobs, each with what it waits for if it is PENDING."""
        pending = [job for job in jobs if job.status is JobStatus.PENDING]
        if not pending:
            return list(jobs)
        seen = await self._look(pending)

        def explained(job: Job) -> Job:
            if job.status is not JobStatus.PENDING:
                return job
            return job.model_copy(update={"waiting_for": _reason(job, seen)})

        return await in_slices(explained, jobs)

    async def _look(self, jobs: Sequence[Job]) -> _Seen:
        now = to_datetime(self._clock())
        all_deferred = all(_is_deferred(job, now) for job in jobs)
        if all_deferred and not any(map(_is_of_suspended, jobs)):
            return _Seen(now, {}, {}, {}, frozenset())
        ids = await self._models_of({job.model for job in jobs})
        if all_deferred:
            return _Seen(now, {}, {}, self._suspended(ids), frozenset())
        workers = await self._workers_of({job.client_id for job in jobs})
        for client_id in {
            job.client_id for job in jobs if job.operation == BATCH_LINE
        }:
            # It has no document.
            workers.setdefault(client_id, []).append(batch_worker(client_id))
        waits = await self._health.waits(
            {e for of in ids.values() for e in of}
        )
        leases = await self._leases.of_workers(
            [each.worker_id for some in workers.values() for each in some]
        )
        return _Seen(
            now,
            workers,
            self._waits(ids, waits),
            self._suspended(ids),
            {lease.slot.worker_id for lease in leases},
        )

    async def _models_of(
        self, names: AbstractSet[str]
    ) -> dict[str, Sequence[str]]:
        """Return the ids of the models that jobs can go to, by name."""
        routes = {name: self._routes.find(name) for name in names}
        found: dict[str, Sequence[str]] = {
            name: [each.model_id for each in route.targets]
            for name, route in routes.items()
            if route is not None
        }
        if plain := names - found.keys():
            ids = await self._models.ids(plain)
            found |= {name: [model_id] for name, model_id in ids.items()}
        return found

    def _suspended(
        self, ids: Mapping[str, Sequence[str]]
    ) -> dict[str, Suspended]:
        """Return the states of names all of whose models are suspended.

        Of several, the one that is tried first.
        """
        found: dict[str, Suspended] = {}
        for name, models in ids.items():
            states = [self._models.suspended(each) for each in models]
            known = [each for each in states if each is not None]
            if known and len(known) == len(states):
                found[name] = min(known, key=lambda each: each.retry_at)
        return found

    def _waits(
        self,
        ids: Mapping[str, Sequence[str]],
        waits: Mapping[str, float],
    ) -> dict[str, float]:
        """Return when names can be tried of which no model is open (s)."""
        now = self._clock()
        found: dict[str, float] = {}
        for name, models in ids.items():
            left = [self._wait(each, waits, now) for each in models]
            known = [each for each in left if each is not None]
            if known and len(known) == len(left):
                found[name] = min(known)
        return found

    def _wait(
        self, model_id: str, waits: Mapping[str, float], now: int
    ) -> float | None:
        suspended = self._models.suspended(model_id)
        if suspended is not None:
            return max(to_ms(suspended.retry_at) - now, 0) / 1000
        return waits.get(model_id)

    async def _workers_of(
        self, client_ids: AbstractSet[str]
    ) -> dict[str, list[Worker]]:
        found = await self._workers.find(
            {"clientId": {"$in": sorted(client_ids)}}
        )
        workers: dict[str, list[Worker]] = {}
        for worker in map(read_worker, found):
            if worker.status is not WorkerStatus.ERROR:
                workers.setdefault(worker.client_id, []).append(worker)
        return workers


def _is_deferred(job: Job, now: datetime) -> bool:
    return job.available_at is not None and job.available_at > now


def _is_of_suspended(job: Job) -> bool:
    return _noted(job) is WaitingKind.SUSPENDED


def _noted(job: Job) -> WaitingKind:
    return _NOTED.get(job.waits_for or "", WaitingKind.NOT_DUE)


def _reason(job: Job, seen: _Seen) -> WaitingFor:
    suspended = seen.suspended.get(job.model)
    if _is_deferred(job, seen.now):
        why = (
            suspended.message if suspended and _is_of_suspended(job) else None
        )
        return WaitingFor(kind=_noted(job), until=job.available_at, detail=why)
    workers = seen.workers.get(job.client_id, [])
    fitting = [worker for worker in workers if _fits(worker, job)]
    running = {
        worker.worker_id
        for worker in fitting
        if worker.status is WorkerStatus.RUNNING
    }
    if not running:
        return WaitingFor(kind=_without_worker(workers, fitting))
    if suspended is not None:
        return WaitingFor(
            kind=WaitingKind.SUSPENDED,
            until=suspended.retry_at,
            detail=suspended.message,
        )
    if (wait := seen.waits.get(job.model)) is not None:
        until = seen.now + timedelta(seconds=wait)
        return WaitingFor(kind=WaitingKind.MODEL_UNAVAILABLE, until=until)
    has_thread = not running.isdisjoint(seen.with_thread)
    kind = WaitingKind.ITS_TURN if has_thread else WaitingKind.NO_THREAD
    return WaitingFor(kind=kind)


def _without_worker(
    workers: Sequence[Worker], fitting: Sequence[Worker]
) -> WaitingKind:
    if not workers:
        return WaitingKind.NO_WORKER
    if not fitting:
        return WaitingKind.FILTER_MISMATCH
    return WaitingKind.WORKER_STOPPED


def _fits(worker: Worker, job: Job) -> bool:
    config = worker.config
    if config.model_filter not in (None, job.model):
        return False
    if config.operation_filter not in (None, job.operation):
        return False
    wanted = config.client_reference_filters
    if not wanted:
        return True
    found = index_of(job.client_reference).items()
    return index_of(wanted).items() <= found
