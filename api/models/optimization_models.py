"""Runs on a dataset: what is asked for, and what they have found."""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from api.models.base import ApiModel, Name, StoredModel, example, is_unset
from api.models.budget_models import MaxCost
from api.models.dataset_models import SplitFractions
from api.models.job_fields import (
    ModelName,
    Priority,
    PromptId,
    PromptIds,
    ResponseFormat,
    ResponseSchema,
    Temperature,
    check_answer_form,
)
from api.models.metric_models import Metric
from api.models.metrics import ProcessingMetrics

Score = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Verdict = Literal["improved", "no difference", "worse"]


class StrategyName(StrEnum):
    """How better prompts are looked for."""

    # One suggestion after the other.
    METAPROMPT = "metaprompt"
    # Worked examples behind the instruction.
    FEWSHOT = "fewshot"
    # Many proposals at once, each made of some failures.
    REFLECTIVE = "reflective"
    # The others in turns: one hands over when it finds nothing better.
    AUTO = "auto"


class DatasetRunCreate(ApiModel):
    """`POST /runs` with a dataset: prompts are measured on its items."""

    model_config = example(
        datasetId="665f1c2ab7e4d9001234567b",
        metric={"type": "exact"},
        strategy="reflective",
        initialWorkingPromptIds=["665f1c2ab7e4d90012345678"],
        workingModels=["gpt-4o-mini"],
        metaModel="gpt-4o",
        maxJobs=2000,
        seed=1,
    )

    dataset_id: Name
    metric: Annotated[
        Metric, Field(description="How an answer is scored, from 0 to 1.")
    ]
    strategy: StrategyName = StrategyName.METAPROMPT
    initial_working_prompt_ids: Annotated[
        PromptIds, Field(description="The prompts to be improved.")
    ]
    working_models: Annotated[
        list[Name],
        Field(
            min_length=1,
            max_length=20,
            fail_fast=True,
            description="The models for which prompts are improved, one "
            "after the other; later ones also begin with the best prompts of "
            "earlier ones.",
        ),
    ]
    meta_prompt_id: Annotated[
        PromptId | None,
        Field(
            description="What asks for a better prompt (`metaprompt`); by "
            "default, Metasync's own words."
        ),
    ] = None
    meta_model: Annotated[
        ModelName | None,
        Field(
            description="The model that writes prompts; by default, the "
            "working model itself."
        ),
    ] = None
    max_iterations: Annotated[
        int,
        Field(ge=1, le=100, description="Rounds, for each working model."),
    ] = 20
    patience: Annotated[
        int,
        Field(
            ge=1,
            le=100,
            description="After so many rounds, one after the other, that "
            "found nothing better, the search ends.",
        ),
    ] = 3
    target_score: Annotated[
        Score | None,
        Field(description="The search ends at this validation score."),
    ] = None
    max_jobs: Annotated[
        int | None,
        Field(
            ge=1,
            le=10_000_000,
            description="The most jobs of any kind that the run causes.",
        ),
    ] = None
    max_tokens: Annotated[
        int | None,
        Field(
            ge=1,
            le=10**12,
            description="No jobs are queued that could use more tokens in "
            "all, as far as the largest job so far tells.",
        ),
    ] = None
    max_cost: Annotated[
        MaxCost | None,
        Field(description="No call is made that could cost more in all."),
    ] = None
    parallelism: Annotated[
        int, Field(ge=1, le=500, description="Unfinished jobs at once.")
    ] = 50
    seed: Annotated[
        int,
        Field(
            ge=0,
            lt=2**31,
            description="Decides the split of the data and every choice.",
        ),
    ] = 0
    split: SplitFractions = SplitFractions()
    temperature: Temperature = 0.0
    priority: Priority = 100
    response_format: ResponseFormat = ResponseFormat.JSON
    response_schema: ResponseSchema | None = None
    cache: Annotated[
        bool,
        Field(
            description="Whether answers of other runs and evaluations to "
            "the same content are used."
        ),
    ] = True

    @model_validator(mode="after")
    def _names_each_model_once(self) -> Self:
        if len(set(self.working_models)) < len(self.working_models):
            raise ValueError("workingModels must name each once")
        return self

    @model_validator(mode="after")
    def _schema_is_for_json(self) -> Self:
        check_answer_form(self.response_format, self.response_schema)
        return self

    @model_validator(mode="after")
    def _has_all_sides(self) -> Self:
        sides = (self.split.train, self.split.validation, self.split.test)
        if not all(sides):
            raise ValueError(
                "split: train, validation and test must each be above 0"
            )
        return self


class MeasuredScore(ApiModel):
    """A mean score, with its 95 % interval."""

    score: float
    interval: tuple[float, float]
    count: Annotated[int, Field(description="The items it is measured on.")]
    errors: Annotated[
        int, Field(description="Items without a score; they count as 0.")
    ] = 0


class RunScores(ApiModel):
    """A prompt of a run and its scores."""

    prompt_ids: list[str]
    model: str
    candidate: Annotated[int, Field(description="Its number in the run.")] = 0
    validation: MeasuredScore | None = None
    test: Annotated[
        MeasuredScore | None,
        Field(description="Measured once, when the search had ended."),
    ] = None


class ModelResult(ApiModel):
    """What was found for one working model, on validation."""

    model: str
    baseline: RunScores
    best: RunScores


class RunProgress(ApiModel):
    """A new best score on validation, and what it has taken to find it."""

    iteration: Annotated[int, Field(description="The waves that were done.")]
    model: str
    candidate: int
    score: float
    jobs: int
    tokens: int
    cost: float | None = None


class RunTest(ApiModel):
    """The paired comparison of baseline and best on the test split."""

    difference: float
    interval: tuple[float, float]
    p_value: float
    count: int


class RunCandidate(StoredModel):
    """A prompt that a run has tried."""

    id_field: ClassVar[str] = "candidateId"
    payload_fields: ClassVar[frozenset[str]] = frozenset(
        {"scores", "processingMetrics"}
    )

    candidate_id: str
    run_id: str
    number: int
    model: str
    prompt_ids: Annotated[
        list[str], Field(description="Empty: it was never asked with.")
    ]
    parents: Annotated[
        list[int], Field(description="The candidates it was made of.")
    ]
    change: Annotated[str, Field(description="What made it.")]
    validation_score: Annotated[
        float | None,
        Field(
            exclude_if=is_unset,
            description="On all validation items; those it was not tried "
            "on count as its parents' did.",
        ),
    ] = None
    confirmed: Annotated[
        bool,
        Field(description="Whether it was tried on all validation items."),
    ] = False
    accepted: Annotated[
        bool, Field(description="Whether it became a parent itself.")
    ] = False
    scores: Annotated[
        dict[str, float], Field(description="Its score by item.")
    ]
    jobs: Annotated[int, Field(description="Answers that it was scored by.")]
    processing_metrics: Annotated[
        ProcessingMetrics,
        Field(description="What those have used, whoever has paid for it."),
    ]
