"""Streams: one prompt, answered while the client watches."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import Field

from api.models.base import (
    ApiModel,
    Metadata,
    Name,
    StoredModel,
    Text,
    example,
    is_unset,
)
from api.models.job_fields import ClientReference, ModelOrRoute
from api.models.metrics import ProcessingMetrics
from api.models.tried_models import Tried
from api.models.usage_models import SummedMetrics


class StreamStatus(StrEnum):
    """The status of a stream."""

    STREAMING = "streaming"
    COMPLETED = "completed"
    ERROR = "error"


class StreamCreate(ApiModel):
    """`POST /stream`."""

    model_config = example(
        userPrompt="What is the capital of France?",
        additionalPrompts=[],
        model="gpt-4o-mini",
        temperature=0.7,
        clientReference={"chat": "c-17"},
    )

    user_prompt: Annotated[Text, Field(min_length=1, max_length=4_000_000)]
    additional_prompts: Annotated[
        list[Name],
        Field(
            max_length=100,
            fail_fast=True,
            description="Prompt ids; their texts, joined by a blank line, "
            "are the system prompt.",
        ),
    ] = Field(default_factory=list)
    model: ModelOrRoute
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] = 0.7
    client_reference: ClientReference | None = None


class StreamMetrics(ProcessingMetrics):
    """Tokens, cost and times (seconds) of a stream.

    `overheadDuration` is the time that Metasync added to the provider's.
    """

    # Null if text came and the provider reported no tokens.
    input_tokens: int | None = 0  # type: ignore[assignment]  # jobs have none
    output_tokens: int | None = 0  # type: ignore[assignment]  # as above
    total_tokens: int | None = 0  # type: ignore[assignment]  # as above
    llm_duration: float | None = None
    total_duration: float | None = None
    overhead_duration: float | None = None
    time_to_first_token: float | None = None


class StreamMetadata(Metadata):
    """The usual metadata, and when the stream ended."""

    completed_at: datetime | None = None


class Stream(StoredModel):
    """The record of a stream."""

    id_field: ClassVar[str] = "streamId"
    payload_fields: ClassVar[frozenset[str]] = frozenset(
        {"clientReference", "requestData", "responseData"}
    )

    metadata: Annotated[StreamMetadata, Field(alias="_metadata")]
    stream_id: str
    client_id: str
    model: str
    temperature: Annotated[
        float | None, Field(description="Null: the request said nothing.")
    ]
    status: StreamStatus
    request_data: dict[str, Any]
    response_data: dict[str, Any] | None = None
    processing_metrics: StreamMetrics | None = None
    client_reference: dict[str, Any] | None = None
    interface: Annotated[
        str | None,
        Field(
            description="The vendor's interface that was used, such as "
            "`/v1/chat/completions`, or `/proxy` and the provider's path.",
            exclude_if=is_unset,
        ),
    ] = None
    answered_by: Annotated[
        str | None,
        Field(
            exclude_if=is_unset,
            description="The model that answered, if `model` is a route.",
        ),
    ] = None
    tried: Annotated[
        list[Tried] | None,
        Field(
            exclude_if=is_unset,
            description="The models of the route that gave no answer, in "
            "order.",
        ),
    ] = None


class StreamSummary(ApiModel):
    """`GET /stream/summary`: counts, and sums over completed streams."""

    streaming: int = 0
    completed: int = 0
    error: int = 0
    total: int = 0
    processing_metrics: SummedMetrics = SummedMetrics()


class StreamDataPoint(ApiModel):
    """One completed stream, for a chart."""

    stream_id: str
    timestamp: datetime
    model: str
    client_reference: dict[str, Any] | None = None
    prompt_ids: list[str]
    processing_metrics: StreamMetrics


class StreamGroup(ApiModel):
    """Completed streams with equal properties, counted and summed."""

    model: str
    client_reference: dict[str, Any] | None = None
    prompt_ids: list[str]
    count: int
    processing_metrics: SummedMetrics


class DateRange(ApiModel):
    """The requested range; both ends are included."""

    from_: Annotated[datetime | None, Field(alias="from")] = None
    to: datetime | None = None


class StreamAnalytics(ApiModel):
    """`GET /stream/analytics`."""

    data_points: list[StreamDataPoint]
    groups: list[StreamGroup]
    total_count: int
    date_range: DateRange
