from datetime import UTC, datetime
from typing import Any

import pytest

from api.models.base import Metadata
from api.models.budget_models import Budget, BudgetScope
from api.models.cost import UNITS, Cost
from api.models.model_models import ModelWithKey
from api.services.calls.model_call import Account, CallProgress, ModelCall
from api.services.limits.admission import NotAdmittedError
from api.services.limits.budget_accounts import BUDGETS, BudgetAccounts
from api.services.limits.budget_limits import BudgetLimit, BudgetLimits
from api.services.limits.budgets import BudgetStage, upper_bound
from llm_sdks.usage import Usage
from utilities.cosmos_connector import Documents, StoreError
from utilities.store.in_memory import InMemoryClientManager

COST = Cost(tokens=1, currency="USD", input=1, output=2, cached_input=0.5)


def call(**fields: Any) -> ModelCall:
    now = datetime.now(UTC)
    model = ModelWithKey(
        metadata=Metadata(created_at=now, updated_at=now),
        model_id="m",
        name="m",
        sdk="test",
        key="K",
        cost=COST,
        max_token=10,
        **fields,
    )
    return ModelCall(model, "sys", "us€r", 0, account=Account("c", "o"))


def at(text: str) -> int:
    moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


def test_the_bound_counts_bytes_and_the_models_limit() -> None:
    # 3 and 6 bytes, 500 tokens of overhead, 10 tokens at 2.
    assert upper_bound(call()) == (509 + 20) * UNITS + 2


@pytest.mark.parametrize(
    ("period", "name", "resets"),
    [
        ("day", "client:x:2026-12-31:USD", "2027-01-01"),
        ("month", "client:x:2026-12:USD", "2027-01-01"),
        ("total", "client:x:total:USD", None),
    ],
)
def test_a_period_has_a_name_and_an_end(
    period: Any, name: str, resets: str | None
) -> None:
    budget = Budget(amount=1, period=period)
    limit = BudgetLimit(BudgetScope.CLIENT, "x", "n", budget)
    now = at("2026-12-31T23:59:59")
    assert limit.budget_id(now) == name
    end = limit.resets_at(now)
    assert (end and end.date().isoformat()) == resets


class Away(Documents):
    """A collection that cannot be reached any more."""

    away = False

    async def find(self, *args: Any, **options: Any) -> Any:
        if self.away:
            raise StoreError("away")
        return await super().find(*args, **options)

    async def patch(self, *args: Any, **options: Any) -> int:
        if self.away:
            raise StoreError("away")
        return await super().patch(*args, **options)


async def test_while_the_database_is_away_calls_with_a_budget_wait() -> None:
    manager = InMemoryClientManager()
    clients, budgets = Away(manager, "clients"), Away(manager, BUDGETS)
    seconds = [0.0]
    limits = BudgetLimits(clients, clients, clients, timer=lambda: seconds[0])
    accounts = BudgetAccounts(budgets, "p")
    stage = BudgetStage(limits, accounts)
    progress = CallProgress()
    (await stage.admit(call())).ended(progress, None)
    clients.away = budgets.away = True
    seconds[0] = 60
    # What was read before still holds.
    (await stage.admit(call())).ended(progress, None)
    with pytest.raises(NotAdmittedError, match="does not answer"):
        await stage.admit(call(budget=Budget(amount=10_000)))
    budgets.away = False
    admitted = await stage.admit(call(budget=Budget(amount=10_000)))
    progress.usage = Usage(1, 1)
    admitted.ended(progress, None)
