"""Metrics: how an answer is scored, as clients ask for it."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from api.models.base import ApiModel, Name, Text
from api.models.job_fields import (
    ModelName,
    PromptId,
    ResponseSchema,
    Temperature,
)
from utilities import json_schema

MOST_METRICS, MOST_LABELS = 10, 200
_LONGEST_PATTERN = 2000


def _is_pattern(pattern: str) -> str:
    # By the engine that matches it: in linear time, whatever the pattern.
    json_schema.check_schema({"type": "string", "pattern": pattern})
    return pattern


Path = Annotated[
    Text,
    Field(
        min_length=1,
        max_length=500,
        description="Where the value is: `sentiment`, `items.0.name`, or a "
        "JSON Pointer, `/items/0/name`.",
        examples=["sentiment"],
    ),
]
Pattern = Annotated[
    Text,
    Field(min_length=1, max_length=_LONGEST_PATTERN),
    AfterValidator(_is_pattern),
]


def _are_different(labels: list[str]) -> list[str]:
    if len({label.casefold() for label in labels}) < len(labels):
        raise ValueError("must differ in more than letter case")
    return labels


Label = Annotated[Text, Field(min_length=1, max_length=100)]


class ExactMetric(ApiModel):
    """1 if the answer is what is expected, otherwise 0.

    Spaces at the ends of texts do not count. An answer with a single field
    is compared by that field's value, if `expected` is no object.
    """

    type: Literal["exact"]
    ignore_case: bool = False


class ContainsMetric(ApiModel):
    """1 if the answer's text contains what is expected, otherwise 0."""

    type: Literal["contains"]
    ignore_case: bool = False


class RegexMetric(ApiModel):
    """1 if the pattern is found in the answer's text, otherwise 0."""

    type: Literal["regex"]
    pattern: Pattern


class JsonFieldMetric(ApiModel):
    """1 if a field of the answer is what is expected, otherwise 0.

    If `expected` is an object, the value at the same path is expected.
    """

    type: Literal["jsonField"]
    path: Path
    ignore_case: bool = False


class NumericMetric(ApiModel):
    """1 if a number is as expected, within a tolerance; otherwise 0.

    Without a path, the answer itself is the number, or its only field.
    """

    type: Literal["numeric"]
    path: Path | None = None
    tolerance: Annotated[float, Field(ge=0, le=1e300, allow_inf_nan=False)] = (
        0.0
    )


class F1Metric(ApiModel):
    """F1 of the words that answer and `expected` have in common.

    As SQuAD's: without letter case, punctuation and English articles.
    """

    type: Literal["f1"]
    path: Path | None = None


class SchemaMetric(ApiModel):
    """1 if the answer fits the JSON Schema, otherwise 0."""

    type: Literal["schema"]
    # Not `schema`, which is a method of pydantic's models.
    json_schema: Annotated[
        ResponseSchema, Field(alias="schema", description="A JSON Schema.")
    ]


class JudgeMetric(ApiModel):
    """A model's score of the answer.

    The judge gets `{"input", "answer", "expected"}` as its user message
    and must answer JSON with a number from 0 to `maxScore`.
    """

    type: Literal["judge"]
    prompt_id: PromptId
    model: ModelName
    score_path: Path = "score"
    max_score: Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)] = 1.0
    temperature: Temperature = 0.0


class LabelProbabilityMetric(ApiModel):
    """The probability that the model gave to the expected label.

    By the alternatives of the first token in which the labels differ; all
    labels' probabilities add up to 1. Where the provider tells none, 1 if
    the answer is what is expected, otherwise 0.
    """

    type: Literal["labelProbability"]
    labels: Annotated[
        list[Label],
        Field(min_length=2, max_length=MOST_LABELS, fail_fast=True),
        AfterValidator(_are_different),
    ]
    path: Path | None = None


class EntryPointMetric(ApiModel):
    """A metric of an installed package.

    Its entry point, in the group `metasync.metrics`, names a function
    `(request_data, expected, answer) -> float`, which gives 0 to 1.
    """

    type: Literal["entryPoint"]
    name: Name


AnyMetric = (
    ExactMetric
    | ContainsMetric
    | RegexMetric
    | JsonFieldMetric
    | NumericMetric
    | F1Metric
    | SchemaMetric
    | LabelProbabilityMetric
    | JudgeMetric
    | EntryPointMetric
)
SingleMetric = Annotated[AnyMetric, Field(discriminator="type")]


class WeightedMetric(ApiModel):
    """One part of a weighted sum."""

    metric: SingleMetric
    weight: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] = 1.0


class WeightedMetrics(ApiModel):
    """The sum of several metrics, each by its share of the weights."""

    type: Literal["weighted"]
    metrics: Annotated[
        list[WeightedMetric],
        Field(min_length=1, max_length=MOST_METRICS, fail_fast=True),
    ]


def _of_list(value: object) -> object:
    """Take a list of metrics, with or without weights, for their sum."""
    if not isinstance(value, list):
        return value
    parts = [
        part
        if isinstance(part, WeightedMetric)
        or (isinstance(part, dict) and "metric" in part)
        else {"metric": part}
        for part in value
    ]
    return {"type": "weighted", "metrics": parts}


Metric = Annotated[
    Annotated[AnyMetric | WeightedMetrics, Field(discriminator="type")],
    BeforeValidator(_of_list, json_schema_input_type=Any),
    Field(description="How answers are scored, from 0 to 1."),
]
# What need not be told what is expected.
_WITHOUT_EXPECTED = (RegexMetric, SchemaMetric, JudgeMetric, EntryPointMetric)


def parts_of(
    metric: AnyMetric | WeightedMetrics,
) -> list[tuple[AnyMetric, float]]:
    """Give the single metrics with their shares, which add up to 1."""
    if not isinstance(metric, WeightedMetrics):
        return [(metric, 1.0)]
    total = sum(part.weight for part in metric.metrics)
    return [(part.metric, part.weight / total) for part in metric.metrics]


def needs_probabilities(metric: AnyMetric | WeightedMetrics) -> bool:
    """Tell whether answers are to come with their tokens' probabilities."""
    return any(
        isinstance(part, LabelProbabilityMetric)
        for part, _ in parts_of(metric)
    )


def judges_of(
    metric: AnyMetric | WeightedMetrics,
) -> Iterator[tuple[int, JudgeMetric]]:
    """Give the judges among the parts, with their positions."""
    for position, (part, _) in enumerate(parts_of(metric)):
        if isinstance(part, JudgeMetric):
            yield position, part


def needs_expected(metric: AnyMetric | WeightedMetrics) -> bool:
    """Tell whether items without `expected` cannot be scored."""
    return not all(
        isinstance(part, _WITHOUT_EXPECTED) for part, _ in parts_of(metric)
    )
