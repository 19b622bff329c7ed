"""The built-in worker of a client: it runs the lines of its batches.

It has no document. The pool runs one for each client with a batch in
progress, as it runs any other worker: with a lease, in turn with others.
"""

from datetime import UTC, datetime

from api.models.base import Metadata
from api.models.batch_models import BATCH_LINE
from api.models.worker_models import Worker, WorkerConfig, WorkerStatus

CONCURRENCY = 200
_PREFIX = "batches-"
_LONG_AGO = datetime.fromtimestamp(0, UTC)


def batch_worker(client_id: str, concurrency: int = CONCURRENCY) -> Worker:
    """Give the worker of a client."""
    return Worker(
        worker_id=f"{_PREFIX}{client_id}",
        name="batches",
        client_id=client_id,
        status=WorkerStatus.RUNNING,
        config=WorkerConfig(
            poll_interval=1,
            max_items_per_batch=concurrency,
            max_concurrency=concurrency,
            operation_filter=BATCH_LINE,
        ),
        metadata=Metadata(created_at=_LONG_AGO, updated_at=_LONG_AGO),
    )


def is_built_in(worker_id: str) -> bool:
    """Tell whether a worker has no document."""
    return worker_id.startswith(_PREFIX)
