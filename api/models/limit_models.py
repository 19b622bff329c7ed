"""Limits of calls, as an administrator sets them on models and clients."""

from typing import Annotated

from pydantic import Field

from api.models.base import ApiModel, example

Rate = Annotated[int, Field(ge=1, le=1_000_000_000)]
Places = Annotated[int, Field(ge=1, le=1_000_000)]


class CallLimits(ApiModel):
    """How often and how many at once calls are made, by all processes.

    What is null is not limited.
    """

    model_config = example(requestsPerMinute=600, maxConcurrency=40)

    requests_per_minute: Rate | None = None
    tokens_per_minute: Annotated[
        Rate | None, Field(description="Input and output tokens together.")
    ] = None
    max_concurrency: Annotated[
        Places | None, Field(description="Calls that run at once.")
    ] = None

    @property
    def are_set(self) -> bool:
        """Whether anything is limited."""
        return (
            self.requests_per_minute is not None
            or self.tokens_per_minute is not None
            or self.max_concurrency is not None
        )


NO_LIMITS = CallLimits()
Limits = Annotated[
    CallLimits,
    Field(description="Shared by all processes. Calls over it wait."),
]
