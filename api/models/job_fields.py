"""Types of the fields that requests about LLM work have in common."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from api.models import reference
from api.models.base import Name
from utilities import json_schema, payload

# BSON ends at 16 MiB a document; the answer needs space beside the request.
REQUEST_BYTES_LIMIT = 12 * 1024 * 1024
REFERENCE_BYTES_LIMIT = 64 * 1024


def _fits(limit: int) -> AfterValidator:
    def check(value: Any) -> Any:  # noqa: ANN401 - JSON
        # PayloadError is a ValueError: pydantic makes it one of its own.
        size = len(payload.dump(value).encode())
        if size > limit:
            raise ValueError(f"is {size} bytes as JSON; the limit is {limit}")
        return value

    return AfterValidator(check)


RequestData = Annotated[dict[str, Any], _fits(REQUEST_BYTES_LIMIT)]
JsonPayload = Annotated[Any, _fits(REQUEST_BYTES_LIMIT)]
ClientReference = Annotated[
    dict[str, Any],
    _fits(REFERENCE_BYTES_LIMIT),
    AfterValidator(reference.check),
]
PromptIds = Annotated[
    list[Name], Field(min_length=1, max_length=100, fail_fast=True)
]
Temperature = Annotated[
    float,
    Field(
        ge=0,
        le=2,
        allow_inf_nan=False,
        description="Limited to the range of the model.",
    ),
]
# What names a model or a prompt.
ModelName = Annotated[Name, Field(description="A model's name, or its id.")]
PromptId = Annotated[Name, Field(description="A prompt's id.")]
Priority = Annotated[int, Field(ge=1, le=1000, description="lower runs first")]


class ResponseFormat(StrEnum):
    """The form of a job's answer."""

    JSON = "json"
    TEXT = "text"


def _is_schema(value: dict[str, Any]) -> dict[str, Any]:
    json_schema.check_schema(value)
    return value


ResponseSchema = Annotated[
    dict[str, Any], _fits(REFERENCE_BYTES_LIMIT), AfterValidator(_is_schema)
]
