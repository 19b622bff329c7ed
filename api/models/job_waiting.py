"""Why a job waits."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from api.models.base import ApiModel


class WaitingKind(StrEnum):
    """What a PENDING job waits for: the first reason that applies."""

    NOT_DUE = "NOT_DUE"
    LIMIT = "LIMIT"
    BUDGET = "BUDGET"
    SUSPENDED = "SUSPENDED"
    ANSWER = "ANSWER"
    NO_WORKER = "NO_WORKER"
    WORKER_STOPPED = "WORKER_STOPPED"
    FILTER_MISMATCH = "FILTER_MISMATCH"
    MODEL_UNAVAILABLE = "MODEL_UNAVAILABLE"
    NO_THREAD = "NO_THREAD"
    ITS_TURN = "ITS_TURN"


class WaitingFor(ApiModel):
    """What a PENDING job waits for, and until when, if known."""

    kind: Annotated[
        WaitingKind,
        Field(
            description="`NOT_DUE`: it may start at `until`. `LIMIT`, "
            "`BUDGET`: a limit of requests, or the budget, is used up until "
            "then. `SUSPENDED`: its model's account is stopped; the next "
            "trial call is made at `until`. `ANSWER`: another job asks the "
            "same just now (see `cache`). `NO_WORKER`: its client has no "
            "workers. `WORKER_STOPPED`: the workers that "
            "would take it are stopped. `FILTER_MISMATCH`: it matches no "
            "worker's filters. "
            "`MODEL_UNAVAILABLE`: its model's circuit breaker is open, "
            "or the model is paused after rate limits. "
            "`NO_THREAD`: its workers wait for a thread. `ITS_TURN`: other "
            "jobs run first."
        ),
    ]
    until: datetime | None = None
    detail: Annotated[
        str | None, Field(description="What the provider says, if anything.")
    ] = None
