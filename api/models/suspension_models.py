"""A model whose account is stopped: why, since when, and until when."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from api.models.base import ApiModel


class SuspendReason(StrEnum):
    """What stopped the account."""

    NO_CREDIT = "NO_CREDIT"
    QUOTA_EXHAUSTED = "QUOTA_EXHAUSTED"
    KEY_REFUSED = "KEY_REFUSED"
    MODEL_NOT_FOUND = "MODEL_NOT_FOUND"


class OnSuspended(StrEnum):
    """What becomes of the jobs of a suspended model."""

    WAIT = "wait"
    FAIL = "fail"


class Suspended(ApiModel):
    """Why no calls are made to a model, in any process."""

    reason: Annotated[
        SuspendReason,
        Field(
            description="`NO_CREDIT`: the account cannot pay. "
            "`QUOTA_EXHAUSTED`: the quota of the day is used up. "
            "`KEY_REFUSED`: the provider does not accept the key. "
            "`MODEL_NOT_FOUND`: the provider does not have the model, or "
            "no longer."
        ),
    ]
    message: Annotated[str, Field(description="What the provider says.")]
    since: datetime
    retry_at: Annotated[
        datetime, Field(description="When the next trial call is made.")
    ]


Policy = Annotated[
    OnSuspended,
    Field(
        description="While the model is suspended (no credit, a day's quota, "
        "a refused key, no such model): `wait` leaves its jobs PENDING, "
        "`fail` ends them with the error `MODEL_SUSPENDED`."
    ),
]
