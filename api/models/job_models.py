"""Jobs: one piece of LLM work, from request to answer."""

from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, Field, model_validator

from api.models.base import ApiModel, Name, StoredModel, Text
from api.models.job_status import JobStatus
from api.models.metrics import ProcessingMetrics
from api.models.usage_models import SummedMetrics
from utilities import payload

BATCH_LIMIT = 10_000
# BSON ends at 16 MiB a document; the answer needs room beside the request.
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
ClientReference = Annotated[dict[str, Any], _fits(REFERENCE_BYTES_LIMIT)]
PromptIds = Annotated[list[Name], Field(min_length=1, max_length=100)]
Temperature = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Priority = Annotated[int, Field(ge=1, le=1000, description="lower runs first")]


class JobCreate(ApiModel):
    """`POST /jobs`."""

    id: Text | None = None
    operation: Name
    prompts: PromptIds | None = Field(default=None, deprecated=True)
    working_prompts: PromptIds | None = None
    prompt_flow: Name | None = Field(
        default=None,
        description="A prompt flow's id, instead of workingPrompts. Its "
        "prompts are taken when the job is submitted.",
    )
    model: Name
    temperature: Temperature = 0.7
    priority: Priority = 100
    request_data: RequestData
    client_reference: ClientReference | None = None
    eval_prompt: Name | None = None
    eval_model: Name | None = None
    meta_prompt: Name | None = None
    meta_model: Name | None = None

    @model_validator(mode="after")
    def _has_prompts(self) -> Self:
        if not (self.effective_prompts or self.prompt_flow):
            raise ValueError("workingPrompts or promptFlow is needed")
        return self

    @property
    def effective_prompts(self) -> list[str]:
        """The working prompts: `workingPrompts` wins over `prompts`."""
        # Read past the attribute, which warns of its deprecation.
        return self.working_prompts or self.__dict__["prompts"] or []


class JobBatchItem(JobCreate):
    """One job of `POST /jobs/batch`."""

    idempotency_key: Name | None = Field(
        default=None,
        description="As the header of `POST /jobs`, for this one item.",
    )


class JobBatchCreate(ApiModel):
    """`POST /jobs/batch`: all or nothing."""

    # Items are checked one by one, so that an error can name its index.
    jobs: Annotated[list[Any], Field(min_length=1, max_length=BATCH_LIMIT)]


class JobStatusUpdate(ApiModel):
    """`PATCH /jobs/{jobId}`."""

    status: JobStatus


class JobUpdate(ApiModel):
    """`PATCH /jobs/{jobId}/full`; what is left out stays."""

    status: JobStatus | None = None
    id: Text | None = None
    operation: Name | None = None
    prompts: PromptIds | None = None
    working_prompts: PromptIds | None = None
    model: Name | None = None
    temperature: Temperature | None = None
    priority: Priority | None = None
    request_data: RequestData | None = None
    client_reference: ClientReference | None = None
    eval_prompt: Name | None = None
    eval_model: Name | None = None
    meta_prompt: Name | None = None
    meta_model: Name | None = None
    response_data: JsonPayload = None
    error_data: RequestData | None = None
    eval_result: JsonPayload = None
    suggested_prompt_id: Name | None = None
    processing_metrics: ProcessingMetrics | None = None


class JobBatchUpdateItem(JobUpdate):
    """One job of `PATCH /jobs/batch`."""

    job_id: str


class JobBatchUpdate(ApiModel):
    """`PATCH /jobs/batch`: all or nothing."""

    jobs: Annotated[
        list[JobBatchUpdateItem], Field(min_length=1, max_length=BATCH_LIMIT)
    ]


class JobBatchDelete(ApiModel):
    """`DELETE /jobs/batch`: all or nothing."""

    job_ids: Annotated[list[str], Field(min_length=1, max_length=BATCH_LIMIT)]


class Job(StoredModel):
    """A job and what has come of it so far."""

    id_field: ClassVar[str] = "jobId"
    payload_fields: ClassVar[frozenset[str]] = frozenset(
        {
            "clientReference",
            "requestData",
            "responseData",
            "errorData",
            "evalResult",
        }
    )

    job_id: str
    client_id: str
    id: str | None = None
    operation: str
    prompts: list[str] | None = None
    working_prompts: list[str]
    prompt_flow: str | None = None
    model: str
    temperature: float
    priority: int
    request_data: dict[str, Any]
    client_reference: dict[str, Any] | None = None
    eval_prompt: str | None = None
    eval_model: str | None = None
    meta_prompt: str | None = None
    meta_model: str | None = None
    status: JobStatus
    response_data: Any = None
    error_data: dict[str, Any] | None = None
    eval_result: Any = None
    suggested_prompt_id: str | None = None
    processing_metrics: ProcessingMetrics | None = None
    attempts: int = 0


class JobSummary(ApiModel):
    """`GET /jobs/summary`: a count for every status."""

    pending: Annotated[int, Field(alias="PENDING")] = 0
    processing: Annotated[int, Field(alias="PROCESSING")] = 0
    processed: Annotated[int, Field(alias="PROCESSED")] = 0
    error_processing: Annotated[int, Field(alias="ERROR_PROCESSING")] = 0
    consumed: Annotated[int, Field(alias="CONSUMED")] = 0
    error_consuming: Annotated[int, Field(alias="ERROR_CONSUMING")] = 0
    canceled: Annotated[int, Field(alias="CANCELED")] = 0
    total: int = 0
    processing_metrics: SummedMetrics = SummedMetrics()
