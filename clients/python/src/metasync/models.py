"""What the server keeps beside jobs, as typed values."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import Field

from metasync.values import Metrics, Stored, Value


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


class PromptFlow(Stored):
    """Prompts that jobs name together, in order."""

    flow_id: str
    name: str
    prompt_ids: list[str]
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
