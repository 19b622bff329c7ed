"""Sums of tokens, seconds and cost over many records."""

from typing import Annotated

from pydantic import Field

from api.models.base import ApiModel
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
