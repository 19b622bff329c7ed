"""Workers: the state that is wanted. The pool reconciles the threads."""

from collections.abc import (
    Awaitable,
    Callable,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field, replace
from typing import Any

from api.core.errors import MetasyncError, RuleError
from api.models.worker_models import (
    Worker,
    WorkerBatchCreate,
    WorkerBatchCreated,
    WorkerBatchUpdate,
    WorkerBatchUpdated,
    WorkerConfigInput,
    WorkerCreate,
    WorkerFailure,
    WorkerOverview,
    WorkerStatus,
    WorkerSummary,
    WorkerUpdate,
    read_worker,
)
from api.services.queue.worker_leases import WorkerLease, WorkerLeases
from api.services.shared.caller import Caller
from api.services.shared.client_reference import index_of
from api.services.shared.client_states import ClientStates
from api.services.shared.paging import (
    Page,
    PageRequest,
    fetch_page,
    fields_of,
)
from api.services.shared.repository import Repository
from api.services.workers.worker_counts import (
    counted_by_client,
    summarized,
)
from utilities import payload
from utilities.clock import Clock, now_ms, to_datetime
from utilities.cosmos_connector import Document, Documents
from utilities.signals import WORKERS_CHANGED, Signals


@dataclass(frozen=True, slots=True)
class WorkerDefaults:
    """What a worker's config gets where the client says nothing."""

    poll_interval: int
    max_items_per_batch: int


@dataclass(frozen=True, slots=True)
class WorkerFilter:
    """What the summary can be narrowed to, by the workers' own filters."""

    model: str | None = None
    operation: str | None = None
    reference: Mapping[str, str] = field(default_factory=dict)

    def matches(self, worker: Worker) -> bool:
        """Tell whether a worker has these filters."""
        config = worker.config
        if self.model not in (None, config.model_filter):
            return False
        if self.operation not in (None, config.operation_filter):
            return False
        wanted = index_of(self.reference).items()
        return wanted <= index_of(config.client_reference_filters).items()


class _Workers(Repository[Worker]):
    """Workers; one that cannot be read is one with an error."""

    def read(self, document: Document) -> Worker:
        """Turn a document into its typed value."""
        return read_worker(document)


class WorkerService:
    """Rules and ownership of workers."""

    def __init__(
        self,
        documents: Documents,
        leases: WorkerLeases,
        signals: Signals,
        defaults: WorkerDefaults,
        clients: ClientStates,
        clock: Clock = now_ms,
    ) -> None:
        self._documents = documents
        self._clients = clients
        self._leases = leases
        # The supervisor sets the status of a worker that keeps crashing.
        self._workers = _Workers(
            documents, Worker, "Worker", guarded=("status",)
        )
        self._signals = signals
        self._defaults = defaults
        self._clock = clock

    async def create(self, request: WorkerCreate, caller: Caller) -> Worker:
        """Store a stopped worker."""
        return await self._workers.add(
            {
                "name": request.worker_id,
                "clientId": caller.require_client(),
                "status": WorkerStatus.STOPPED,
                "config": self._complete(request.config),
                "group": request.group,
                "threadInfo": None,
            }
        )

    async def create_batch(
        self, request: WorkerBatchCreate, caller: Caller
    ) -> WorkerBatchCreated:
        """Store `count` stopped workers with numbered names."""
        created = [
            await self.create(
                WorkerCreate(
                    worker_id=f"{request.worker_id_prefix}-{number}",
                    config=request.config,
                    group=request.group,
                ),
                caller,
            )
            for number in range(1, request.count + 1)
        ]
        return WorkerBatchCreated(
            created=created,
            failed=[],
            total_requested=request.count,
            total_created=len(created),
        )

    async def page(self, caller: Caller, page: PageRequest) -> Page[Worker]:
        """List the caller's workers."""
        found = await fetch_page(
            self._documents, caller.own, page, read_worker
        )
        return replace(found, items=await self._shown(found.items, caller))

    async def get(self, worker_id: str, caller: Caller) -> Worker:
        """Return one.

        Raises:
            NotFoundError: there is none, or it is another client's.
        """
        worker = await self._workers.get(worker_id, caller.own)
        return (await self._shown([worker], caller))[0]

    async def update(
        self, worker_id: str, request: WorkerUpdate, caller: Caller
    ) -> Worker:
        """Change config or group; in the config, what is given only."""
        changed = await self._workers.change(
            worker_id,
            caller.own,
            lambda worker: self._changes(worker, request),
        )
        self._signals.publish(WORKERS_CHANGED)
        return (await self._shown([changed], caller))[0]

    async def delete(self, worker_id: str, caller: Caller) -> None:
        """Delete a worker that does not run.

        Raises:
            RuleError: it runs. A worker of a disabled client never does.
        """
        worker = await self._workers.get(worker_id, caller.own)
        enabled = await self._clients.enabled({worker.client_id})
        await self._workers.remove(
            worker_id, caller.own, check=_refuse_running if enabled else None
        )

    async def start(self, worker_id: str, caller: Caller) -> Worker:
        """Want a worker running.

        Raises:
            RuleError: it runs already, or its client is disabled.
        """
        worker = await self._workers.get(worker_id, caller.own)
        if not await self._clients.enabled({worker.client_id}):
            raise RuleError(
                "The client of this worker is disabled or deleted: its "
                "workers cannot be started"
            )
        started = to_datetime(self._clock()).isoformat()
        return await self._want(
            worker_id, caller, WorkerStatus.RUNNING, {"startedAt": started}
        )

    async def stop(self, worker_id: str, caller: Caller) -> Worker:
        """Want a worker stopped; its running calls get a grace time.

        Raises:
            RuleError: it is stopped already.
        """
        return await self._want(worker_id, caller, WorkerStatus.STOPPED, None)

    def client_changed(self) -> None:
        """Tell the supervisor that a client was enabled or disabled."""
        self._signals.publish(WORKERS_CHANGED)

    async def stop_all_of(self, client_id: str) -> None:
        """Want every running worker of a client stopped."""
        stopped = await self._documents.update_many(
            {"clientId": client_id, "status": WorkerStatus.RUNNING},
            {"status": WorkerStatus.STOPPED, "threadInfo": None},
        )
        if stopped:
            self._signals.publish(WORKERS_CHANGED)

    async def update_batch(
        self, request: WorkerBatchUpdate, caller: Caller
    ) -> WorkerBatchUpdated:
        """Start or stop each worker on its own; failures are listed."""
        action = self.start if request.action == "start" else self.stop
        ids = await self._named(request, caller)
        updated, failed = await _each(ids, lambda one: action(one, caller))
        return WorkerBatchUpdated(
            updated=updated,
            failed=failed,
            action=request.action,
            total_requested=len(ids),
            total_updated=len(updated),
        )

    async def summary(
        self, caller: Caller, wanted: WorkerFilter
    ) -> WorkerSummary:
        """Count the caller's workers and name them, by status."""
        documents = await self._documents.find(
            caller.own, fields=fields_of(Worker)
        )
        workers = await self._as_clients_are(
            [read_worker(document) for document in documents], caller
        )
        return summarized(filter(wanted.matches, workers))

    async def overview(self) -> WorkerOverview:
        """Count all workers, in total and by client."""
        found = await self._documents.find({}, fields=fields_of(Worker))
        workers = [read_worker(document) for document in found]
        enabled = await self._clients.enabled(
            {worker.client_id for worker in workers}
        )
        return counted_by_client(workers, enabled)

    async def _want(
        self,
        worker_id: str,
        caller: Caller,
        status: WorkerStatus,
        thread_info: dict[str, Any] | None,
    ) -> Worker:
        def decide(worker: Worker) -> Document:
            if worker.status is status:
                raise RuleError(f"The worker is already {status}")
            return {"status": status, "threadInfo": thread_info}

        changed = await self._workers.change(worker_id, caller.own, decide)
        self._signals.publish(WORKERS_CHANGED)
        return changed

    def _changes(self, worker: Worker, request: WorkerUpdate) -> Document:
        """Give the fields that a change of a worker sets."""
        changes: Document = {}
        if request.config is not None:
            given = request.config.model_dump(
                by_alias=True, exclude_unset=True
            )
            config = worker.config.model_dump(by_alias=True) | given
            merged = WorkerConfigInput.model_validate(config)
            changes["config"] = self._complete(merged)
        if "group" in request.model_fields_set:
            changes["group"] = request.group
        return changes

    async def _named(
        self, request: WorkerBatchUpdate, caller: Caller
    ) -> Sequence[str]:
        if request.worker_ids is not None:
            return request.worker_ids
        found = await self._documents.find(
            {**caller.own, "group": request.group}, fields=["_id"]
        )
        return [str(document["_id"]) for document in found]

    def _complete(self, config: WorkerConfigInput) -> Document:
        fields = config.model_dump(by_alias=True)
        fields["pollInterval"] = (
            config.poll_interval or self._defaults.poll_interval
        )
        fields["maxItemsPerBatch"] = (
            config.max_items_per_batch or self._defaults.max_items_per_batch
        )
        fields["replicas"] = config.replicas or 1
        filters = config.client_reference_filters
        if filters is not None:
            # As text, whatever names a client chose: see `StoredFilters`.
            fields["clientReferenceFilters"] = payload.dump(filters)
        return fields

    async def _shown(
        self, workers: Sequence[Worker], caller: Caller
    ) -> list[Worker]:
        """Show workers as they are: with their threads, if they may run."""
        shown = await self._as_clients_are(workers, caller)
        running = [
            worker.worker_id
            for worker in shown
            if worker.status is WorkerStatus.RUNNING
        ]
        leases = await self._leases.of_workers(running) if running else []
        return [_showing(worker, leases) for worker in shown]

    async def _as_clients_are(
        self, workers: Sequence[Worker], caller: Caller
    ) -> Sequence[Worker]:
        """Show the workers of disabled clients as stopped, as they are.

        Their documents keep what is wanted, for when the client is enabled
        again. A client that asks itself is enabled.
        """
        running = {
            worker.client_id
            for worker in workers
            if worker.status is WorkerStatus.RUNNING
        }
        if not (caller.is_admin and running):
            return workers
        enabled = await self._clients.enabled(running)
        return [
            worker
            if worker.status is not WorkerStatus.RUNNING
            or worker.client_id in enabled
            else worker.model_copy(update=_SHUT_OUT)
            for worker in workers
        ]


# How a worker is shown that would run if its client were enabled.
_SHUT_OUT: Mapping[str, Any] = {
    "status": WorkerStatus.STOPPED,
    "thread_info": {"stoppedBecause": "Its client is disabled or deleted"},
}


def _refuse_running(worker: Worker) -> None:
    if worker.status is WorkerStatus.RUNNING:
        raise RuleError(
            "A running worker cannot be deleted: stop it first with "
            f"POST /workers/{worker.worker_id}/stop"
        )


def _showing(worker: Worker, leases: Sequence[WorkerLease]) -> Worker:
    threads = [
        {
            "replica": lease.slot.replica,
            "pool": lease.pool,
            "since": to_datetime(lease.since).isoformat(),
        }
        for lease in leases
        if lease.slot.worker_id == worker.worker_id
    ]
    if not threads:
        return worker
    info = {**(worker.thread_info or {}), "threads": threads}
    return worker.model_copy(update={"thread_info": info})


async def _each(
    ids: Sequence[str], action: Callable[[str], Awaitable[Worker]]
) -> tuple[list[Worker], list[WorkerFailure]]:
    updated, failed = [], []
    for worker_id in ids:
        try:
            updated.append(await action(worker_id))
        except MetasyncError as error:
            failed.append(WorkerFailure(worker_id=worker_id, error=str(error)))
    return updated, failed
