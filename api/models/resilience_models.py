"""How a model's calls are protected, as its owner sets it.

The values and what they mean are those of `llm_sdks.resilience.policies`.
"""

import functools
from typing import Annotated, Self

from pydantic import Field, model_validator

from api.models.base import ApiModel
from llm_sdks.resilience import policies

Seconds = Annotated[float, Field(ge=0.1, le=86_400, allow_inf_nan=False)]


class TimeoutSettings(ApiModel):
    """How long a call may take, in seconds."""

    connect: Annotated[
        Seconds, Field(description="Until there is a connection.")
    ] = 5.0
    read: Annotated[
        Seconds, Field(description="Between two pieces of an answer.")
    ] = 600.0
    total: Annotated[Seconds, Field(description="For the whole call.")] = 900.0


class RetrySettings(ApiModel):
    """How often a failed call is made again, and after what time.

    If a provider refuses calls because of their rate, the whole model is
    paused, for `minWait` at first and up to `maxWait` while calls are still
    refused.
    """

    max_attempts: Annotated[
        int,
        Field(
            ge=1,
            le=20,
            description="Failed calls that make one attempt of the job, "
            "which has `MAX_ATTEMPTS` attempts. Rate limits do not count.",
        ),
    ] = 3
    min_wait: Annotated[
        Seconds,
        Field(description="Seconds to wait after the first failed call."),
    ] = 1.0
    max_wait: Annotated[
        Seconds, Field(description="The longest wait in seconds.")
    ] = 60.0
    exponential_base: Annotated[
        float,
        Field(
            ge=1,
            le=10,
            allow_inf_nan=False,
            description="The factor by which each wait is longer than the "
            "previous one.",
        ),
    ] = 2.0
    jitter: Annotated[
        bool, Field(description="Vary waits at random by up to a half.")
    ] = True

    @model_validator(mode="after")
    def _waits_make_sense(self) -> Self:
        # Where only one is given, no wait is longer than `maxWait`.
        both = {"min_wait", "max_wait"} <= self.model_fields_set
        if both and self.min_wait > self.max_wait:
            raise ValueError("minWait must not be above maxWait")
        return self


class BreakerSettings(ApiModel):
    """When calls to a failing provider are stopped, and for how long."""

    failure_threshold: Annotated[
        int, Field(ge=1, le=1000, description="Failed calls in a row.")
    ] = 5
    recovery_timeout: Annotated[
        Seconds,
        Field(
            description="The longest time between two trial calls, in "
            "seconds; after a short outage they come sooner."
        ),
    ] = 30.0


class BulkheadSettings(ApiModel):
    """How many calls may run at once, in each process."""

    max_concurrency: Annotated[
        Annotated[int, Field(ge=1, le=10_000)] | None,
        Field(description="Null: no limit besides those of the workers."),
    ] = None
    acquisition_timeout: Annotated[
        Seconds,
        Field(
            description="Seconds that a call waits until one of "
            "the running calls ends; then its job is requeued."
        ),
    ] = 30.0


class ResilienceSettings(ApiModel):
    """Timeouts, retries and limits of a model's calls, all optional."""

    timeout: TimeoutSettings = TimeoutSettings()
    retry: RetrySettings = RetrySettings()
    circuit_breaker: BreakerSettings = BreakerSettings()
    bulkhead: BulkheadSettings = BulkheadSettings()

    @functools.cached_property
    def policy(self) -> policies.Resilience:
        """Give the same values as the code that applies them has them."""
        return policies.Resilience(
            policies.TimeoutPolicy(**self.timeout.model_dump()),
            policies.RetryPolicy(**self.retry.model_dump()),
            policies.BreakerPolicy(**self.circuit_breaker.model_dump()),
            policies.BulkheadPolicy(**self.bulkhead.model_dump()),
        )
