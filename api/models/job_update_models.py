"""Changes of jobs, one by one and in batches."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from api.models.base import ApiModel, Name, Text, example
from api.models.conversation_models import (
    Messages,
    SamplingOptions,
    ToolChoiceField,
    Tools,
    Variables,
)
from api.models.job_fields import (
    ClientReference,
    ExpiresAt,
    JobClass,
    JsonPayload,
    ModelOrRoute,
    NotBefore,
    Priority,
    PromptId,
    PromptIds,
    RequestData,
    ResponseFormat,
    ResponseSchema,
    Temperature,
    check_times,
)
from api.models.job_models import BATCH_LIMIT, EVALUATION, RESULT
from api.models.job_status import JobStatus
from api.models.metrics import MetricsInput


class JobStatusUpdate(ApiModel):
    """`PATCH /jobs/{jobId}`."""

    model_config = example(status="CONSUMED")

    status: JobStatus


class JobUpdate(ApiModel):
    """`PATCH /jobs/{jobId}/full`; other fields are kept."""

    model_config = example(priority=1, clientReference={"orderId": 4712})

    status: JobStatus | None = None
    id: Text | None = None
    operation: Name | None = None
    prompts: PromptIds | None = None
    working_prompts: PromptIds | None = None
    model: ModelOrRoute | None = None
    temperature: Temperature | None = None
    priority: Priority | None = None
    service_class: JobClass | None = None
    request_data: RequestData | None = None
    messages: Messages | None = None
    tools: Tools | None = None
    tool_choice: ToolChoiceField | None = None
    sampling: SamplingOptions | None = None
    variables: Variables | None = None
    response_format: ResponseFormat | None = None
    response_schema: ResponseSchema | None = None
    client_reference: ClientReference | None = None
    eval_prompt: PromptId | None = None
    eval_model: ModelOrRoute | None = None
    meta_prompt: PromptId | None = None
    meta_model: ModelOrRoute | None = None
    response_data: Annotated[JsonPayload, Field(description=RESULT)] = None
    error_data: RequestData | None = None
    eval_result: Annotated[JsonPayload, Field(description=EVALUATION)] = None
    suggested_prompt_id: PromptId | None = None
    processing_metrics: MetricsInput | None = None
    not_before: NotBefore = None
    expires_at: ExpiresAt = None

    @model_validator(mode="after")
    def _expires_after_it_may_start(self) -> Self:
        check_times(self.not_before, self.expires_at)
        return self


class JobBatchUpdateItem(JobUpdate):
    """One job of `PATCH /jobs/batch`."""

    model_config = example(jobId="665f1c2ab7e4d90012345678", status="CONSUMED")

    job_id: Text


class JobBatchUpdate(ApiModel):
    """`PATCH /jobs/batch`: all or nothing."""

    model_config = example(
        jobs=[{"jobId": "665f1c2ab7e4d90012345678", "status": "CONSUMED"}]
    )

    jobs: Annotated[
        list[JobBatchUpdateItem],
        Field(min_length=1, max_length=BATCH_LIMIT, fail_fast=True),
    ]


class JobBatchDelete(ApiModel):
    """`DELETE /jobs/batch`: all or nothing."""

    model_config = example(jobIds=["665f1c2ab7e4d90012345678"])

    job_ids: Annotated[
        list[Text],
        Field(min_length=1, max_length=BATCH_LIMIT, fail_fast=True),
    ]
