"""Types of the fields that requests about LLM work have in common."""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field

from api.models import reference
from api.models.base import Name
from utilities import json_schema, payload

# BSON ends at 16 MiB a document; the answer needs space beside the request.
REQUEST_BYTES_LIMIT = 12 * 1024 * 1024
REFERENCE_BYTES_LIMIT = 64 * 1024


def bytes_of(value: object) -> int:
    """Return the length of a value as JSON, in bytes.

    Raises:
        PayloadError: it cannot be JSON.
    """
    return len(payload.dump(value).encode())


def fits(limit: int) -> AfterValidator:
    """Check that a value is no longer than this, in bytes of JSON."""

    def check(value: Any) -> Any:  # noqa: ANN401 - JSON
        # PayloadError is a ValueError: pydantic makes it one of its own.
        size = bytes_of(value)
        if size > limit:
            raise ValueError(f"is {size} bytes as JSON; the limit is {limit}")
        return value

    return AfterValidator(check)


RequestData = Annotated[dict[str, Any], fits(REQUEST_BYTES_LIMIT)]
JsonPayload = Annotated[Any, fits(REQUEST_BYTES_LIMIT)]
ClientReference = Annotated[
    dict[str, Any],
    fits(REFERENCE_BYTES_LIMIT),
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
ModelOrRoute = Annotated[
    Name,
    Field(description="The name, or the id, of a model or of a route."),
]
PromptId = Annotated[Name, Field(description="A prompt's id.")]
# Years in which a time is kept as exactly as it was sent.
_FIRST_YEAR, _LAST_YEAR = 2000, 9998


def _is_text_or_time(value: object) -> object:
    # Otherwise a number would be taken for seconds, or for milliseconds.
    if not isinstance(value, str | datetime):
        raise ValueError("must be an ISO 8601 time with its zone")  # noqa: TRY004 - becomes a problem of the request
    return value


def _in_utc(moment: datetime) -> datetime:
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise ValueError(f"must be in the years {_FIRST_YEAR} to {_LAST_YEAR}")
    return moment.astimezone(UTC)


# An ISO 8601 time with its zone, such as `2026-01-31T12:00:00Z`.
Moment = Annotated[
    AwareDatetime, BeforeValidator(_is_text_or_time), AfterValidator(_in_utc)
]
NotBefore = Annotated[
    Moment | None,
    Field(description="The job is not started before this time."),
]
ExpiresAt = Annotated[
    Moment | None,
    Field(
        description="A job that still waits at this time ends in "
        "ERROR_PROCESSING, with the errorType EXPIRED."
    ),
]
Priority = Annotated[int, Field(ge=1, le=1000, description="lower runs first")]


class ServiceClass(StrEnum):
    """Who waits for the answer: a person, or nobody at once."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


JobClass = Annotated[
    ServiceClass,
    Field(
        description="`interactive`: a person waits; these jobs and their "
        "calls go before those that are `bulk`."
    ),
]


def check_times(
    not_before: datetime | None, expires_at: datetime | None
) -> None:
    """Check that a job can start before it expires.

    Raises:
        ValueError: it cannot.
    """
    if not_before is None or expires_at is None:
        return
    if expires_at <= not_before:
        raise ValueError("expiresAt must be later than notBefore")


class ResponseFormat(StrEnum):
    """The form of a job's answer."""

    JSON = "json"
    TEXT = "text"


def _is_schema(value: dict[str, Any]) -> dict[str, Any]:
    json_schema.check_schema(value)
    return value


ResponseSchema = Annotated[
    dict[str, Any], fits(REFERENCE_BYTES_LIMIT), AfterValidator(_is_schema)
]


def check_answer_form(
    form: ResponseFormat, schema: Mapping[str, Any] | None
) -> None:
    """Check that only an answer of JSON has a schema.

    Raises:
        ValueError: an answer of text has one.
    """
    if form is ResponseFormat.TEXT and schema is not None:
        raise ValueError("responseSchema needs responseFormat json")
