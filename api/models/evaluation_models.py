"""Evaluations: prompts and models, measured on a dataset."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from api.models.base import ApiModel, Name, StoredModel, example, is_unset
from api.models.dataset_models import SplitFractions, SplitName
from api.models.job_fields import (
    ModelName,
    Priority,
    PromptId,
    ResponseFormat,
    ResponseSchema,
    Temperature,
    check_answer_form,
)
from api.models.metric_models import AnyMetric, Metric, WeightedMetrics
from api.models.metrics import ProcessingMetrics

MOST_CELLS = 50
PARALLELISM = 500

Seed = Annotated[int, Field(ge=0, lt=2**31)]
Parallelism = Annotated[
    int,
    Field(ge=1, le=10_000, description="Its jobs that wait or run at once."),
]
Interval = tuple[float, float]


class ItemsAs(StrEnum):
    """How an item reaches the model."""

    REQUEST_DATA = "requestData"
    VARIABLES = "variables"


class EvaluationStatus(StrEnum):
    """The status of an evaluation."""

    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class EvaluationCreate(ApiModel):
    """`POST /evaluations`: every prompt with every model."""

    model_config = example(
        datasetId="665f1c2ab7e4d9001234567b",
        split="all",
        promptIds=["665f1c2ab7e4d90012345678"],
        models=["gpt-4o-mini"],
        metric={"type": "exact"},
    )

    name: Name | None = None
    dataset_id: Name
    split: Annotated[
        SplitName, Field(description="The items that are used.")
    ] = SplitName.ALL
    seed: Annotated[
        Seed, Field(description="Of the split, and of the intervals.")
    ] = 0
    fractions: SplitFractions = SplitFractions()
    prompt_ids: Annotated[
        list[PromptId],
        Field(min_length=1, max_length=MOST_CELLS, fail_fast=True),
    ]
    models: Annotated[
        list[ModelName],
        Field(min_length=1, max_length=MOST_CELLS, fail_fast=True),
    ]
    metric: Metric
    temperature: Temperature = 0.0
    response_format: ResponseFormat = ResponseFormat.JSON
    response_schema: ResponseSchema | None = None
    items_as: Annotated[
        ItemsAs,
        Field(
            description="`requestData`: as JSON, the user message. "
            "`variables`: its values fill the prompt, which is a template."
        ),
    ] = ItemsAs.REQUEST_DATA
    priority: Priority = 100
    parallelism: Parallelism = PARALLELISM
    cache: Annotated[
        bool,
        Field(
            description="Use answers that the client's earlier evaluations "
            "and runs have had to the same question."
        ),
    ] = True

    @model_validator(mode="after")
    def _names_each_once(self) -> Self:
        for name in ("prompt_ids", "models"):
            given = getattr(self, name)
            if len(set(given)) < len(given):
                raise ValueError("promptIds and models must name each once")
        if len(self.prompt_ids) * len(self.models) > MOST_CELLS:
            raise ValueError(
                f"at most {MOST_CELLS} pairs of a prompt and a model"
            )
        return self

    @model_validator(mode="after")
    def _schema_is_for_json(self) -> Self:
        check_answer_form(self.response_format, self.response_schema)
        return self


class EvaluationProgressView(ApiModel):
    """How far an evaluation is; an item counts once for each pair."""

    total: int = 0
    done: int = 0
    errors: int = 0


class ClassResult(ApiModel):
    """How well one label is found; null where there is nothing to count."""

    label: str
    count: Annotated[int, Field(description="Items that expect it.")]
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None


class Confusion(ApiModel):
    """Items by expected label (rows) and answered label (columns).

    The last column, `(other)`, has answers with no known label and errors.
    """

    rows: list[str]
    columns: list[str]
    counts: list[list[int]]


class Latency(ApiModel):
    """Seconds of an item's answer, whoever has caused it."""

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float


class EvaluationResult(ApiModel):
    """One prompt with one model."""

    prompt_id: str
    model: str
    score: Annotated[float, Field(description="The mean; errors score 0.")] = (
        0.0
    )
    interval: Annotated[Interval, Field(description="95 %, of the mean.")] = (
        0.0,
        1.0,
    )
    count: int = 0
    errors: int = 0
    error_types: dict[str, int] = Field(default_factory=dict)
    cached_answers: Annotated[
        int, Field(description="Answers that were already there.")
    ] = 0
    processing_metrics: Annotated[
        ProcessingMetrics,
        Field(description="Of the answers, also where they are cached."),
    ] = ProcessingMetrics()
    judge_metrics: Annotated[
        ProcessingMetrics | None, Field(exclude_if=is_unset)
    ] = None
    latency: Latency | None = None
    classes: list[ClassResult] | None = None
    confusion: Confusion | None = None


class Cell(ApiModel):
    """A prompt with a model."""

    prompt_id: str
    model: str


class EvaluationComparison(ApiModel):
    """A paired test of two results: `second` against `first`."""

    first: Cell
    second: Cell
    difference: float
    interval: Interval
    p_value: float
    adjusted_p_value: Annotated[
        float,
        Field(description="By Holm's method, for all comparisons together."),
    ]
    verdict: Annotated[
        str,
        Field(
            description="`improved`, `no difference` or `worse`, by the "
            "adjusted p-value at 0.05."
        ),
    ]


class ItemResult(ApiModel):
    """The score of one item, with one prompt and one model."""

    item_id: str
    score: float
    error: str | None = None
    detail: Annotated[
        str | None,
        Field(description="Why the score is not 1, or the error's message."),
    ] = None
    job_id: str | None = None
    cached: bool = False
    expected_label: str | None = None
    label: str | None = None


class Evaluation(StoredModel):
    """An evaluation, its progress and its results."""

    id_field: ClassVar[str] = "evaluationId"
    payload_fields: ClassVar[frozenset[str]] = frozenset(
        {"metric", "responseSchema", "results", "comparisons"}
    )

    evaluation_id: str
    client_id: str
    status: EvaluationStatus
    name: str | None = None
    dataset_id: str
    split: SplitName
    seed: int = 0
    fractions: SplitFractions = SplitFractions()
    prompt_ids: list[str]
    models: list[str]
    metric: AnyMetric | WeightedMetrics
    temperature: float = 0.0
    response_format: ResponseFormat = ResponseFormat.JSON
    response_schema: dict[str, object] | None = None
    priority: int = 100
    parallelism: int = PARALLELISM
    cache: bool = True
    items_as: ItemsAs = ItemsAs.REQUEST_DATA
    progress: EvaluationProgressView = EvaluationProgressView()
    results: list[EvaluationResult] = Field(default_factory=list)
    comparisons: list[EvaluationComparison] = Field(default_factory=list)
    jobs_used: Annotated[
        int | None, Field(description="The jobs that it has queued itself.")
    ] = None
    processing_metrics: Annotated[
        ProcessingMetrics, Field(description="Of the jobs that it has queued.")
    ] = ProcessingMetrics()
    failure_reason: str | None = None
    finished_at: datetime | None = None
    # Counts the changes: a change is made only to what was seen.
    revision: Annotated[int, Field(exclude=True)] = 0

    @property
    def cells(self) -> Sequence[Cell]:
        """The pairs, in the order of the results."""
        return [
            Cell(prompt_id=prompt_id, model=model)
            for prompt_id in self.prompt_ids
            for model in self.models
        ]
