"""Asking again for an answer that cannot be used."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from api.models.base import ApiModel, example, is_unset
from api.models.job_fields import ModelOrRoute

MOST_REASKS, MOST_RUNGS = 5, 5


class RetryOnInvalid(ApiModel):
    """What to do with an answer that cannot be used.

    The model is told what is wrong, up to `maxReasks` times; then each
    model of the `ladder` is asked in the same way.
    """

    model_config = example(maxReasks=2, ladder=["gpt-4o"])

    max_reasks: Annotated[int, Field(ge=0, le=MOST_REASKS)] = 1
    ladder: Annotated[
        tuple[ModelOrRoute, ...],
        Field(max_length=MOST_RUNGS, description="Further models, in order."),
    ] = ()


class UnusableAnswer(ApiModel):
    """An answer that could not be used, and what it cost."""

    model: str
    error_type: str
    message: str
    text: Annotated[str, Field(description="Its first 10,000 characters.")] = (
        ""
    )
    at: datetime
    input_tokens: int = 0
    output_tokens: int = 0
    cost: Annotated[
        float | None,
        Field(exclude_if=is_unset, description="Absent if not known."),
    ] = None
    currency: Annotated[str | None, Field(exclude_if=is_unset)] = None
