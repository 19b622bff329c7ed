"""Datasets: inputs, with what is expected of their answers."""

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from api.models.base import ApiModel, Name, StoredModel, Text, example
from api.models.job_fields import ClientReference, JsonPayload, RequestData
from api.models.job_status import JobStatus

ITEMS_LIMIT = 100_000
# A dataset without these cannot be split in the way that was asked for.
_LEAST_PART = 1e-9


class SplitName(StrEnum):
    """The items that are meant: all, or those of one side of a split."""

    ALL = "all"
    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


class SplitFractions(ApiModel):
    """Which share of the items each side of a split gets; they sum to 1."""

    train: Annotated[float, Field(ge=0, le=1)] = 0.5
    validation: Annotated[float, Field(ge=0, le=1)] = 0.25
    test: Annotated[float, Field(ge=0, le=1)] = 0.25

    @model_validator(mode="after")
    def _add_up(self) -> Self:
        if abs(self.train + self.validation + self.test - 1) > _LEAST_PART:
            raise ValueError("train, validation and test must add up to 1")
        return self


class DatasetItemInput(ApiModel):
    """One input, and what is expected of its answer."""

    id: Annotated[
        Name | None,
        Field(
            description="Unique in the dataset; by default the item's "
            "number, from 1 on."
        ),
    ] = None
    request_data: RequestData
    expected: Annotated[
        JsonPayload,
        Field(description="The right answer; null or absent: not known."),
    ] = None


class DatasetItem(ApiModel):
    """One item of a dataset."""

    id: str
    request_data: dict[str, Any]
    expected: Any = None


class Dataset(StoredModel):
    """A dataset; its items never change."""

    id_field: ClassVar[str] = "datasetId"

    dataset_id: str
    client_id: str
    name: str
    count: Annotated[int, Field(description="Its items.")]
    expected_count: Annotated[
        int, Field(description="Its items with an expected answer.")
    ] = 0
    size: Annotated[int, Field(description="bytes, as JSON")] = 0
    # The items are kept in this many documents.
    blocks: Annotated[int, Field(exclude=True)] = 0


DATASET_EXAMPLE = example(
    name="reviews",
    items=[
        {"requestData": {"text": "I love it."}, "expected": "positive"},
        {"requestData": {"text": "Never again."}, "expected": "negative"},
    ],
)


class ExpectedFrom(StrEnum):
    """What is expected of items that are made from jobs."""

    NOTHING = "nothing"
    RESPONSE_DATA = "responseData"


class JobSelection(ApiModel):
    """Which jobs become items; every field that is given must match.

    By default, those that are PROCESSED or CONSUMED.
    """

    operation: Text | None = None
    status: JobStatus | None = None
    model: Text | None = None
    error_type: Text | None = None
    batch_key: Name | None = None
    client_reference: ClientReference | None = None
    start: Annotated[Text | None, Field(alias="from")] = None
    end: Annotated[Text | None, Field(alias="to")] = None
    expected: Annotated[
        ExpectedFrom,
        Field(
            description="`responseData`: the job's answer is what is "
            "expected; jobs without one are left out."
        ),
    ] = ExpectedFrom.NOTHING
    expected_path: Annotated[
        Name | None,
        Field(description="The part of the answer: `label`, or `/label`."),
    ] = None


class DatasetCreate(ApiModel):
    """`POST /datasets`: with items, or from finished jobs."""

    model_config = DATASET_EXAMPLE

    name: Name
    items: (
        Annotated[
            list[DatasetItemInput],
            Field(min_length=1, max_length=ITEMS_LIMIT, fail_fast=True),
        ]
        | None
    ) = None
    from_jobs: JobSelection | None = None

    @model_validator(mode="after")
    def _has_a_source(self) -> Self:
        if (self.items is None) == (self.from_jobs is None):
            raise ValueError("give either items or fromJobs")
        return self


class DatasetColumns(ApiModel):
    """Which columns of a file make an item.

    Without `input`, all columns but the two others.
    """

    input: tuple[str, ...] | None = None
    expected: str | None = None
    id: str | None = None

    @property
    def is_default(self) -> bool:
        """Whether none is named."""
        return not (self.input or self.expected or self.id)
