"""What the server keeps, as typed values.

Fields that a later version of the server adds are kept, and states are
texts: a client need not be as new as its server.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

GOING_ON = frozenset({"PENDING", "PROCESSING"})
# A job in one of these has its answer, whatever became of that.
ANSWERED = frozenset({"PROCESSED", "CONSUMED", "ERROR_CONSUMING"})
FAILED, CANCELED = "ERROR_PROCESSING", "CANCELED"


class Value(BaseModel):
    """camelCase on the wire, snake_case here, never changed."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        protected_namespaces=(),
        frozen=True,
        extra="allow",
    )


class Metadata(Value):
    """When something was made and changed, and by whom."""

    created_at: datetime
    updated_at: datetime
    created_by: str | None = None
    updated_by: str | None = None


class Stored(Value):
    """Something that the server keeps."""

    # Absent where only some fields were asked for.
    metadata: Metadata | None = Field(default=None, alias="_metadata")


class Metrics(Value):
    """Tokens, seconds and money of one or several calls."""

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    duration: float = 0.0
    input_cost: float | None = None
    output_cost: float | None = None
    total_cost: float | None = None
    currency: str | None = None


class WaitingFor(Value):
    """Why a job waits."""

    kind: str
    until: datetime | None = None
    detail: str | None = None


class AttemptRecord(Value):
    """A try of a job that gave no answer."""

    at: datetime
    attempt: int
    kind: str
    reason: str
    times: int = 1
    model: str | None = None


class Job(Stored):
    """One piece of work, and its answer once there is one."""

    job_id: str
    status: str = ""
    id: str | None = None
    operation: str = ""
    model: str = ""
    working_prompts: list[str] = Field(default_factory=list)
    temperature: float | None = None
    priority: int | None = None
    request_data: dict[str, Any] | None = None
    variables: dict[str, Any] | None = None
    messages: list[dict[str, Any]] | None = None
    client_reference: dict[str, Any] | None = None
    batch_key: str | None = None
    response_format: str = "json"
    response_data: Any = None
    error_data: dict[str, Any] | None = None
    eval_result: Any = None
    suggested_prompt_id: str | None = None
    answered_by: str | None = None
    processing_metrics: Metrics | None = None
    attempts: int = 0
    failures: int = 0
    attempt_history: list[AttemptRecord] | None = None
    waiting_for: WaitingFor | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the job neither waits nor runs."""
        return bool(self.status) and self.status not in GOING_ON

    @property
    def is_answered(self) -> bool:
        """Whether there is an answer."""
        return self.status in ANSWERED


class JobsEnded(Value):
    """Which of some jobs have ended."""

    jobs: list[Job]
    unknown: list[str]
    waiting: int


class JobSummary(Value):
    """How many jobs are in each status, and what they cost."""

    pending: int = Field(default=0, alias="PENDING")
    processing: int = Field(default=0, alias="PROCESSING")
    processed: int = Field(default=0, alias="PROCESSED")
    error_processing: int = Field(default=0, alias="ERROR_PROCESSING")
    consumed: int = Field(default=0, alias="CONSUMED")
    error_consuming: int = Field(default=0, alias="ERROR_CONSUMING")
    canceled: int = Field(default=0, alias="CANCELED")
    total: int = 0
    processing_metrics: Metrics = Field(default_factory=Metrics)

    @property
    def going_on(self) -> int:
        """How many wait or run."""
        return self.pending + self.processing


class BulkResult(Value):
    """How many jobs matched, and how many were changed."""

    matched: int
    changed: int


class Prompt(Stored):
    """A text, or a template, that jobs name."""

    prompt_id: str
    name: str
    version: int | str
    type: str
    status: str
    prompt: str
    client_id: str | None = None
    is_public: bool = False


class Model(Stored):
    """A model that jobs can name."""

    model_id: str = Field(alias="model_id")
    name: str
    sdk: str
    endpoint: str = ""
    deployment: str = ""
    max_token: int | None = None
    max_completion_token: int | None = None
    cost: Mapping[str, Any] | None = None
    limits: Mapping[str, Any] | None = None
    suspended: Mapping[str, Any] | None = None


class Route(Stored):
    """One name for several models."""

    route_id: str
    name: str
    strategy: str
    targets: list[dict[str, Any]] = Field(default_factory=list)


class Worker(Stored):
    """What takes a client's jobs and runs them."""

    worker_id: str
    name: str
    client_id: str
    status: str
    config: Mapping[str, Any]
    group: str | None = None

    def takes(self, model: str, operation: str) -> bool:
        """Tell whether it runs, and would take such a job."""
        return bool(
            self.status == "running"
            and self.config.get("modelFilter") in {None, model}
            and self.config.get("operationFilter") in {None, operation}
            and not self.config.get("clientReferenceFilters")
        )


class Run(Stored):
    """A search for a better prompt."""

    run_id: str
    status: str
    client_id: str
    initial_working_prompt_ids: list[str]
    working_models: list[str]
    max_iterations: int
    dataset_id: str | None = None
    strategy: str | None = None
    finish_reason: str | None = None
    failure_reason: str | None = None
    verdict: str | None = None
    best_prompt_ids: list[str] | None = None
    cost: float | None = None

    @property
    def has_ended(self) -> bool:
        """Whether it goes on no more by itself."""
        return self.status in {"COMPLETED", "FAILED", "CANCELLED"}


class RunCandidate(Stored):
    """A prompt that a run has tried."""

    candidate_id: str
    run_id: str
    number: int
    model: str
    prompt_ids: list[str]
    change: str
    validation_score: float | None = None
    accepted: bool = False


class Dataset(Stored):
    """Examples, by which prompts are measured."""

    dataset_id: str
    client_id: str
    name: str
    count: int
    expected_count: int = 0


class DatasetItem(Value):
    """One example."""

    id: str
    request_data: dict[str, Any]
    expected: Any = None


class Evaluation(Stored):
    """Prompts and models, measured on a dataset."""

    evaluation_id: str
    client_id: str
    status: str
    dataset_id: str
    prompt_ids: list[str]
    models: list[str]
    name: str | None = None
    results: list[dict[str, Any]] = Field(default_factory=list)
    comparisons: list[dict[str, Any]] = Field(default_factory=list)
    failure_reason: str | None = None
    processing_metrics: Metrics = Field(default_factory=Metrics)

    @property
    def has_ended(self) -> bool:
        """Whether it goes on no more."""
        return self.status != "RUNNING"


class EvaluationItem(Value):
    """How one example was answered."""

    item_id: str
    score: float
    error: str | None = None
    job_id: str | None = None
    expected_label: str | None = None
    label: str | None = None


class StreamMetrics(Value):
    """Tokens, seconds and money of a stream; None is not known."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    total_duration: float | None = None
    time_to_first_token: float | None = None
    total_cost: float | None = None
    currency: str | None = None


class Stream(Stored):
    """The record of a streamed answer."""

    stream_id: str
    client_id: str
    model: str
    status: str
    request_data: dict[str, Any] = Field(default_factory=dict)
    response_data: dict[str, Any] | None = None
    processing_metrics: StreamMetrics | None = None
    client_reference: dict[str, Any] | None = None


class StreamSummary(Value):
    """How many streams are in each status, and what they cost."""

    streaming: int = 0
    completed: int = 0
    error: int = 0
    total: int = 0
    processing_metrics: Metrics = Field(default_factory=Metrics)


class UsageSums(Value):
    """What a number of calls have used; costs by their currency."""

    requests: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    total_tokens: int = 0
    cost_by_currency: dict[str, float] | None = None
    unpriced_requests: int = 0


class UsageGroup(UsageSums):
    """The sums of calls that are alike in what was asked for."""

    day: str | None = None
    client_id: str | None = None
    model: str | None = None
    operation: str | None = None


class UsageReport(Value):
    """Sums of what was used, as a whole and in groups."""

    total: UsageSums
    groups: list[UsageGroup]


class Budget(Value):
    """A budget, and what is left of it."""

    amount: float
    currency: str = "USD"
    scope: str
    owner_id: str
    name: str
    spent: float
    reserved: float
    remaining: float
    resets_at: datetime | None = None


class Webhook(Stored):
    """An address that is told of ends; the secret only when it is new."""

    webhook_id: str
    url: str
    events: list[str]
    description: str = ""
    enabled: bool = True
    disabled_because: str | None = None
    secret: str | None = Field(default=None, repr=False)


class Delivery(Stored):
    """A message to a webhook."""

    delivery_id: str
    webhook_id: str
    event_id: str
    type: str
    status: str
    attempts: int
    payload: dict[str, Any]


class NewClient(Stored):
    """A client with its token, which is shown once."""

    client_id: str
    name: str
    enabled: bool = True
    token: str = Field(repr=False)
