"""How the simulator behaves: one validated value, changed as a whole."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from provider_simulator.invoice import InvoicePrices

Probability = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class SimulatorError(Exception):
    """The simulator cannot do what it was told; says why."""


class LatencyDistribution(StrEnum):
    """How the time before an answer varies from call to call."""

    FIXED = "fixed"
    NORMAL = "normal"
    LOGNORMAL = "lognormal"
    UNIFORM = "uniform"
    EXPONENTIAL = "exponential"


class FailureKind(StrEnum):
    """What can go wrong with one call, by chance or by script."""

    # Instead of an answer.
    SERVER_ERROR = "server_error"
    OVERLOADED = "overloaded"
    RATE_LIMITED = "rate_limited"
    PROMPT_FILTER = "prompt_filter"
    # In place of the answer's text.
    CONTENT_FILTER = "content_filter"
    # On the way of an answer that was made (and would be billed).
    RESET = "reset"
    HANG = "hang"
    TRUNCATED = "truncated"
    INVALID_JSON = "invalid_json"
    STREAM_ERROR = "stream_error"


class SimulatorSettings(BaseModel):
    """Everything that can be set at the start and at run time."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # Time before the answer, or before a stream's first byte.
    latency_ms: float = Field(default=0, ge=0, le=3_600_000)
    latency_distribution: LatencyDistribution = LatencyDistribution.FIXED
    # Standard deviation; of a uniform distribution, half its width.
    latency_spread_ms: float = Field(default=0, ge=0, le=3_600_000)
    # Prefetch of a stream; without it, all at once.
    tokens_per_second: float | None = Field(default=None, gt=0)

    # Calls worked on at once; more of them wait.
    concurrency_limit: Count | None = None
    # The most requests in any second, in any minute; more get 429.
    requests_per_second: Count | None = None
    requests_per_minute: Count | None = None
    # Time for one call, waiting included; then 408.
    time_limit_ms: float | None = Field(default=None, gt=0)

    # The chance of each kind, for every call.
    failures: dict[FailureKind, Probability] = Field(default_factory=dict)
    # What a failure of the kind `rate_limited` asks for.
    retry_after_seconds: float = Field(default=1, ge=0, le=86_400)
    seed: int = 0

    idempotency_entries: int = Field(default=1000, ge=0)
    idempotency_seconds: float = Field(default=300, ge=0)

    # The part of each prompt that is reported as read from a cache.
    cached_share: Probability = 0
    # The part that is reported as written to a cache, by vendors that do.
    cache_write_share: Probability = 0
    # Reported on top of each answer's own tokens.
    reasoning_tokens: int = Field(default=0, ge=0)

    # Of all inputs, those whose first answer cannot be used, and those of
    # which none can; and how often a defect is cured when it is told.
    defect_share: Probability = 0
    incurable_share: Probability = 0
    cured_share: Probability = 1

    # What the invoice is made by, for each model; `*` is any other.
    prices: dict[str, InvoicePrices] = Field(default_factory=dict)

    # Calls must carry this key; without it, any key and none will do.
    api_key: str | None = Field(default=None, min_length=1)

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """Return these settings with some of them changed.

        Raises:
            SimulatorError: a name or a value is not valid.
        """
        return type(self).read({**self.model_dump(), **changes})

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Return settings made of plain values.

        Raises:
            SimulatorError: a name or a value is not valid.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise SimulatorError(problems(error)) from None


def problems(error: ValidationError) -> str:
    """Say in a line what is wrong with which field."""
    return "; ".join(
        f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}"
        for detail in error.errors()
    )
