"""Workers: the state that is wanted. The pool reconciles the threads."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from api.core.errors import MetasyncError, RuleError
from api.models.worker_models import (
    ClientWorkerCounts,
    Worker,
    WorkerBatchCreate,
    WorkerBatchCreated,
    WorkerBatchUpdate,
    WorkerBatchUpdated,
    WorkerConfigInput,
    WorkerCounts,
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
from api.services.shared.paging import Page, PageRequest, fetch_page
from api.services.shared.repository import Repository
from utilities import payload
from utilities.clock import Clock, now_ms, to_datetime
from utilities.cosmos_connector import Document, Documents
from utilities.signals import WORKERS_CHANGED, Signals

# Marks workers that were stopped because their client was disabled.
SUSPENDED = "suspended"


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
        clock: Clock = now_ms,
        clients: ClientStates | None = None,
    ) -> None:
        self._documents = documents
        self._clients = clients
        self._leases = leases
        self._workers = _Workers(documents, Worker, "Worker")
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
        return replace(found, items=await self._with_threads(found.items))

    async def get(self, worker_id: str, caller: Caller) -> Worker:
        """Return one.

        Raises:
            NotFoundError: there is none, or it is another client's.
        """
        worker = await self._workers.get(worker_id, caller.own)
        return (await self._with_threads([worker]))[0]

    async def update(
        self, worker_id: str, request: WorkerUpdate, caller: Caller
    ) -> Worker:
        """Change config or group; in the config, what is given only."""
        worker = await self.get(worker_id, caller)
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
        changed = await self._workers.change(worker_id, changes, caller.own)
        self._signals.publish(WORKERS_CHANGED)
        return changed

    async def delete(self, worker_id: str, caller: Caller) -> None:
        """Delete a worker that does not run."""
        worker = await self.get(worker_id, caller)
        if worker.status is WorkerStatus.RUNNING:
            raise RuleError(
                "A running worker cannot be deleted: stop it first with "
                f"POST /workers/{worker_id}/stop"
            )
        # One that is shown with an error may have any status.
        is_broken = worker.status is WorkerStatus.ERROR
        expected = {} if is_broken else {"status": worker.status}
        await self._workers.remove(worker_id, expected)

    async def start(self, worker_id: str, caller: Caller) -> Worker:
        """Want a worker running."""
        worker = await self.get(worker_id, caller)
        if worker.status is WorkerStatus.RUNNING:
            raise RuleError("The worker is already running")
        await self._require_enabled(worker.client_id)
        started = to_datetime(self._clock()).isoformat()
        return await self._want(
            worker, WorkerStatus.RUNNING, {"startedAt": started}
        )

    async def stop(self, worker_id: str, caller: Caller) -> Worker:
        """Want a worker stopped; its running calls get a grace time."""
        worker = await self.get(worker_id, caller)
        if worker.status is WorkerStatus.STOPPED:
            raise RuleError("The worker is already stopped")
        return await self._want(worker, WorkerStatus.STOPPED, None)

    async def stop_all_of(self, client_id: str) -> None:
        """Want every running worker of a client stopped for now.

        They are marked, so that `restart_all_of` finds them.
        """
        await self._documents.update_many(
            {"clientId": client_id, "status": WorkerStatus.RUNNING},
            {
                "status": WorkerStatus.STOPPED,
                "threadInfo": {"stoppedBecause": "the client was disabled"},
                SUSPENDED: True,
            },
        )
        # In any case: one that was started in this moment must not run.
        self._signals.publish(WORKERS_CHANGED)

    async def restart_all_of(self, client_id: str) -> None:
        """Want those running again that `stop_all_of` has stopped."""
        started = to_datetime(self._clock()).isoformat()
        await self._documents.update_many(
            {
                "clientId": client_id,
                "status": WorkerStatus.STOPPED,
                SUSPENDED: True,
            },
            {
                "status": WorkerStatus.RUNNING,
                "threadInfo": {"startedAt": started},
                SUSPENDED: False,
            },
        )
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
        documents = await self._documents.find(caller.own)
        workers = [read_worker(document) for document in documents]
        ids: dict[WorkerStatus, list[str]] = {s: [] for s in WorkerStatus}
        for worker in filter(wanted.matches, workers):
            ids[worker.status].append(worker.worker_id)
        running, stopped, error = (
            ids[WorkerStatus.RUNNING],
            ids[WorkerStatus.STOPPED],
            ids[WorkerStatus.ERROR],
        )
        return WorkerSummary(
            running=len(running),
            stopped=len(stopped),
            error=len(error),
            total=len(running) + len(stopped) + len(error),
            running_ids=running,
            stopped_ids=stopped,
            error_ids=error,
        )

    async def overview(self) -> WorkerOverview:
        """Count everybody's workers, in all and by client."""
        counts: dict[str, dict[str, int]] = {}
        for document in await self._documents.find(
            {}, fields=["clientId", "status"]
        ):
            row = counts.setdefault(str(document.get("clientId")), {})
            status = _status_of(document)
            row[status] = row.get(status, 0) + 1
        clients = [
            ClientWorkerCounts(
                client_id=client_id, **row, total=sum(row.values())
            )
            for client_id, row in sorted(counts.items())
        ]
        totals = WorkerCounts(
            running=sum(client.running for client in clients),
            stopped=sum(client.stopped for client in clients),
            error=sum(client.error for client in clients),
            total=sum(client.total for client in clients),
        )
        return WorkerOverview(clients=clients, **totals.model_dump())

    async def _want(
        self,
        worker: Worker,
        status: WorkerStatus,
        thread_info: dict[str, Any] | None,
    ) -> Worker:
        changed = await self._workers.change(
            worker.worker_id,
            {"status": status, "threadInfo": thread_info, SUSPENDED: False},
            {}
            if worker.status is WorkerStatus.ERROR
            else {"status": worker.status},
        )
        self._signals.publish(WORKERS_CHANGED)
        return changed

    async def _require_enabled(self, client_id: str) -> None:
        """Refuse a start that the supervisor would not carry out."""
        if self._clients is None:
            return
        if client_id not in await self._clients.enabled({client_id}):
            raise RuleError(
                "The worker's client is disabled or deleted: enable the "
                "client first"
            )

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
        if config.client_reference_filters is not None:
            fields["clientReferenceFilters"] = payload.dump(
                config.client_reference_filters
            )
        return fields

    async def _with_threads(self, workers: Sequence[Worker]) -> list[Worker]:
        running = [
            worker.worker_id
            for worker in workers
            if worker.status is WorkerStatus.RUNNING
        ]
        leases = await self._leases.of_workers(running) if running else []
        return [_showing(worker, leases) for worker in workers]


def _status_of(document: Document) -> WorkerStatus:
    try:
        return WorkerStatus(str(document.get("status")))
    except ValueError:
        return WorkerStatus.ERROR


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
