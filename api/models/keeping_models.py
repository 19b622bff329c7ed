"""How long things are kept, and the erasure of a client's data."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from api.models.base import StoredModel
from config import known_retention

Days = Annotated[float, Field(gt=0, le=36_500)]
RetentionDays = Annotated[
    dict[str, Days | None],
    AfterValidator(known_retention),
    Field(
        description="Days after the last change until an ended thing is "
        "removed, by kind (`jobs`, `streams`, `runs`, `deliveries`) or by "
        "kind and status (`jobs.CONSUMED`); null: kept for ever. What is "
        "not named is kept as `RETENTION_DAYS` says.",
        examples=[{"jobs": 30, "jobs.CONSUMED": 1}],
    ),
]


class ErasureStatus(StrEnum):
    """How far an erasure is."""

    RUNNING = "RUNNING"
    DONE = "DONE"


class Erasure(StoredModel):
    """The erasure of a client: what is left of it, and its progress."""

    id_field: ClassVar[str] = "clientId"

    client_id: str
    status: ErasureStatus
    removed: Annotated[
        dict[str, int],
        Field(description="Documents removed so far, by collection."),
    ]
    disks_cleaned: Annotated[
        int,
        Field(
            description="Processes that have looked through their DATA_DIR."
        ),
    ] = 0
    requested_at: datetime
    finished_at: datetime | None = None
