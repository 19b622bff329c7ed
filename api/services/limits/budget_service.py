"""Budgets as they are now, and what looks after them."""

import structlog

from api.models.budget_models import BudgetState
from api.models.cost import from_units
from api.services.limits.budget_accounts import BudgetAccounts
from api.services.limits.budget_limits import BudgetLimit, BudgetLimits
from api.services.shared.caller import Caller
from utilities.cosmos_connector import StoreError
from utilities.tasks import Loop

_EVERY_SECONDS = 2.0
# Every so many rounds, leases of processes that are gone are looked for.
_SWEEP_EVERY = 30

log = structlog.get_logger(__name__)


class BudgetService:
    """What clients and the administrator see of budgets."""

    def __init__(self, limits: BudgetLimits, accounts: BudgetAccounts) -> None:
        self._limits = limits
        self._accounts = accounts

    async def states(self, caller: Caller) -> list[BudgetState]:
        """Return a client's budget; for the administrator, all of them."""
        clients = await self._limits.of_clients()
        if not caller.is_admin:
            own = clients.get(caller.require_client())
            return [await self._state(own)] if own is not None else []
        everyone = [*clients.values(), *await self._limits.of_models()]
        return [await self._state(limit) for limit in everyone]

    async def _state(self, limit: BudgetLimit) -> BudgetState:
        now = self._limits.now()
        spent, reserved = await self._accounts.state(limit.budget_id(now))
        return BudgetState(
            **limit.budget.model_dump(),
            scope=limit.scope,
            owner_id=limit.owner_id,
            name=limit.name,
            spent=from_units(spent),
            reserved=from_units(reserved),
            remaining=from_units(max(limit.units - spent - reserved, 0)),
            resets_at=limit.resets_at(now),
        )


class BudgetKeeper(Loop):
    """Gives back what this process, or one that is gone, does not need."""

    name = "budgets"
    vital = False

    def __init__(
        self, accounts: BudgetAccounts, every_seconds: float = _EVERY_SECONDS
    ) -> None:
        super().__init__()
        self._accounts = accounts
        self._every_seconds = every_seconds

    async def run(self) -> None:
        """Work until stopped."""
        self.attach()
        rounds = 0
        while not self.stopping:
            try:
                await self._accounts.give_back()
                if rounds % _SWEEP_EVERY == 0:
                    await self._accounts.release_ended()
            except StoreError as error:
                log.warning("budgets_wait", error=type(error).__name__)
            rounds += 1
            await self.pause(self._every_seconds)
