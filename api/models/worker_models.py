"""Workers: threads that run one client's jobs."""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    JsonValue,
    model_validator,
)

from api.models import reference
from api.models.base import (
    ApiModel,
    Metadata,
    Name,
    StoredModel,
    Text,
    example,
)
from utilities import payload

BATCH_LIMIT = 100
# Workers that one request may start or stop by their ids.
NAMED_LIMIT = 1000
REPLICA_LIMIT = 100


class WorkerStatus(StrEnum):
    """The wanted state; the pools start and stop threads accordingly."""

    STOPPED = "stopped"
    RUNNING = "running"
    ERROR = "error"


def _storable(filters: dict[str, JsonValue]) -> dict[str, JsonValue]:
    # Kept as JSON text; PayloadError is a ValueError.
    payload.dump(filters)
    return reference.check(filters)


def _from_text(filters: object) -> object:
    return payload.load(filters) if isinstance(filters, str) else filters


ReferenceFilters = Annotated[dict[Name, JsonValue], AfterValidator(_storable)]
# In a document it is JSON text: a name that a client chose must mean nothing
# to a database or its driver. Documents of before hold the object itself.
StoredFilters = Annotated[dict[str, JsonValue], BeforeValidator(_from_text)]


class WorkerConfigInput(ApiModel):
    """A worker's settings; missing fields get the server's default."""

    poll_interval: Annotated[
        int | None, Field(ge=1, le=3600, description="seconds")
    ] = None
    max_items_per_batch: Annotated[
        int | None, Field(ge=1, le=1000, description="jobs claimed at once")
    ] = None
    max_concurrency: Annotated[
        int | None,
        Field(
            ge=1,
            le=10_000,
            description="Jobs that run at once; default: maxItemsPerBatch.",
        ),
    ] = None
    replicas: Annotated[
        int | None,
        Field(
            ge=1,
            le=REPLICA_LIMIT,
            description="Threads that run this worker, distributed over the "
            "processes; each with its own maxConcurrency. Default: 1.",
        ),
    ] = None
    model_filter: Annotated[
        Name | None, Field(description="Takes only jobs of this model.")
    ] = None
    operation_filter: Annotated[
        Name | None, Field(description="Takes only jobs of this operation.")
    ] = None
    client_reference_filters: Annotated[
        ReferenceFilters | None,
        Field(
            description="Takes only jobs whose clientReference has each of "
            "these fields with exactly this value."
        ),
    ] = None


class WorkerConfig(ApiModel):
    """All settings of a worker.

    `pollInterval` (s) is only for jobs of other processes: a job that is
    submitted to the same process starts at once.
    """

    poll_interval: int
    max_items_per_batch: int
    max_concurrency: int | None = None
    replicas: int = 1
    model_filter: str | None = None
    operation_filter: str | None = None
    client_reference_filters: StoredFilters | None = None

    @property
    def concurrency(self) -> int:
        """How many jobs one of its threads may run at once."""
        return self.max_concurrency or self.max_items_per_batch


Group = Annotated[
    Name,
    Field(description="A name for starting and stopping workers together."),
]


class WorkerCreate(ApiModel):
    """`POST /workers`; `workerId` is a name chosen by the client."""

    model_config = example(
        workerId="night shift",
        config={"pollInterval": 10, "maxItemsPerBatch": 50},
        group="nightly",
    )

    worker_id: Name
    config: WorkerConfigInput
    group: Group | None = None


class WorkerUpdate(ApiModel):
    """`PATCH /workers/{workerId}`; a running worker uses it at once."""

    model_config = example(config={"operationFilter": "sentiment"})

    config: WorkerConfigInput | None = None
    group: Group | None = None


class Worker(StoredModel):
    """A worker; `workerId` is the document's id."""

    id_field: ClassVar[str] = "workerId"

    worker_id: str
    name: Annotated[
        str,
        Field(description="The `workerId` of the request that created it."),
    ]
    client_id: str
    status: WorkerStatus
    config: WorkerConfig
    group: str | None = None
    thread_info: Annotated[
        dict[str, Any] | None,
        Field(
            description="For a running worker: `startedAt`, and in `threads` "
            "each running `replica` with its `pool` (process) and `since`. "
            "`error` says why a worker cannot run, `stoppedBecause` why one "
            "that is to run does not: its client is disabled."
        ),
    ] = None


_UNREADABLE = "The stored worker cannot be read; make a new one"
_LONG_AGO = datetime.fromtimestamp(0, UTC)


def read_worker(document: Mapping[str, Any]) -> Worker:
    """Read a stored worker; a broken one is shown with status `error`."""
    try:
        return Worker.from_document(document)
    except ValueError:
        return _broken(document)


def _broken(document: Mapping[str, Any]) -> Worker:
    group = document.get("group")
    try:
        metadata = Metadata.model_validate(document.get("_metadata"))
    except ValueError:
        metadata = Metadata(created_at=_LONG_AGO, updated_at=_LONG_AGO)
    return Worker(
        worker_id=str(document.get("_id")),
        name=str(document.get("name")),
        client_id=str(document.get("clientId")),
        status=WorkerStatus.ERROR,
        config=WorkerConfig(poll_interval=10, max_items_per_batch=1),
        group=group if isinstance(group, str) else None,
        thread_info={"error": _UNREADABLE},
        metadata=metadata,
    )


class WorkerBatchCreate(ApiModel):
    """`POST /workers/batch`: workers named `{workerIdPrefix}-1`, `-2` ..."""

    model_config = example(
        workerIdPrefix="night",
        count=3,
        config={"pollInterval": 10, "maxItemsPerBatch": 50},
        group="nightly",
    )

    # The longest number must still fit into a name.
    worker_id_prefix: Annotated[Text, Field(min_length=1, max_length=252)]
    count: Annotated[int, Field(ge=1, le=BATCH_LIMIT)]
    config: WorkerConfigInput
    group: Group | None = None


class WorkerFailure(ApiModel):
    """A worker of a batch for which the action failed, and why."""

    worker_id: str
    error: str


class WorkerBatchCreated(ApiModel):
    """The answer to `POST /workers/batch`."""

    created: list[Worker]
    failed: list[WorkerFailure]
    total_requested: Annotated[int, Field(alias="total_requested")]
    total_created: Annotated[int, Field(alias="total_created")]


class WorkerBatchUpdate(ApiModel):
    """`PATCH /workers/batch`: start or stop workers by ids or by group."""

    model_config = example(action="start", group="nightly")

    action: Literal["start", "stop"]
    worker_ids: Annotated[
        Annotated[list[Text], Field(max_length=NAMED_LIMIT, fail_fast=True)]
        | None,
        Field(description="Used instead of `group` if both are sent."),
    ] = None
    group: Group | None = None

    @model_validator(mode="after")
    def _something_is_named(self) -> Self:
        if self.worker_ids is None and self.group is None:
            raise ValueError("workerIds or group is needed")
        return self


class WorkerBatchUpdated(ApiModel):
    """The answer to `PATCH /workers/batch`."""

    updated: list[Worker]
    failed: list[WorkerFailure]
    action: str
    total_requested: Annotated[int, Field(alias="total_requested")]
    total_updated: Annotated[int, Field(alias="total_updated")]


class WorkerSummary(ApiModel):
    """Counts and ids by status."""

    running: int
    stopped: int
    error: int
    total: int
    running_ids: Annotated[list[str], Field(alias="running_ids")]
    stopped_ids: Annotated[list[str], Field(alias="stopped_ids")]
    error_ids: Annotated[list[str], Field(alias="error_ids")]


class WorkerCounts(ApiModel):
    """Counts by status."""

    running: int = 0
    stopped: int = 0
    error: int = 0
    total: int = 0


class ClientWorkerCounts(WorkerCounts):
    """One client's workers, counted."""

    client_id: str


class WorkerOverview(WorkerCounts):
    """`GET /workers/overview`: every client's workers, counted."""

    clients: list[ClientWorkerCounts]
