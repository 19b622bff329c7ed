"""Datasets: inputs, with what is expected of their answers."""

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from api.models.base import ApiModel, Name, StoredModel, example
from api.models.job_fields import JsonPayload, RequestData

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
