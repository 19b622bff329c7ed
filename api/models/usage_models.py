"""Sums of tokens, seconds and cost over many records."""

from typing import Annotated

from pydantic import Field

from api.models.base import ApiModel, is_unset
from api.models.metrics import DetailCount


class SummedMetrics(ApiModel):
    """Tokens, seconds and cost of many jobs or streams.

    The three costs are null unless all records with a price have the same
    currency; `costByCurrency` has the sums in every case.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: DetailCount = 0
    cache_write_tokens: DetailCount = 0
    reasoning_tokens: DetailCount = 0
    duration: Annotated[float, Field(description="seconds")] = 0.0
    input_cost: float | None = None
    output_cost: float | None = None
    total_cost: float | None = None
    currency: str | None = None
    cost_by_currency: dict[str, float] = Field(default_factory=dict)


class UsageSums(ApiModel):
    """What a number of calls have used and cost.

    `inputTokens` includes cached tokens and those written to a cache,
    `outputTokens` includes those of reasoning.
    """

    requests: Annotated[
        int, Field(description="Calls that a provider has answered.")
    ] = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    total_tokens: int = 0
    cost_by_currency: Annotated[
        dict[str, float] | None,
        Field(description="Null if none of the calls has a known price."),
    ] = None
    unpriced_requests: Annotated[
        int,
        Field(description="Calls whose cost is not known, and not in it."),
    ] = 0
    cached_answers: Annotated[
        int,
        Field(
            description="Answers that were there already: no call was made."
        ),
    ] = 0


class UsageGroup(UsageSums):
    """The sums of calls that are alike in what was asked for."""

    day: Annotated[
        str | None,
        Field(exclude_if=is_unset, examples=["2026-11-26"]),
    ] = None
    client_id: Annotated[str | None, Field(exclude_if=is_unset)] = None
    model: Annotated[str | None, Field(exclude_if=is_unset)] = None
    operation: Annotated[
        str | None,
        Field(exclude_if=is_unset, description="That of streams: `stream`."),
    ] = None

    credential: Annotated[
        str | None,
        Field(
            exclude_if=is_unset,
            description="The variable of the key, of models with several; "
            "empty for others.",
        ),
    ] = None
    route: Annotated[
        str | None,
        Field(
            exclude_if=is_unset,
            description="The route that was named; empty for a model.",
        ),
    ] = None


class UsageReport(ApiModel):
    """What was used in a range of days."""

    total: UsageSums
    groups: list[UsageGroup]
