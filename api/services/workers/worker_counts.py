"""How many workers there are, by status and by client."""

from collections.abc import Collection, Iterable

from api.models.worker_models import (
    ClientWorkerCounts,
    Worker,
    WorkerCounts,
    WorkerOverview,
    WorkerStatus,
    WorkerSummary,
)


def summarized(workers: Iterable[Worker]) -> WorkerSummary:
    """Count workers and name them, by status."""
    ids: dict[WorkerStatus, list[str]] = {s: [] for s in WorkerStatus}
    for worker in workers:
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


def counted_by_client(
    workers: Iterable[Worker], enabled: Collection[str]
) -> WorkerOverview:
    """Count the workers of every client; of one not enabled, none runs."""
    counts: dict[str, dict[str, int]] = {}
    for worker in workers:
        status = worker.status
        if status is WorkerStatus.RUNNING and worker.client_id not in enabled:
            status = WorkerStatus.STOPPED
        row = counts.setdefault(worker.client_id, {})
        row[status] = row.get(status, 0) + 1
    clients = [
        ClientWorkerCounts(client_id=client_id, **row, total=sum(row.values()))
        for client_id, row in sorted(counts.items())
    ]
    totals = WorkerCounts(
        running=sum(client.running for client in clients),
        stopped=sum(client.stopped for client in clients),
        error=sum(client.error for client in clients),
        total=sum(client.total for client in clients),
    )
    return WorkerOverview(clients=clients, **totals.model_dump())
