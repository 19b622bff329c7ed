"""Workers: threads that run one client's jobs."""

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, JsonValue, model_validator

from api.models.base import ApiModel, Name, StoredModel

BATCH_LIMIT = 100


class WorkerStatus(StrEnum):
    """The state that is wanted; the pool brings the threads to it."""

    STOPPED = "stopped"
    RUNNING = "running"
    ERROR = "error"


class WorkerConfigInput(ApiModel):
    """A worker's settings; what is left out gets the server's default."""

    poll_interval: Annotated[
        int | None, Field(ge=1, le=3600, description="seconds")
    ] = None
    max_items_per_batch: Annotated[int | None, Field(ge=1, le=1000)] = None
    max_concurrency: Annotated[int | None, Field(ge=1, le=10_000)] = None
    model_filter: Name | None = None
    operation_filter: Name | None = None
    client_reference_filters: dict[Name, JsonValue] | None = None


class WorkerConfig(ApiModel):
    """A worker's settings, complete.

    `pollInterval` (s) is only the fall-back: a job that is submitted to
    this process starts at once.
    """

    poll_interval: int
    max_items_per_batch: int
    max_concurrency: int | None = None
    model_filter: str | None = None
    operation_filter: str | None = None
    client_reference_filters: dict[str, JsonValue] | None = None

    @property
    def concurrency(self) -> int:
        """How many jobs may run at once."""
        return self.max_concurrency or self.max_items_per_batch


class WorkerCreate(ApiModel):
    """`POST /workers`; `workerId` is the name the client gives it."""

    worker_id: Name
    config: WorkerConfigInput
    group: Name | None = None


class WorkerUpdate(ApiModel):
    """`PATCH /workers/{workerId}`; a running worker takes it up at once."""

    config: WorkerConfigInput | None = None
    group: Name | None = None


class Worker(StoredModel):
    """A worker; `workerId` is the document's id."""

    id_field: ClassVar[str] = "workerId"

    worker_id: str
    name: str
    client_id: str
    status: WorkerStatus
    config: WorkerConfig
    group: str | None = None
    thread_info: dict[str, Any] | None = None


class WorkerBatchCreate(ApiModel):
    """`POST /workers/batch`: workers named `{workerIdPrefix}-1` and on."""

    worker_id_prefix: Name
    count: Annotated[int, Field(ge=1, le=BATCH_LIMIT)]
    config: WorkerConfigInput
    group: Name | None = None


class WorkerFailure(ApiModel):
    """One worker of a batch that could not be served, and why."""

    worker_id: str
    error: str


class WorkerBatchCreated(ApiModel):
    """What came of `POST /workers/batch`."""

    created: list[Worker]
    failed: list[WorkerFailure]
    total_requested: Annotated[int, Field(alias="total_requested")]
    total_created: Annotated[int, Field(alias="total_created")]


class WorkerBatchUpdate(ApiModel):
    """`PATCH /workers/batch`: start or stop the named, or a whole group."""

    action: Literal["start", "stop"]
    worker_ids: list[str] | None = None
    group: Name | None = None

    @model_validator(mode="after")
    def _something_is_named(self) -> Self:
        if self.worker_ids is None and self.group is None:
            raise ValueError("workerIds or group is needed")
        return self


class WorkerBatchUpdated(ApiModel):
    """What came of `PATCH /workers/batch`."""

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
