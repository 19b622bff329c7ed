"""Jobs: one piece of LLM work, from request to answer."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    Field,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from api.models.attempt_models import AttemptRecord
from api.models.base import (
    ApiModel,
    Name,
    StoredModel,
    Text,
    example,
    is_empty,
    is_unset,
)
from api.models.batch_models import LineInterface
from api.models.cache_models import CacheFields, StoredCache
from api.models.conversation_models import (
    ASKED_AS_JSON,
    NOT_MISSING,
    ConversationFields,
    StoredConversation,
    check_asked,
    mark_if_nothing_is_asked,
)
from api.models.job_fields import (
    ClientReference,
    ExpiresAt,
    JobClass,
    ModelOrRoute,
    NotBefore,
    Priority,
    PromptId,
    PromptIds,
    RequestData,
    ResponseFormat,
    ResponseSchema,
    ServiceClass,
    Temperature,
    check_answer_form,
    check_times,
)
from api.models.job_status import JobStatus
from api.models.job_waiting import WaitingFor
from api.models.metrics import ProcessingMetrics
from api.models.reask_models import RetryOnInvalid, UnusableAnswer
from api.models.usage_models import SummedMetrics

BATCH_LIMIT = 10_000
RESULT = "The model's answer, parsed as JSON."
_LOGPROBS = (
    "The first 1,000 tokens of the answer, each with the natural logarithm "
    "of its probability and its alternatives: `[token, logprob, [[token, "
    "logprob], ...]]`."
)
_SUGGESTED = "The id of the DRAFT prompt made by the meta step."
EVALUATION = (
    "The JSON of the evaluation; `error` and `errorType` if it failed."
)


class JobCreate(ConversationFields, CacheFields):
    """`POST /jobs`."""

    model_config = example(
        operation="sentiment",
        workingPrompts=["665f1c2ab7e4d90012345678"],
        model="gpt-4o-mini",
        temperature=0,
        priority=100,
        requestData={"text": "I would buy it again at once."},
        clientReference={"orderId": 4711},
    )

    id: Annotated[
        Text | None, Field(description="The client's own id for the job.")
    ] = None
    operation: Annotated[
        Name,
        Field(description="The kind of work, a name chosen by the client."),
    ]
    prompts: PromptIds | None = Field(
        default=None,
        deprecated=True,
        description="The same as workingPrompts, which is used if both are "
        "sent.",
    )
    working_prompts: Annotated[
        PromptIds | None,
        Field(
            description="Prompt ids. Their texts, in this order, joined by "
            "a blank line, are the system prompt."
        ),
    ] = None
    prompt_flow: Name | None = Field(
        default=None,
        description="The id of a prompt flow, instead of workingPrompts. Its "
        "prompts are read when the job is submitted.",
    )
    model: ModelOrRoute
    temperature: Temperature = 0.7
    priority: Priority = 100
    service_class: JobClass = ServiceClass.BULK
    request_data: Annotated[
        RequestData | None,
        NOT_MISSING,
        Field(
            description="Sent as JSON: the user message. Needed without "
            "messages, embeddings and variables."
        ),
    ] = None
    response_format: Annotated[
        ResponseFormat,
        Field(
            description='`text`: the answer is stored as `{"text": ...}` and '
            "need not be JSON."
        ),
    ] = ResponseFormat.JSON
    response_schema: Annotated[
        ResponseSchema | None,
        Field(
            description="A JSON Schema for the answer. It is sent to "
            "providers that support schemas, and the answer is always "
            "checked."
        ),
    ] = None
    client_reference: Annotated[
        ClientReference | None,
        Field(
            description="Values by which the client finds jobs: `GET "
            "/jobs?clientReference.<field>=<value>`."
        ),
    ] = None
    retry_on_invalid: Annotated[
        RetryOnInvalid | None,
        Field(
            description="Asks again for an answer that cannot be used, then "
            "asks other models. Without it, such an answer ends the job."
        ),
    ] = None
    eval_prompt: PromptId | None = None
    eval_model: ModelOrRoute | None = None
    meta_prompt: PromptId | None = None
    meta_model: ModelOrRoute | None = None
    not_before: NotBefore = None
    expires_at: ExpiresAt = None
    batch_key: Annotated[
        Name | None,
        Field(
            description="What jobs are to be found by together. In `POST "
            "/jobs/batch`, an Idempotency-Key is also the batchKey of the "
            "items without one."
        ),
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _requires_a_question(cls, data: Any) -> Any:  # noqa: ANN401 - input
        return mark_if_nothing_is_asked(data)

    @model_validator(mode="after")
    def _expires_after_it_may_start(self) -> Self:
        check_times(self.not_before, self.expires_at)
        return self

    @model_validator(mode="after")
    def _schema_is_for_json(self) -> Self:
        check_answer_form(self.response_format, self.response_schema)
        return self

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        check_asked(self, self.request_data, self._refers_to)
        return self

    @property
    def _refers_to(self) -> bool:
        return bool(self.effective_prompts or self.prompt_flow)

    @property
    def effective_prompts(self) -> list[str]:
        """The working prompts: `workingPrompts` wins over `prompts`."""
        # Read past the attribute, which warns of its deprecation.
        return self.working_prompts or self.__dict__["prompts"] or []


class JobBatchItem(JobCreate):
    """One job of `POST /jobs/batch`."""

    idempotency_key: Name | None = Field(
        default=None,
        description="Like the header of `POST /jobs`, for this item.",
    )


class _ShownAsItem:
    """Describes what is checked later as what it is then checked to be."""

    def __get_pydantic_json_schema__(
        self, _schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(JobBatchItem.__pydantic_core_schema__)


class JobBatchCreate(ApiModel):
    """`POST /jobs/batch`: all or nothing."""

    model_config = example(
        jobs=[
            {
                "operation": "sentiment",
                "workingPrompts": ["665f1c2ab7e4d90012345678"],
                "model": "gpt-4o-mini",
                "requestData": {"text": text},
            }
            for text in ("I would buy it again.", "Never again.")
        ]
    )

    # Items are checked one by one, so that an error can name its index.
    item_model: ClassVar[type[ApiModel]] = JobBatchItem

    jobs: Annotated[
        list[Annotated[Any, _ShownAsItem()]],
        Field(min_length=1, max_length=BATCH_LIMIT),
    ]


class Job(StoredModel, StoredConversation, StoredCache):
    """A job and its results so far."""

    id_field: ClassVar[str] = "jobId"
    payload_fields: ClassVar[frozenset[str]] = frozenset(
        {
            "clientReference",
            "requestData",
            *ASKED_AS_JSON,
            "retryOnInvalid",
            "unusableAnswers",
            "responseSchema",
            "responseData",
            "responseLogprobs",
            "errorData",
            "evalResult",
            "stepError",
            "attemptHistory",
        }
    )

    job_id: str
    client_id: str
    id: Annotated[
        str | None, Field(description="The client's own id for the job.")
    ] = None
    operation: str
    prompts: Annotated[
        list[str] | None,
        Field(description="The value of this deprecated field."),
    ] = None
    working_prompts: list[str]
    prompt_flow: str | None = None
    model: str
    temperature: float
    priority: Annotated[int, Field(description="lower runs first")]
    service_class: ServiceClass = ServiceClass.BULK
    request_data: dict[str, Any] | None = None
    response_format: ResponseFormat = ResponseFormat.JSON
    response_schema: dict[str, Any] | None = None
    client_reference: dict[str, Any] | None = None
    retry_on_invalid: Annotated[
        RetryOnInvalid | None, Field(exclude_if=is_unset)
    ] = None
    eval_prompt: str | None = None
    eval_model: str | None = None
    meta_prompt: str | None = None
    meta_model: str | None = None
    not_before: datetime | None = None
    expires_at: datetime | None = None
    batch_key: str | None = None
    interface: LineInterface = None
    status: JobStatus
    response_data: Annotated[Any, Field(description=RESULT)] = None
    response_logprobs: Annotated[
        list[list[Any]] | None,
        Field(exclude_if=is_unset, description=_LOGPROBS),
    ] = None
    unusable_answers: Annotated[
        list[UnusableAnswer] | None,
        Field(
            exclude_if=is_unset,
            description="The answers that could not be used, in order: see "
            "retryOnInvalid.",
        ),
    ] = None
    answered_by: Annotated[
        str | None,
        Field(
            exclude_if=is_unset,
            description="The model that gave the answer, if `model` is a "
            "route, or if it is one of the ladder.",
        ),
    ] = None
    error_data: Annotated[
        dict[str, Any] | None,
        Field(
            description="Why the job failed: `errorType`, `message`, and, if "
            "an answer was received, its text in `failedResponseData`."
        ),
    ] = None
    error_type: Annotated[
        str | None,
        Field(
            exclude_if=is_empty,
            description="That of errorData, for lists without it.",
        ),
    ] = None
    eval_result: Annotated[Any, Field(description=EVALUATION)] = None
    suggested_prompt_id: Annotated[
        str | None, Field(description=_SUGGESTED)
    ] = None
    step_error: Annotated[
        dict[str, Any] | None,
        Field(
            description="Why the evaluation or the meta step failed: `step` "
            "(`eval` or `meta`), `errorType`, `error`."
        ),
    ] = None
    processing_metrics: ProcessingMetrics | None = None
    attempts: Annotated[
        int, Field(description="Attempts that were counted so far.")
    ] = 0
    failures: Annotated[
        int, Field(description="Failed calls to models so far.")
    ] = 0
    attempt_history: Annotated[
        list[AttemptRecord] | None,
        Field(
            description="The latest 20 tries without an answer, also those "
            "of a route's models."
        ),
    ] = None
    started_at: Annotated[
        datetime | None,
        Field(description="When a worker claimed it last."),
    ] = None
    finished_at: Annotated[
        datetime | None,
        Field(
            description="When its worker stored the result or the failure, "
            "or when it expired or was canceled."
        ),
    ] = None
    worker_id: Annotated[
        str | None, Field(description="The worker that claimed it last.")
    ] = None
    waiting_for: Annotated[
        WaitingFor | None,
        Field(
            description="Why a PENDING job waits; in `GET /jobs` and `GET "
            "/jobs/{jobId}`."
        ),
    ] = None
    # When a PENDING job may be claimed; shown by `waitingFor`.
    available_at: Annotated[datetime | None, Field(exclude=True)] = None
    waits_for: Annotated[str | None, Field(exclude=True)] = None

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read a document; its times and its worker by the status."""
        fields = {**document, **_times_of(document)}
        return super().from_document(fields)


def _times_of(document: Mapping[str, Any]) -> dict[str, Any]:
    # What a job keeps from an earlier attempt is not shown while it waits.
    status = document.get("status")
    claimed = status != JobStatus.PENDING
    ended = claimed and status != JobStatus.PROCESSING
    return {
        # The store's `startedAt` is when the job came into the queue.
        "startedAt": document.get("claimedAt") if claimed else None,
        "workerId": document.get("leaseWorker") if claimed else None,
        "finishedAt": document.get("finishedAt") if ended else None,
    }


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
