"""Webhooks: who is told what, and what became of it."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import Field

from api.models.base import ApiModel, Name, StoredModel, Text, example


class EventType(StrEnum):
    """What a webhook can be told."""

    JOB_PROCESSED = "job.processed"
    JOB_FAILED = "job.failed"
    JOB_CANCELLED = "job.cancelled"
    RUN_COMPLETED = "run.completed"
    RUN_FAILED = "run.failed"
    RUN_CANCELLED = "run.cancelled"
    BATCH_ENDED = "batch.ended"
    BUDGET_EXHAUSTED = "budget.exhausted"
    MODEL_SUSPENDED = "model.suspended"
    MODEL_RESUMED = "model.resumed"


# The type of the event that `POST /webhooks/{id}/test` sends.
TEST_EVENT = "webhook.test"

Url = Annotated[
    Text,
    Field(
        min_length=1,
        max_length=2048,
        description="https, without user and password; it must not lead to "
        "a private address.",
    ),
]
Events = Annotated[
    list[EventType],
    Field(min_length=1, max_length=len(EventType), description="Their types."),
]
Description = Annotated[Text, Field(max_length=1024)]


class WebhookCreate(ApiModel):
    """`POST /webhooks`."""

    model_config = example(
        url="https://example.com/metasync", events=["job.processed"]
    )

    url: Url
    events: Events
    description: Description = ""
    enabled: bool = True


class WebhookUpdate(ApiModel):
    """`PATCH /webhooks/{webhookId}`; other fields are kept."""

    model_config = example(enabled=True)

    url: Url | None = None
    events: Events | None = None
    description: Description | None = None
    enabled: bool | None = None


class Webhook(StoredModel):
    """A webhook, without its secret."""

    id_field: ClassVar[str] = "webhookId"

    webhook_id: str
    client_id: Annotated[
        str | None,
        Field(
            description="Whose events it gets; null: those of all clients "
            "(the administrator's)."
        ),
    ]
    url: str
    events: list[EventType]
    description: str = ""
    enabled: bool
    disabled_because: Annotated[
        str | None,
        Field(description="Why Metasync has disabled it: `GONE` (a 410)."),
    ] = None
    # The secret is derived from it: see `signing`.
    salt: Annotated[str, Field(exclude=True)] = ""


class WebhookWithSecret(Webhook):
    """A webhook with its secret, shown only this once."""

    secret: Annotated[
        str,
        Field(
            description="`whsec_` and base64: what verifies signatures, by "
            "the rules of Standard Webhooks."
        ),
    ]


class DeliveryStatus(StrEnum):
    """The status of a delivery."""

    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"


class DeliveryAttempt(ApiModel):
    """One request to a receiver, and its answer."""

    at: datetime
    seconds: float
    status: Annotated[
        int | None, Field(description="Null: there was no answer.")
    ] = None
    error: Annotated[
        str | None, Field(description="Why it does not count as delivered.")
    ] = None
    answer: Annotated[
        str, Field(description="The beginning of the answer's body.")
    ] = ""


class Delivery(StoredModel):
    """One event on its way to one webhook."""

    id_field: ClassVar[str] = "deliveryId"
    payload_fields: ClassVar[frozenset[str]] = frozenset({"payload"})

    delivery_id: str
    webhook_id: str
    event_id: Annotated[
        str,
        Field(
            description="The header `webhook-id`, the same in each attempt."
        ),
    ]
    type: Name
    status: DeliveryStatus
    attempts: int
    next_attempt_at: datetime | None = None
    last_attempt: DeliveryAttempt | None = None
    payload: Annotated[dict[str, Any], Field(description="What is sent.")]
