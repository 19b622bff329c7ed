"""Which budgets a call must keep to; read at most every two seconds."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from api.models.budget_models import (
    Budget,
    BudgetPeriod,
    BudgetScope,
    MaxCost,
    OnExhausted,
)
from api.models.cost import to_units
from api.models.model_models import ModelWithKey
from api.services.calls.model_call import ModelCall
from utilities.clock import Clock, day_of, now_ms
from utilities.cosmos_connector import Documents, ObjectId, StoreError

# A change of a client's budget reaches running processes after this long.
KEEP_SECONDS = 2.0
_MOST_RUNS = 10_000
_MOST_MODELS = 1_000


@dataclass(frozen=True, slots=True)
class BudgetLimit:
    """A budget and whose it is."""

    scope: BudgetScope
    owner_id: str
    name: str
    budget: Budget

    @property
    def units(self) -> int:
        """Its amount in units."""
        return to_units(self.budget.amount)

    def budget_id(self, now: int) -> str:
        """Name the document of its period at a time (ms)."""
        budget = self.budget
        return _budget_id(
            self.scope,
            self.owner_id,
            budget.period,
            budget.currency,
            day_of(now),
        )

    def resets_at(self, now: int) -> datetime | None:
        """Return when its next period begins."""
        day = datetime.fromtimestamp(now / 1000, UTC).replace(
            hour=0, minute=0, second=0, microsecond=0
        )
        if self.budget.period is BudgetPeriod.DAY:
            return day + timedelta(days=1)
        if self.budget.period is BudgetPeriod.MONTH:
            return (day.replace(day=1) + timedelta(days=32)).replace(day=1)
        return None


@dataclass(slots=True)
class _Read:
    """What was read last, and when."""

    at: float | None = None
    budgets: Mapping[str, BudgetLimit] = field(default_factory=dict)


class BudgetLimits:
    """Looks up the budgets of clients, models and runs."""

    def __init__(
        self,
        clients: Documents,
        models: Documents,
        runs: Documents,
        clock: Clock = now_ms,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clients = clients
        self._models = models
        self._runs = runs
        self._clock = clock
        self._timer = timer
        self._lock = threading.Lock()
        self._of_clients = _Read()
        self._of_runs: dict[str, BudgetLimit | None] = {}
        # By model: the budget that was made into a limit last.
        self._made: dict[str, BudgetLimit] = {}

    def now(self) -> int:
        """Return the time, in ms."""
        return self._clock()

    async def of_call(self, call: ModelCall) -> Sequence[BudgetLimit]:
        """Return the budgets that a call must keep to."""
        account, model = call.account, call.model
        found = [(await self.of_clients()).get(account.client_id)]
        if model.budget is not None:
            found.append(self._of_model(model, model.budget))
        if account.run_id is not None:
            found.append(await self._of_run(account.run_id))
        return [each for each in found if each is not None]

    def _of_model(self, model: ModelWithKey, budget: Budget) -> BudgetLimit:
        known = self._made.get(model.model_id)
        # The jobs of one look at the database share the same model.
        if known is not None and known.budget is budget:
            return known
        if len(self._made) > _MOST_MODELS:
            self._made.clear()
        limit = BudgetLimit(
            BudgetScope.MODEL, model.model_id, model.name, budget
        )
        self._made[model.model_id] = limit
        return limit

    async def of_clients(self) -> Mapping[str, BudgetLimit]:
        """Return the budgets of all clients that have one, by client."""
        if self._must_read():
            was_read = self._of_clients.at is not None
            try:
                self._of_clients.budgets = await self._read_clients()
            except StoreError:
                # Calls without a budget go on while the database is away.
                if not was_read:
                    raise
        return self._of_clients.budgets

    async def of_models(self) -> Sequence[BudgetLimit]:
        """Return the budgets of all models that have one."""
        found = await self._models.find(
            {"budget": {"$ne": None}}, fields=["name", "budget"]
        )
        return [
            _limit(BudgetScope.MODEL, str(each["_id"]), each) for each in found
        ]

    def _must_read(self) -> bool:
        """Tell one caller at a time to read; all, as long as none has."""
        last = self._of_clients.at
        if last is not None and self._timer() - last < KEEP_SECONDS:
            return False
        with self._lock:
            last, now = self._of_clients.at, self._timer()
            if last is not None and now - last < KEEP_SECONDS:
                return False
            if last is not None:
                self._of_clients.at = now
            return True

    async def _read_clients(self) -> Mapping[str, BudgetLimit]:
        found = await self._clients.find(
            {"budget": {"$ne": None}}, fields=["clientId", "name", "budget"]
        )
        self._of_clients.at = self._timer()
        return {
            each["clientId"]: _limit(
                BudgetScope.CLIENT, each["clientId"], each
            )
            for each in found
        }

    async def _of_run(self, run_id: str) -> BudgetLimit | None:
        if run_id not in self._of_runs:
            found = await self._runs.find_one({"_id": ObjectId(run_id)})
            if len(self._of_runs) > _MOST_RUNS:
                self._of_runs.clear()
            most = (found or {}).get("maxCost")
            self._of_runs[run_id] = most and _limit_of_run(run_id, most)
        return self._of_runs[run_id]


# Asked twice for each call that has budgets.
@lru_cache(maxsize=1000)
def _budget_id(
    scope: BudgetScope,
    owner_id: str,
    period: BudgetPeriod,
    currency: str,
    date: str,
) -> str:
    of_period = {
        BudgetPeriod.DAY: date,
        BudgetPeriod.MONTH: date[:7],
        BudgetPeriod.TOTAL: "total",
    }[period]
    return f"{scope}:{owner_id}:{of_period}:{currency}"


def _limit(
    scope: BudgetScope, owner_id: str, document: Mapping[str, Any]
) -> BudgetLimit:
    budget = Budget.model_validate(document["budget"])
    return BudgetLimit(scope, owner_id, document["name"], budget)


def _limit_of_run(run_id: str, most: Mapping[str, Any]) -> BudgetLimit:
    budget = Budget(
        **MaxCost.model_validate(most).model_dump(),
        period=BudgetPeriod.TOTAL,
        on_exhausted=OnExhausted.FAIL,
    )
    return BudgetLimit(BudgetScope.RUN, run_id, run_id, budget)
