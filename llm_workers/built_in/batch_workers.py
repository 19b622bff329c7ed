"""The built-in workers that are to run now."""

from api.models.worker_models import Worker
from api.services.batches.batch_store import BatchStore
from api.services.batches.batch_worker import batch_worker


class BatchWorkers:
    """One for each client with a batch in progress."""

    def __init__(self, store: BatchStore, concurrency: int) -> None:
        self._store = store
        self._concurrency = concurrency

    async def running(self) -> dict[str, Worker]:
        """Return them by their ids."""
        clients = await self._store.clients_at_work()
        workers = (batch_worker(each, self._concurrency) for each in clients)
        return {worker.worker_id: worker for worker in workers}
