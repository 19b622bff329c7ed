"""How a model's calls go: what its gates in all processes know."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from api.models.base import ApiModel, example
from api.models.profile_models import ProfileSettings
from api.models.suspension_models import Suspended
from llm_sdks.resilience.circuit_breaker import BreakerState

Count = Annotated[int, Field(ge=0)]


class BreakerHealth(ApiModel):
    """One process's circuit breaker."""

    state: BreakerState
    failures_in_a_row: Count
    open_seconds: Annotated[
        float | None, Field(description="How long it has been open.")
    ] = None
    next_trial_seconds: Annotated[
        float | None, Field(description="Seconds until the next trial call.")
    ] = None


class ProcessHealth(ApiModel):
    """The state of the model in one process; times are in seconds."""

    process: str
    reported_at: datetime
    circuit_breaker: BreakerHealth
    concurrency_limit: Annotated[
        int | None,
        Field(
            description="The limit of calls at once: "
            "`bulkhead.maxConcurrency`, or less after rate limits. Null: no "
            "limit."
        ),
    ] = None
    running: Annotated[Count, Field(description="Running calls.")]
    waiting: Annotated[
        Count,
        Field(description="Calls that wait because of the concurrency limit."),
    ]
    paused_seconds: Annotated[
        float, Field(description="The rest of a pause after rate limits.")
    ] = 0.0
    succeeded: Annotated[
        Count, Field(description="Successful calls since the process started.")
    ]
    failed: Annotated[
        dict[str, int],
        Field(description="Failed calls since the process started, by kind."),
    ]
    last_error: str | None = None
    last_error_seconds: Annotated[
        float | None, Field(description="Seconds since the last error.")
    ] = None
    learnt: Annotated[
        ProfileSettings | None,
        Field(description="What this process has learnt from refused calls."),
    ] = None


class ModelHealth(ApiModel):
    """`GET /models/{model_id}/health`."""

    model_config = example(
        model_id="665f1c2ab7e4d90012345678",
        name="gpt-4o-mini",
        available=True,
        running=40,
        succeeded=11_520,
        failed={"RATE_LIMITED": 12, "PROVIDER_ERROR": 3},
        processes=[
            {
                "process": "host-1-5a3f",
                "reportedAt": "2026-01-31T12:00:00Z",
                "circuitBreaker": {"state": "closed", "failuresInARow": 0},
                "concurrencyLimit": 64,
                "running": 40,
                "waiting": 0,
                "pausedSeconds": 0,
                "succeeded": 11_520,
                "failed": {"RATE_LIMITED": 12, "PROVIDER_ERROR": 3},
                "lastError": "RATE_LIMITED",
                "lastErrorSeconds": 8.2,
            }
        ],
    )

    model_id: Annotated[str, Field(alias="model_id")]
    name: str
    available: Annotated[
        bool,
        Field(
            description="False while the model is suspended, or a "
            "process makes no calls to it; "
            "true if none has called it."
        ),
    ]
    suspended: Suspended | None = None
    running: Count
    succeeded: Count
    failed: dict[str, int]
    learnt: Annotated[
        ProfileSettings | None,
        Field(
            description="What was learnt from refused calls, in the form of "
            "the model's `profile`. Changing the model clears it."
        ),
    ] = None
    refused_options: Annotated[
        tuple[str, ...],
        Field(
            description="The options that are left out of calls because of "
            "that."
        ),
    ] = ()
    processes: Annotated[
        list[ProcessHealth],
        Field(description="The running processes that have called it."),
    ]
