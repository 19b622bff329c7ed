"""Clients: who may submit work."""

from datetime import datetime
from typing import Annotated, ClassVar

from pydantic import Field

from api.models.base import (
    ApiModel,
    Name,
    StoredModel,
    example,
    is_empty,
    is_unset,
)
from api.models.budget_models import Budget
from api.models.keeping_models import RetentionDays
from api.models.limit_models import CallLimits

Weight = Annotated[
    float,
    Field(
        ge=0.1,
        le=100,
        allow_inf_nan=False,
        description="How many calls to a model the client makes where others "
        "make one, while calls have to wait. Null is 1.",
    ),
]

ApiRequests = Annotated[
    int | None,
    Field(
        ge=0,
        le=1_000_000,
        description="HTTP requests that the client may send in each minute; "
        "0: no limit, null: `REQUESTS_PER_MINUTE`.",
    ),
]


LONGEST_WAIT_SECONDS = 600


class GatewaySettings(ApiModel):
    """How a client's calls through the vendors' interfaces are treated."""

    keep_texts: Annotated[
        bool,
        Field(description="Whether records keep what was asked and said."),
    ] = True
    max_wait_seconds: Annotated[
        float,
        Field(
            ge=0,
            le=LONGEST_WAIT_SECONDS,
            allow_inf_nan=False,
            description="How long a call may wait where it would be refused "
            "for a limit; the header `X-Metasync-Max-Wait` of a request has "
            "priority.",
        ),
    ] = 0


class ClientCreate(ApiModel):
    """`POST /clients`."""

    model_config = example(name="Acme back office")

    name: Name
    api_requests_per_minute: ApiRequests = None
    limits: CallLimits | None = None
    weight: Weight | None = None
    budget: Budget | None = None
    gateway: GatewaySettings | None = None


class ClientUpdate(ApiModel):
    """`PATCH /clients/{clientId}`; other fields are kept."""

    model_config = example(enabled=False)

    name: Name | None = None
    enabled: bool | None = None
    api_requests_per_minute: ApiRequests = None
    limits: CallLimits | None = None
    weight: Weight | None = None
    retention_days: RetentionDays | None = None
    budget: Annotated[
        Budget | None, Field(description="Null takes it away.")
    ] = None
    gateway: Annotated[
        GatewaySettings | None,
        Field(description="Replaces those before; null: as at first."),
    ] = None


class Client(StoredModel):
    """A client, without its key."""

    id_field: ClassVar[str] = "clientId"
    # Its names have dots, which not every server takes in a field's name.
    payload_fields: ClassVar[frozenset[str]] = frozenset({"retentionDays"})

    client_id: Annotated[str, Field(description="A UUID.")]
    name: str
    enabled: Annotated[
        bool, Field(description="A disabled client is refused.")
    ]
    # What is not set is not shown.
    key_rotated_at: Annotated[
        datetime | None,
        Field(
            exclude_if=is_unset,
            description="When its key was replaced for the last time.",
        ),
    ] = None
    api_requests_per_minute: Annotated[
        ApiRequests, Field(exclude_if=is_unset)
    ] = None
    limits: Annotated[CallLimits | None, Field(exclude_if=is_unset)] = None
    weight: Annotated[Weight | None, Field(exclude_if=is_unset)] = None
    retention_days: Annotated[
        RetentionDays, Field(default_factory=dict, exclude_if=is_empty)
    ]
    budget: Annotated[Budget | None, Field(exclude_if=is_unset)] = None
    gateway: Annotated[GatewaySettings | None, Field(exclude_if=is_unset)] = (
        None
    )


ApiKey = Annotated[
    str,
    Field(
        alias="api_key",
        description="64 hex digits; store them now, they are not shown again.",
    ),
]


Token = Annotated[
    str,
    Field(
        description="The client's id and key in one, for the vendors' "
        "libraries: `OPENAI_API_KEY`, `ANTHROPIC_API_KEY`.",
    ),
]


class ClientWithKey(Client):
    """A new client, with its key, which is not shown again."""

    api_key: ApiKey
    token: Token


class RotatedKey(ApiModel):
    """A client's new key; the old one is refused at once."""

    client_id: str
    api_key: ApiKey
    token: Token


def token_of(client_id: str, api_key: str) -> str:
    """Join a client's credentials as the vendors' libraries send them."""
    return f"{client_id}:{api_key}"
