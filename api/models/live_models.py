"""Events as they happen, for whoever watches."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from api.models.base import ApiModel, example


class Topic(StrEnum):
    """What events are about."""

    JOB = "job"
    BATCH = "batch"
    RUN = "run"
    MODEL = "model"
    WORKER = "worker"
    QUEUE = "queue"


class ShownEvent(ApiModel):
    """One event, as it is sent to those who watch."""

    model_config = example(
        id="1769860800000-5a3f0c1d",
        topic="job",
        type="job.processed",
        at="2026-01-31T12:00:00Z",
        clientId="6a0d7f0e-4d0f-4b3e-9d0c-6f1f5f3a5b1e",
        data={"jobId": "665f1c2ab7e4d90012345678", "status": "PROCESSED"},
    )

    id: Annotated[
        str, Field(description="Events with the same id are the same event.")
    ]
    topic: Topic
    type: str
    at: datetime
    client_id: Annotated[
        str | None,
        Field(description="Whose event it is; null: it concerns everybody."),
    ] = None
    data: dict[str, Any]
