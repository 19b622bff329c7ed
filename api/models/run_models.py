"""Runs: metaprompting loops that improve a prompt, job by job."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import Field

from api.models.base import ApiModel, Name, StoredModel, example, is_unset
from api.models.budget_models import MaxCost
from api.models.dataset_models import SplitFractions
from api.models.job_fields import (
    ModelOrRoute,
    Priority,
    PromptId,
    PromptIds,
    RequestData,
    ResponseFormat,
    Temperature,
)
from api.models.metric_models import Metric
from api.models.metrics import ProcessingMetrics
from api.models.optimization_models import (
    DatasetRunCreate,
    ModelResult,
    RunProgress,
    RunScores,
    RunTest,
    StrategyName,
    Verdict,
)
from api.models.usage_models import SummedMetrics


class RunStatus(StrEnum):
    """The status of a run."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class FinishReason(StrEnum):
    """Why a run ended."""

    # Every working model has had all its iterations.
    MAX_ITERATIONS = "MAX_ITERATIONS"
    # `failureReason` says more.
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    # Of runs on a dataset: the search has ended, and its best was tested.
    TARGET_SCORE = "TARGET_SCORE"
    # `patience` rounds in a row found nothing better.
    PATIENCE = "PATIENCE"
    # There was no failure to learn from.
    NO_FAILURES = "NO_FAILURES"
    MAX_JOBS = "MAX_JOBS"
    MAX_TOKENS = "MAX_TOKENS"
    MAX_COST = "MAX_COST"


class RunCreate(ApiModel):
    """`POST /runs`."""

    model_config = example(
        initialWorkingPromptIds=["665f1c2ab7e4d90012345678"],
        evalPromptId="665f1c2ab7e4d90012345679",
        evalModel="gpt-4o-mini",
        metaPromptId="665f1c2ab7e4d9001234567a",
        metaModel="gpt-4o-mini",
        workingModels=["gpt-4o-mini"],
        maxIterations=5,
        requestData={"text": "I would buy it again at once."},
    )

    initial_working_prompt_ids: Annotated[
        PromptIds,
        Field(description="The prompts of each model's first iteration."),
    ]
    eval_prompt_id: PromptId
    eval_model: ModelOrRoute
    meta_prompt_id: PromptId
    meta_model: ModelOrRoute
    working_models: Annotated[
        list[Name],
        Field(
            min_length=1,
            max_length=100,
            fail_fast=True,
            description="The models for which the prompt is improved, one "
            "after the other.",
        ),
    ]
    max_iterations: Annotated[
        int, Field(ge=1, le=100, description="for each working model")
    ]
    temperature: Temperature = 0.7
    priority: Priority = 100
    request_data: Annotated[
        RequestData, Field(description="The same input for each iteration.")
    ]
    max_cost: Annotated[
        MaxCost | None,
        Field(description="The run fails before it costs more."),
    ] = None

    @classmethod
    def kind_of(cls, value: object) -> type[ApiModel]:
        """Tell what a request is by its fields: errors are only those."""
        on_dataset = isinstance(value, dict) and "datasetId" in value
        return DatasetRunCreate if on_dataset else cls


AnyRunCreate = RunCreate | DatasetRunCreate


class StepFailure(ApiModel):
    """Why the evaluation or the meta step of an iteration failed."""

    error_type: str
    error: str = ""


class RunIteration(ApiModel):
    """One job of a run and its outcome.

    `workingPromptId` is the prompt that was used: first one of the initial
    prompts, later the prompt that the previous iteration suggested.
    `evalResult` is that of the job: the evaluation, with `error` and
    `errorType` if a step failed. `evaluation` is only the evaluation.
    """

    iteration: int
    job_id: str
    working_prompt_id: str
    status: str
    eval_result: Any = None
    evaluation: Any = None
    eval_error: StepFailure | None = None
    meta_error: StepFailure | None = None
    suggested_prompt_id: str | None = None
    processing_metrics: ProcessingMetrics | None = None
    started_at: Annotated[
        datetime | None, Field(description="When its job was submitted.")
    ] = None
    finished_at: Annotated[
        datetime | None, Field(description="When its job ended.")
    ] = None


class ModelRun(ApiModel):
    """The iterations with one working model."""

    model: str
    iterations: list[RunIteration] = Field(default_factory=list)
    processing_metrics: ProcessingMetrics = ProcessingMetrics()


class Run(StoredModel):
    """A run and its progress.

    A run on a dataset has no `evalPromptId`, `evalModel` and `requestData`;
    its `modelRuns` have no iterations, but it has candidates.
    """

    id_field: ClassVar[str] = "runId"
    payload_fields: ClassVar[frozenset[str]] = frozenset(
        {
            "modelRuns",
            "requestData",
            "metric",
            "responseSchema",
            "baseline",
            "best",
            "test",
            "modelResults",
            "progress",
            "usage",
        }
    )

    run_id: str
    client_id: str
    status: RunStatus
    initial_working_prompt_ids: list[str]
    eval_prompt_id: str | None = None
    eval_model: str | None = None
    meta_prompt_id: str | None = None
    meta_model: str | None = None
    working_models: list[str]
    max_iterations: int
    temperature: float
    priority: int
    request_data: dict[str, Any] | None = None
    max_cost: Annotated[MaxCost | None, Field(exclude_if=is_unset)] = None
    current_model_index: Annotated[
        int, Field(description="Its position in workingModels.")
    ] = 0
    current_iteration: int = 0
    current_job_id: str | None = None
    failure_reason: str | None = None
    finish_reason: FinishReason | None = None
    model_runs: list[ModelRun]
    processing_metrics: ProcessingMetrics = ProcessingMetrics()
    # What follows, only runs on a dataset have.
    dataset_id: Annotated[str | None, Field(exclude_if=is_unset)] = None
    metric: Annotated[Metric | None, Field(exclude_if=is_unset)] = None
    strategy: Annotated[StrategyName | None, Field(exclude_if=is_unset)] = None
    max_jobs: Annotated[int | None, Field(exclude_if=is_unset)] = None
    max_tokens: Annotated[int | None, Field(exclude_if=is_unset)] = None
    target_score: Annotated[float | None, Field(exclude_if=is_unset)] = None
    patience: Annotated[int | None, Field(exclude_if=is_unset)] = None
    parallelism: Annotated[int | None, Field(exclude_if=is_unset)] = None
    seed: Annotated[int | None, Field(exclude_if=is_unset)] = None
    split: Annotated[SplitFractions | None, Field(exclude_if=is_unset)] = None
    cache: Annotated[bool | None, Field(exclude_if=is_unset)] = None
    response_format: Annotated[
        ResponseFormat | None, Field(exclude_if=is_unset)
    ] = None
    response_schema: Annotated[
        dict[str, Any] | None, Field(exclude_if=is_unset)
    ] = None
    baseline: Annotated[
        RunScores | None,
        Field(
            exclude_if=is_unset,
            description="The initial prompts, with the model of the best.",
        ),
    ] = None
    best: Annotated[RunScores | None, Field(exclude_if=is_unset)] = None
    best_prompt_ids: Annotated[
        list[str] | None, Field(exclude_if=is_unset)
    ] = None
    model_results: Annotated[
        list[ModelResult] | None, Field(exclude_if=is_unset)
    ] = None
    progress: Annotated[
        list[RunProgress] | None, Field(exclude_if=is_unset)
    ] = None
    verdict: Annotated[
        Verdict | None,
        Field(
            exclude_if=is_unset,
            description="Of a paired test on the test split, at a level of "
            "5 %.",
        ),
    ] = None
    test: Annotated[RunTest | None, Field(exclude_if=is_unset)] = None
    jobs_used: Annotated[
        int | None,
        Field(
            exclude_if=is_unset,
            description="Jobs that the run itself has caused.",
        ),
    ] = None
    tokens_used: Annotated[int | None, Field(exclude_if=is_unset)] = None
    cost: Annotated[
        float | None,
        Field(
            exclude_if=is_unset,
            description="What its jobs cost; null if that is not known, or "
            "in several currencies: see usage.",
        ),
    ] = None
    usage: Annotated[SummedMetrics | None, Field(exclude_if=is_unset)] = None
    cached_answers: Annotated[
        int | None,
        Field(
            exclude_if=is_unset,
            description="Answers that were there already, for nothing.",
        ),
    ] = None
    validation_looks: Annotated[
        int | None,
        Field(
            exclude_if=is_unset,
            description="How often a candidate was tried on validation: the "
            "more often, the more its score flatters the best.",
        ),
    ] = None
    candidate_count: Annotated[int | None, Field(exclude_if=is_unset)] = None
    refused_candidates: Annotated[
        int | None,
        Field(
            exclude_if=is_unset,
            description="Prompts that held copied training text.",
        ),
    ] = None
    warnings: Annotated[list[str] | None, Field(exclude_if=is_unset)] = None
    published: Annotated[bool | None, Field(exclude_if=is_unset)] = None
    # Counts the resumptions after a failure: each tries with a new job.
    attempt: Annotated[int, Field(exclude=True)] = 0
    # Counts the changes: a change is made only to what was seen.
    revision: Annotated[int, Field(exclude=True)] = 0
