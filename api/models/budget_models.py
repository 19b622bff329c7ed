"""Budgets: how much a client, a model or a run may cost."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from api.models.base import ApiModel, Text, example

Currency = Annotated[Text, Field(min_length=1, max_length=16)]
Amount = Annotated[float, Field(ge=0, le=1e8, allow_inf_nan=False)]


class BudgetPeriod(StrEnum):
    """After what a budget begins anew, in UTC."""

    DAY = "day"
    MONTH = "month"
    TOTAL = "total"


class OnExhausted(StrEnum):
    """What happens to calls for which there is no money."""

    # They wait for the next period, or for a larger budget.
    WAIT = "wait"
    # Their jobs end with an error.
    FAIL = "fail"


class Budget(ApiModel):
    """What may be spent in a period; exactly the amount is allowed."""

    model_config = example(
        amount=25, currency="USD", period="day", onExhausted="wait"
    )

    amount: Amount
    currency: Currency = "USD"
    period: BudgetPeriod = BudgetPeriod.MONTH
    on_exhausted: OnExhausted = OnExhausted.WAIT


class MaxCost(ApiModel):
    """What a run may cost at most."""

    amount: Amount
    currency: Currency = "USD"


class BudgetScope(StrEnum):
    """Whose calls a budget is for."""

    CLIENT = "client"
    MODEL = "model"
    RUN = "run"


class BudgetState(Budget):
    """A budget and its current period."""

    model_config = example(
        amount=25,
        currency="USD",
        period="day",
        onExhausted="wait",
        scope="client",
        ownerId="6a0d7f0e-4d0f-4b3e-9d0c-6f1f5f3a5b1e",
        name="Acme back office",
        spent=3.2,
        reserved=0.05,
        remaining=21.75,
        resetsAt="2026-11-27T00:00:00Z",
    )

    scope: BudgetScope
    owner_id: Annotated[
        str, Field(description="The client's or the model's id.")
    ]
    name: str
    spent: float
    reserved: Annotated[
        float, Field(description="Held back for calls that run.")
    ]
    remaining: float
    resets_at: Annotated[
        datetime | None, Field(description="Null for `total`.")
    ]
